"""``python -m benchmarks NAME [--json FILE] [--quick]``."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from benchmarks import report

NAMES = ("loop", "steering", "panel", "startup")


def main(arguments: list[str] | None = None) -> None:
    """Run one benchmark, print its table, and write its rows where ``--json`` says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES, help="what to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    parser.add_argument(
        "--quick", action="store_true", help="in seconds: shows that it runs, measures little"
    )
    parser.add_argument("--rounds", type=int, help="rounds taken in turn, where there are any")
    parser.add_argument("--only", help="rows to measure, by commas: mlp, cnn/nbtrain, 1k, idle …")
    parser.add_argument("--kernel-only", action="store_true", help="panel: without a browser")
    given = parser.parse_args(arguments)
    # Read when torch is loaded: one thread in every row, so that ratios tell of the loops.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    benchmark = importlib.import_module(f"benchmarks.{given.name}")
    only = frozenset(given.only.split(",")) if given.only else frozenset()
    plan = report.Plan(
        quick=given.quick, rounds=given.rounds, only=only, kernel_only=given.kernel_only
    )
    rows = benchmark.run(plan)
    print(report.machine())
    print(report.table(rows))
    if given.json is not None:
        report.write(rows, given.json)


if __name__ == "__main__":
    main()
