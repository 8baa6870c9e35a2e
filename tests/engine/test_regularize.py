"""Penalties on the gradients, and looking for what is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from nbtrain.engine.regularize import FiniteCheck, Overflows, add_penalties
from tests.engine.harness import classes, network, run_loop

CPU = torch.device("cpu")


@pytest.fixture
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_penalties_are_those_of_autograd(l1: float, l2: float) -> None:
    w = nn.Parameter(torch.tensor([-2.0, 0.0, 3.0]))
    unused = nn.Parameter(torch.ones(2))
    loss = (w**3).sum()
    loss.backward(retain_graph=True)
    add_penalties([w, unused], l1, l2)
    ours = w.grad.clone()
    w.grad = None
    (loss + l1 * w.abs().sum() + l2 * w.square().sum()).backward()
    torch.testing.assert_close(ours, w.grad)
    assert unused.grad is None


def test_penalties_without_any_gradient() -> None:
    add_penalties([nn.Parameter(torch.ones(2))], 0.1, 0.1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_one_bad_number_is_found(bad: float, dtype: torch.dtype) -> None:
    check = FiniteCheck(CPU)
    good = torch.ones(4, dtype=dtype)
    check.check([good, torch.ones(2)])
    assert check.found == 0
    spoiled = good.clone()
    spoiled[2] = bad
    kept = spoiled.clone()
    check.check([torch.ones(2), spoiled])
    assert check.found == 1
    assert torch.equal(kept.isnan(), spoiled.isnan()), "gradients stay as they are"
    check.reset()
    assert check.found == 0


def test_a_sparse_gradient_is_looked_at() -> None:
    check = FiniteCheck(CPU)
    sparse = torch.sparse_coo_tensor([[0, 2]], [1.0, float("inf")], (4,), check_invariants=False)
    check.check([sparse])
    assert check.found == 1


def test_the_good_ones_before_it_are_counted() -> None:
    check = FiniteCheck(CPU)
    for value in (1.0, 1.0, float("nan"), 1.0):
        check.check([torch.tensor([value])])
        check.count()
    assert check.good == 2


def test_nothing_to_look_at() -> None:
    check = FiniteCheck(CPU)
    check.check([])
    assert check.found == 0


def test_what_is_not_finite_is_found_with_another_default_type(double_by_default: None) -> None:
    check, overflows = FiniteCheck(CPU), Overflows(CPU)
    for gradient in (torch.tensor([1.0, float("nan")]), torch.tensor([1e300])):
        check.reset()
        check.check([gradient])
        assert bool(check.found.item()) is not bool(gradient.isfinite().all())
        overflows.check([gradient])
    assert overflows.skipped.item() == 1


@pytest.mark.parametrize(
    "settings", [{}, {"scheduler": "cosine", "clip_grad_norm": 1.0, "l2": 0.1}]
)
def test_a_run_with_another_default_type(double_by_default: None, settings: dict[str, Any]) -> None:
    run = run_loop(network(), classes(40), val_split=0.25, early_stop="val_loss", **settings)
    assert run.training.progress.epoch == 10
    assert next(run.model.parameters()).dtype == torch.float64
    assert run.history["loss"][-1] < run.history["loss"][0]
