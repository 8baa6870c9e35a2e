"""Settings of the whole process that change while a run lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain.engine.flags import Flags
from tests.engine.harness import classes, network, run_loop

CPU = torch.device("cpu")


@contextmanager
def changed(put: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    put(value)
    try:
        yield
    finally:
        put(before)


def test_nothing_is_said_where_nothing_changed() -> None:
    flags = Flags(CPU)
    assert flags.changed(1) is None
    with changed(torch.set_float32_matmul_precision, "highest", "highest"):
        assert flags.changed(2) is None, "the same by another word"


CHANGES: dict[str, tuple[Callable[[Any], Any], Any, Any, str]] = {
    "default dtype": (
        torch.set_default_dtype,
        torch.float64,
        torch.float32,
        "the default dtype from float32 to float64 by step 7",
    ),
    "deterministic": (
        torch.use_deterministic_algorithms,
        True,
        False,
        "use_deterministic_algorithms from off to on by step 7",
    ),
    "matmul": (
        torch.set_float32_matmul_precision,
        "medium",
        "highest",
        "the float32 matmul precision from ieee to bf16 by step 7",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told_once(name: str) -> None:
    put, value, before, text = CHANGES[name]
    flags = Flags(CPU)
    with changed(put, value, before):
        told = flags.changed(7)
        assert told is not None
        assert text in told
        assert flags.changed(8) is None
    assert flags.changed(9) is None
    with changed(torch.set_default_dtype, torch.bfloat16, torch.float32):
        again = flags.changed(10)
    assert (again is None) == (name == "default dtype")
    assert again is None or text in again, "the notice takes the place of the one before"


@pytest.mark.parametrize(
    ("name", "value"),
    [("benchmark", True), ("deterministic", True), ("enabled", False)],
)
def test_cudnn_counts_on_cuda_alone(name: str, value: bool) -> None:
    cpu, cuda = Flags(CPU), Flags(torch.device("cuda"))
    before = getattr(torch.backends.cudnn, name)
    with changed(lambda v: setattr(torch.backends.cudnn, name, v), value, before):
        assert cpu.changed(1) is None
        assert "cudnn" in str(cuda.changed(1))


def notices(model: nn.Module, **settings: Any) -> list[m.Noticed]:
    run = run_loop(model, classes(), batch_size=8, **settings)
    return [event for event in run.of(m.Noticed) if event.topic == "flags"]


def test_a_run_says_what_another_cell_changed() -> None:
    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        torch.use_deterministic_algorithms(True)  # as another cell would meanwhile
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    assert notices(network(), epochs=1) == []
    try:
        (notice,) = notices(network(), training_step=step, epochs=3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert notice.level == "warning"
    assert "use_deterministic_algorithms from off to on" in notice.text


def test_the_number_of_threads_is_that_of_the_launch() -> None:
    flags, threads = Flags(CPU), torch.get_num_threads()
    seen: list[int] = []

    def train() -> None:
        torch.set_num_threads(threads + 1)  # of a run before
        flags.hold()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(20)
    assert seen == [threads]
