"""Every step that Binder runs, in an environment as fresh as Binder's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"
NOTEBOOK = "examples/01_first_run.ipynb"


def cpu_index() -> str:
    """The extra index that binder/requirements.txt names."""
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (address,) = [line.split()[1] for line in lines if line.startswith("--extra-index-url")]
    return address


def answers(address: str) -> bool:
    """Whether the index serves torch to this machine."""
    code = "import sys, install_torch; sys.exit(not install_torch.answers(sys.argv[1]))"
    command = [sys.executable, "-c", code, address]
    return subprocess.run(command, cwd=ROOT / "scripts").returncode == 0


def test_torch_is_the_one_we_test_with() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [p for p in pins if p.startswith("torch==")] == [
        w for w in wanted if w.startswith("torch==")
    ]


def test_python_is_one_that_we_support() -> None:
    name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
    assert name == "python"
    assert tuple(map(int, version.split("."))) >= (3, 11)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_binder_builds_and_runs_the_first_example(tmp_path: Path) -> None:
    clone = tmp_path / "nbtrain"
    _copy_sources(clone)
    environment = _fresh_environment(tmp_path / "venv")

    def step(*command: str) -> None:
        subprocess.run(command, cwd=clone, env=environment, check=True, stdin=subprocess.DEVNULL)

    requirements = clone / "binder" / "requirements.txt"
    if not answers(cpu_index()):  # then torch comes from where pip is set up to look
        text = requirements.read_text(encoding="utf-8")
        requirements.write_text(text.replace(f"--extra-index-url {cpu_index()}\n", ""))
    step("pip", "install", "--quiet", "-r", "binder/requirements.txt")
    step("binder/postBuild")
    step("jupyter", "execute", "--inplace", "--timeout=300", NOTEBOOK)

    outputs = [
        output
        for cell in nbformat.read(clone / NOTEBOOK, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert outputs
    assert [output for output in outputs if output.output_type == "error"] == []


def _copy_sources(target: Path) -> None:
    """What a clone would hold: the files that git tracks, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _fresh_environment(home: Path) -> dict[str, str]:
    """The variables of a shell in a new virtual environment, without this one's packages."""
    venv.create(home, with_pip=True, symlinks=True)
    folder = Path(sys.executable).parent
    path = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != folder]
    environment = os.environ | {
        "PATH": os.pathsep.join([str(home / "bin"), *path]),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "NBTRAIN_HOME", "HATCH_JUPYTER_BUILDER_SKIP_NPM"):
        environment.pop(name, None)
    return environment
