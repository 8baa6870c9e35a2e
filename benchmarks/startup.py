"""``startup``: what ``%load_ext nbtrain`` takes in a fresh IPython, in ms.

The median of several processes, each of which has imported IPython and nothing else. No
process may have imported torch afterwards. ``/cpu`` is the processor time, which says the same
on a machine that does other things besides.

Last figures, on two busy cores of an AMD EPYC: 72 ms of processor time, and 66 ms passed while
nothing else ran. See docs/performance.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import report

ROUNDS = 15
ROOT = Path(__file__).resolve().parent.parent

LOAD = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
begin = time.perf_counter(), time.process_time()
shell.run_line_magic("load_ext", "nbtrain")
seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
assert "train" in shell.magics_manager.magics["cell"], "%load_ext left no %%train"
assert "torch" not in sys.modules, "%load_ext imported torch"
print(json.dumps(seconds))
"""


def run(plan: report.Plan) -> list[report.Row]:
    """Load the extension in one process after the other."""
    rounds = plan.rounds or (3 if plan.quick else ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        _load(folder)  # the first one fills the disk's cache and writes bytecode
        passed, processor = zip(*(_load(folder) for _ in range(rounds)), strict=True)
    return [report.row("load_ext", "ms", passed), report.row("load_ext/cpu", "ms", processor)]


def _load(folder: str) -> tuple[float, float]:
    """Milliseconds that passed, and of processor time."""
    paths = {"IPYTHONDIR": folder, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **paths},
    )
    passed, processor = json.loads(result.stdout.splitlines()[-1])
    return 1000 * passed, 1000 * processor
