"""What a training_step reads stays as it was at launch."""

from __future__ import annotations

import gc
import types
import weakref
from typing import Any

from nbtrain.engine.frozen import frozen


def cell(source: str) -> dict[str, Any]:
    """The namespace that a cell leaves."""
    namespace: dict[str, Any] = types.ModuleType("__main__").__dict__
    exec(source, namespace)
    return namespace


def test_a_name_keeps_its_launch_value() -> None:
    namespace = cell(
        "scale = 2\n"
        "def helper(x): return scale * x\n"
        "def step(model, batch): return [helper(b) for b in batch]\n"
    )
    step = frozen(namespace["step"])
    exec("scale = 50\ndef helper(x): return -1", namespace)
    assert step(None, [1, 2]) == [2, 4]
    assert namespace["step"](None, [1]) == [-1]


def test_recursion_defaults_and_closures_survive() -> None:
    namespace = cell(
        "def outer():\n"
        "    bias = 10\n"
        "    def step(model, batch, *, times=3): return batch * times + bias + fact(3)\n"
        "    return step\n"
        "def fact(n): return 1 if n < 2 else n * fact(n - 1)\n"
        "step = outer()\n"
    )
    assert frozen(namespace["step"])(None, 2) == 22


def test_other_callables_are_left_as_they_are() -> None:
    class Step:
        def __call__(self, model: Any, batch: Any) -> None: ...

    step = Step()
    assert frozen(step) is step


def test_names_that_are_not_read_are_not_held() -> None:
    class Big:
        pass

    namespace = cell("def step(model, batch): return batch")
    namespace["big"] = Big()
    alive = weakref.ref(namespace["big"])
    step = frozen(namespace["step"])
    del namespace["big"]
    gc.collect()
    assert alive() is None
    assert step(None, 1) == 1
