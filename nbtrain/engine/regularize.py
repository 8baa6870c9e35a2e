"""Penalties and gradient clipping, on the gradients between backward and update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm


def add_penalties(parameters: Sequence[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradients of l1 · Σ|w| and l2 · Σw² to the parameters' gradients.

    The same update as adding the penalties to the loss, without their forward pass.
    """
    trained = [p for p in parameters if p.grad is not None]
    for p in trained:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.to_dense()  # a penalty pulls at every weight
    weights: list[Tensor] = [p.detach() for p in trained]
    gradients: list[Tensor] = [p.grad for p in trained if p.grad is not None]
    if not trained:
        return
    if l1:
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=l1)
    if l2:
        torch._foreach_add_(gradients, weights, alpha=2 * l2)


def clip(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Scale all gradients by one factor so that their norm is at most ``most``."""
    if not any(p.grad is not None and p.grad.is_sparse for p in parameters):
        clip_grad_norm_(parameters, most)
        return
    plain: list[Tensor] = []
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()  # rows that come up twice count as their sum
            plain.append(p.grad._values())
        elif p.grad is not None:
            plain.append(p.grad)
    factor = torch.clamp(most / (get_total_norm(plain) + 1e-6), max=1.0)
    for gradient in plain:
        gradient.mul_(factor.to(gradient.device))


class FiniteCheck:
    """Tells whether every gradient is finite, on the device and without a sync.

    ``found`` is a tensor of 1.0 from the first bad gradient on until `reset`; ``good``
    counts the checks that were passed before it.
    """

    def __init__(self, device: torch.device) -> None:
        # The kernel takes this type alone, whatever torch.set_default_dtype says.
        self.found = torch.zeros((), device=device, dtype=torch.float32)
        self.good = torch.zeros((), device=device, dtype=torch.float32)
        self._one = torch.ones((), device=device, dtype=torch.float32)

    def check(self, gradients: Sequence[Tensor]) -> None:
        """Look at ``gradients``; they stay as they are."""
        plain = [g._values() if g.is_sparse else g for g in gradients]
        if any(g.is_complex() for g in plain):
            plain = [torch.view_as_real(g) if g.is_complex() else g for g in plain]
        # GradScaler's own kernel: one pass over all gradients, scaled by one.
        torch._amp_foreach_non_finite_check_and_unscale_(plain, self.found, self._one)

    def check_loss(self, loss: Tensor) -> None:
        """Look at ``loss`` alone: scaled gradients may overflow where nothing is wrong."""
        self.found.copy_(torch.maximum(self.found, (~loss.isfinite()).to(self.found.dtype)))

    def count(self) -> None:
        """Count the latest check if it was passed and all before it were."""
        self.good.add_(self._one - self.found)

    def reset(self) -> None:
        self.found.zero_()
        self.good.zero_()


class Overflows:
    """Counts on the device the updates that fp16's loss scaling skipped.

    ``skipped`` are those since it was last set to 0, ``row`` the latest ones on end.
    """

    def __init__(self, device: torch.device) -> None:
        self.skipped = torch.zeros((), device=device, dtype=torch.float32)
        self.row = torch.zeros((), device=device, dtype=torch.float32)
        self._check = FiniteCheck(device)

    def check(self, gradients: Sequence[Tensor]) -> None:
        """Look at the gradients of one step, unscaled."""
        found = self._check.found
        found.zero_()
        self._check.check(gradients)
        self.skipped.add_(found)
        self.row.add_(1.0).mul_(found)
