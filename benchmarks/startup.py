"""``startup``: what ``%load_ext nbtrain`` takes in a fresh IPython, in ms.

The median of several processes, each of which has imported IPython and nothing else. No
process may have imported torch afterwards. Figures: docs/performance.md.
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
begin = time.perf_counter()
shell.run_line_magic("load_ext", "nbtrain")
seconds = time.perf_counter() - begin
assert "train" in shell.magics_manager.magics["cell"], "%load_ext left no %%train"
assert "torch" not in sys.modules, "%load_ext imported torch"
print(json.dumps(1000 * seconds))
"""


def run(plan: report.Plan) -> list[report.Row]:
    """Load the extension in one process after the other."""
    rounds = plan.rounds or (3 if plan.quick else ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        _load(folder)  # the first one fills the disk's cache and writes bytecode
        return [report.row("load_ext", "ms", [_load(folder) for _ in range(rounds)])]


def _load(folder: str) -> float:
    paths = {"IPYTHONDIR": folder, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **paths},
    )
    return float(json.loads(result.stdout.splitlines()[-1]))
