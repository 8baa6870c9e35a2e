"""What a user's own exception looks like to the user."""

from __future__ import annotations

import traceback

import pytest
import torch
from torch import Tensor, nn

from nbtrain.engine.frames import users_alone
from nbtrain.errors import ModelError
from nbtrain.runs.failure import describe, let_go
from nbtrain.runs.train import train
from tests.engine.harness import classes


def raised(function: object) -> BaseException:
    try:
        function()  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - whatever it raises is what we look at
        return error
    pytest.fail("nothing was raised")


def test_an_error_of_ours_says_everything_in_its_message() -> None:
    assert describe(ModelError("Give its last layer 10 outputs.")) == (
        "Give its last layer 10 outputs.",
        None,
    )


def test_another_begins_at_the_users_frame() -> None:
    def step() -> None:
        raise ValueError("mine")

    message, frames = describe(raised(step))
    assert message == "ValueError: mine"
    assert frames is not None
    assert frames.splitlines()[0] == "Traceback (most recent call last):"


def test_an_error_without_words_has_its_name() -> None:
    def step() -> None:
        raise KeyError

    assert describe(raised(step))[0] == "KeyError"


def test_an_error_in_pytorch_alone_keeps_pytorchs_frames() -> None:
    error = raised(lambda: nn.Linear(2, 2)(torch.zeros(1, 3)))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    _, frames = describe(error)
    assert frames is not None
    assert "linear" in frames


def test_causes_are_let_go_as_well_and_circles_end() -> None:
    inner, outer = ValueError("inner"), RuntimeError("outer")
    outer.__cause__, inner.__context__ = inner, outer
    let_go(outer)


def test_the_users_frames_alone_leave_out_what_led_to_them() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.linear(x, None)  # type: ignore[arg-type]

    model = nn.Sequential(nn.Sequential(Broken()), nn.Linear(4, 3))
    with pytest.raises(TypeError) as raised:
        train(model, classes(), panel=False, wait=False)
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(raised.value.__traceback__)]
    assert names[1:] == ["train", "launch", "forward"]
    assert users_alone(ValueError()) is None
