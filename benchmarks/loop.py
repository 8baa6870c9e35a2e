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
``cost`` what steering, journal and panel take of the null engine's speed. Both come a second
time (``/cpu``) by the processor time of the whole process, the UI writer's included, since
what the clock on the wall says is worth little on a machine that does other things besides.
``cost/counted`` does not compare two rows: it is the share of nbtrain's processor time that
was spent in drawing the panel and in taking events to journal and history.

Every row begins from the same weights, sees the same batches in the same order and takes the
same number of steps on one thread (``torch.set_num_threads(1)``), with the main thread idle.
The plain loop, the limit, nbtrain, Lightning, skorch and ignite also draw the same numbers
for dropout, so they end with the same loss, which is checked to 1e-3 and is in fact equal to
six digits; Keras and Hugging Face seed the generator themselves and draw others. None
validates. The clock runs from the first step to the last.

Last figures, by processor time on two busy cores of an AMD EPYC, Python 3.11, PyTorch 2.13:
nbtrain 1.76 on the MLP, 1.11 on the CNN, 1.00 on the transformer; against the limit 0.95, 0.99
and 0.95; counted cost 1.5 %, 1.2 % and 1.0 %. The others: docs/performance.md.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from benchmarks import loops, peers, report, workloads
from benchmarks.client import Client
from benchmarks.loops import Clock, Method
from benchmarks.workloads import Workload

ROUNDS = 5
STEPS = {"mlp": 4000, "cnn": 200, "gpt": 120}
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
            work = _short(make()) if plan.quick else make().lasting(STEPS[name])
            rounds = plan.rounds or (1 if plan.quick else ROUNDS)
            # The plain loop is what all figures are relative to.
            rows += _measure(work, {"plain": loops.plain} | wanted, rounds)
            _check_client(client, "nbtrain" in wanted)
    return rows


def _measure(work: Workload, methods: dict[str, Method], rounds: int) -> list[report.Row]:
    warm = work.lasting(1)
    for method in methods.values():
        method(warm)
    clocks: dict[str, list[Clock]] = {name: [] for name in methods}
    losses: dict[str, float] = {}
    for turn in range(rounds):
        names = list(methods)
        # Each row is in its turn the first: what the machine does besides hits all alike.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clock, losses[name] = loops.timed(methods[name], work)
            clocks[name].append(clock)
            print(f"{work.name}/{name}: {work.steps / clock.seconds:,.0f} steps/s", file=sys.stderr)
    _check_losses(work.name, losses)

    def against(one: str, other: str) -> list[float]:
        return [b.seconds / a.seconds for a, b in zip(clocks[one], clocks[other], strict=True)]

    def by_processor(one: str, other: str) -> list[float]:
        pairs = zip(clocks[one], clocks[other], strict=True)
        return [b.processor / a.processor for a, b in pairs]

    rows = []
    for name in methods:
        speed = statistics.median(work.steps / clock.seconds for clock in clocks[name])
        processor = statistics.median(by_processor(name, "plain"))
        note = f"{processor:.2f} by processor time, {speed:,.0f} steps/s, loss {losses[name]:.6f}"
        rows.append(report.row(f"{work.name}/{name}", "×", against(name, "plain"), note))
    for ending, compare in (("", against), ("/cpu", by_processor)):
        if {"nbtrain", "limit"} <= methods.keys():
            ratios = compare("nbtrain", "limit")
            rows.append(report.row(f"{work.name}/of_limit{ending}", "×", ratios))
        if {"nbtrain", "null"} <= methods.keys():
            costs = [100 * (1 - ratio) for ratio in compare("nbtrain", "null")]
            rows.append(report.row(f"{work.name}/cost{ending}", "%", costs))
    if "nbtrain" in methods:
        shares = [100 * clock.aside / clock.processor for clock in clocks["nbtrain"]]
        rows.append(report.row(f"{work.name}/cost/counted", "%", shares))
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
    """Two epochs of a few batches."""
    some = slice(0, 4 * work.batch_size)
    return replace(work, inputs=work.inputs[some], targets=work.targets[some], epochs=2)


@contextmanager
def _store() -> Iterator[None]:
    """A store of our own, gone in the end."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NBTRAIN_HOME"] = folder
        yield
