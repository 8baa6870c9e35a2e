"""Run the tests marked ``kernel`` on the other versions of ipykernel that we support.

    .venv/bin/python scripts/matrix.py [VERSION …] [-- PYTEST ARGUMENTS]

Each version gets a small environment in .venv-matrix/ that holds that ipykernel and what it
needs, and sees everything else in .venv, so torch is not installed again. The version in
constraints.txt is not here: the ordinary tests run on it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

VERSIONS = ("6.31.0", "7.3.0")
ROOT = Path(__file__).resolve().parent.parent
# What JupyterLab looks for beside the interpreter, rather than in its packages.
SHARED = (
    "etc/jupyter",
    "share/jupyter/lab",
    "share/jupyter/labextensions",
    "share/jupyter/nbconvert",
)


def make(version: str) -> Path:
    """The Python of an environment with this ipykernel, made if it is not there yet."""
    home = ROOT / ".venv-matrix" / f"ipykernel-{version}"
    python = home / "bin" / "python"
    if python.exists() and _ipykernel(python) == version:
        return python
    venv.create(home, with_pip=True, clear=True, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # addsitedir, not a plain path, so that .venv's own .pth files count (the editable nbtrain).
    shared = sysconfig.get_path("purelib")
    (packages / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
    for place in SHARED:
        link = home / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(sys.prefix) / place)
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"ipykernel=={version}"], check=True)
    if _ipykernel(python) != version:
        raise SystemExit(f"{home} does not import ipykernel {version}. Remove it and try again.")
    return python


def _ipykernel(python: Path) -> str:
    code = "import ipykernel; print(ipykernel.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def main() -> None:
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    versions, arguments = words[:cut] or VERSIONS, words[cut + 1 :]
    failed = []
    for version in versions:
        python = make(version)
        print(f"\n── ipykernel {version} ──", flush=True)
        environment = dict(os.environ, PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
        command = [python, "-m", "pytest", "-m", "kernel and not full", *arguments]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            failed.append(version)
    if failed:
        raise SystemExit(f"Tests failed on ipykernel {', '.join(failed)}.")


if __name__ == "__main__":
    main()
