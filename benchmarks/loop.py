"""``loop``: training with nbtrain against other ways to train, in one process, taken in turn.

The rows, for each of three small networks (see `workloads`):

- ``plain``: the loop of PyTorch's *Quickstart* with a `DataLoader`: 1.0 by definition
- ``limit``: the same eager loop on tensors put in order beforehand, with fused Adam
- ``null``: nbtrain's engine with a control point that never decides anything
- ``nbtrain``: all of it, with the panel open: commands, journal on disk, history, and the UI
  writer feeding a client in another process that receives every frame
- ``lightning``, ``skorch``, ``ignite``, ``keras``, ``hf``: where they are installed
  (``benchmarks/peers.txt``), with their bars, logs and checkpoints switched off

A figure is the speed relative to the plain loop of the same round; the table shows the median
of the rounds and the spread. ``of_limit`` is nbtrain's speed against the limit of its round,
``cost`` what steering, journal and panel take of the null engine's speed.

Every row begins from the same weights, sees the same batches in the same order and takes the
same number of steps on one thread (``torch.set_num_threads(1)``), with the main thread idle.
The plain loop, the limit, nbtrain, Lightning, skorch and ignite also draw the same numbers
for dropout, so they end with the same loss, which is checked to 1e-3 and is in fact equal to
six digits; Keras and Hugging Face seed the generator themselves and draw others. None
validates. The clock runs from the first step to the last.

Figures: docs/performance.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks import loops, peers, report, workloads
from benchmarks.client import Client
from benchmarks.loops import Method
from benchmarks.workloads import Workload

ROUNDS = 5
STEPS = {"mlp": 4000, "cnn": 200, "gpt": 120}
QUICK_STEPS = {"mlp": 58, "cnn": 29, "gpt": 8}
CLOSE = 1e-3


def run(plan: report.Plan) -> list[report.Row]:
    """Measure every network with every row that is there."""
    torch.set_num_threads(1)
    methods = loops.OURS | peers.installed()
    rows: list[report.Row] = []
    with _store(), Client() as client:
        for name, make in workloads.ALL.items():
            wanted = {m: f for m, f in methods.items() if plan.wants(name, f"{name}/{m}", m)}
            if not wanted:
                continue
            work = make().lasting((QUICK_STEPS if plan.quick else STEPS)[name])
            if plan.quick and name == "gpt":
                work = _short(work)
            rounds = plan.rounds or (1 if plan.quick else ROUNDS)
            # The plain loop is what all figures are relative to.
            rows += _measure(work, {"plain": loops.plain} | wanted, rounds)
            _check_client(client, "nbtrain" in wanted)
    return rows


def _measure(work: Workload, methods: dict[str, Method], rounds: int) -> list[report.Row]:
    warm = work.lasting(1)
    for method in methods.values():
        method(warm)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    losses: dict[str, float] = {}
    for turn in range(rounds):
        names = list(methods)
        # Each row is in its turn the first: what the machine does besides hits all alike.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            took, losses[name] = loops.timed(methods[name], work)
            seconds[name].append(took)
            print(f"{work.name}/{name}: {1 / took:,.0f} steps/s", file=sys.stderr)
    _check_losses(work.name, losses)

    def against(one: str, other: str) -> list[float]:
        return [b / a for a, b in zip(seconds[one], seconds[other], strict=True)]

    rows = []
    for name in methods:
        speed = report.row(name, "steps/s", [1 / s for s in seconds[name]]).value
        note = f"{speed:,.0f} steps/s, final loss {losses[name]:.6f}"
        rows.append(report.row(f"{work.name}/{name}", "×", against(name, "plain"), note))
    if {"nbtrain", "limit"} <= methods.keys():
        rows.append(report.row(f"{work.name}/of_limit", "×", against("nbtrain", "limit")))
    if {"nbtrain", "null"} <= methods.keys():
        costs = [100 * (1 - ratio) for ratio in against("nbtrain", "null")]
        rows.append(report.row(f"{work.name}/cost", "%", costs))
    return rows


def _check_losses(name: str, losses: dict[str, float]) -> None:
    for row, loss in losses.items():
        if row not in peers.DRAWS_OTHERWISE and abs(loss - losses["plain"]) > CLOSE:
            raise SystemExit(
                f"{name}/{row} ended with a loss of {loss:.6f}, the plain loop with "
                f"{losses['plain']:.6f}: it did not train the same."
            )


def _check_client(client: Client, drawn: bool) -> None:
    totals = client.totals()
    if totals["gaps"] or (drawn and not totals["frames"]):
        raise SystemExit(f"The panel's client missed frames: {totals}.")


def _short(work: Workload) -> Workload:
    """An epoch of a few batches."""
    return workloads.replace(work, inputs=work.inputs[:128], targets=work.targets[:128], epochs=1)


@contextmanager
def _store() -> Iterator[None]:
    """A store of our own, gone in the end."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NBTRAIN_HOME"] = folder
        yield
