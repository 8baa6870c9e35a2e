"""The fake control point, which is a list."""

from __future__ import annotations

import pytest

from nbtrain import messages as m
from nbtrain.engine.control import GO, Script


def test_commands_act_at_their_step_in_their_order() -> None:
    first, second, third = m.Pause(), m.Evaluate(), m.Resume()
    script = Script([(5, third), (2, first), (2, second)])
    assert script.decide(1) is GO
    assert script.decide(2).commands == (first, second)
    assert script.decide(2) is GO
    assert script.decide(7).commands == (third,)


def test_a_wait_takes_one_command_at_a_time() -> None:
    first, second = m.Pause(), m.Resume()
    script = Script([(5, first), (6, second)])
    assert script.decide(1, None).commands == (first,)
    assert script.decide(1, None).commands == (second,)
    with pytest.raises(RuntimeError, match="the script ends"):
        script.decide(1, None)
