"""The documentation is true: its code runs, its tables are up to date, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)


def run_as_notebook(blocks: list[str], folder: Path) -> None:
    cells = [nbformat.v4.new_code_cell(block) for block in blocks]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute(cwd=str(folder))


@pytest.mark.kernel
@pytest.mark.timeout(240)
def test_every_block_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTRAIN_HOME", str(tmp_path))
    run_as_notebook(BLOCK.findall((ROOT / "docs/guide.md").read_text()), tmp_path)


@pytest.mark.kernel
@pytest.mark.timeout(240)
def test_the_cells_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTRAIN_HOME", str(tmp_path))
    *cells, _ = BLOCK.findall((ROOT / "README.md").read_text())
    # At a pace made for watching it would take a minute; the rest is as it stands.
    cells = [cell.replace("--pace 25", "--pace 500") for cell in cells]
    run_as_notebook([*cells, "assert digits.state == 'completed', digits"], tmp_path)


def test_the_script_of_the_readme_runs(tmp_path: Path) -> None:
    *_, script = BLOCK.findall((ROOT / "README.md").read_text())
    environment = {**os.environ, "NBTRAIN_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "val_accuracy" in done.stdout
    assert "epoch" in done.stderr, "a progress bar is shown"


def test_the_options_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location(
        "generate_options", ROOT / "scripts/generate_options.py"
    )
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (ROOT / "docs/options.md").read_text()
    assert written == script.page(), "run: python scripts/generate_options.py"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
