"""What starting loads; how long it takes is shown by ``python -m benchmarks startup``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "numpy", "IPython", "ipywidgets", "bokeh", "matplotlib", "pandas", "sklearn")

LOAD_EXT = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
shell.run_line_magic("load_ext", "nbtrain")
assert "train" in shell.magics_manager.magics["cell"], "no %%train"
print(json.dumps([name for name in sys.modules if "." not in name]))
"""


def run(code: str, folder: Path) -> Any:
    """What ``code`` prints in a process of its own, read as JSON."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    return tmp_path


def test_import_loads_nothing_heavy(folder: Path) -> None:
    loaded = run("import json, sys, nbtrain; print(json.dumps(list(sys.modules)))", folder)
    assert [name for name in HEAVY if name in loaded] == []


def test_load_ext_loads_neither_torch_nor_bokeh(folder: Path) -> None:
    loaded = run(LOAD_EXT, folder)
    assert [name for name in ("torch", "bokeh", "matplotlib", "sklearn") if name in loaded] == []
