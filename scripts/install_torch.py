"""Install the PyTorch that fits this machine, at the version of a constraints file.

    python scripts/install_torch.py constraints.txt

On a machine with no NVIDIA GPU, PyTorch's own index of CPU builds spares 2 GB of CUDA
libraries. Where it does not answer (a mirror, a company proxy), and where there is a GPU, the
registry that pip is set up for is taken.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def pinned(constraints: str) -> str:
    """The version of torch that the text of a constraints file asks for."""
    match = re.search(r"^torch==(\S+)$", constraints, re.MULTILINE)
    if match is None:
        raise SystemExit("The constraints file has no line 'torch==VERSION'. Add it.")
    return match[1]


def installed() -> str | None:
    """The version of torch in this environment, without its build's label."""
    try:
        return importlib.metadata.version("torch").partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver lists at least one GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listing = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU" in listing.stdout


def answers(index: str, seconds: float = 5.0) -> bool:
    """Whether the index at this address serves torch, asked once and briefly."""
    request = urllib.request.Request(f"{index}/torch/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):  # URLError and time-outs are OSErrors
        return False


def arguments(version: str, *, gpu: bool, cpu_index: bool) -> list[str]:
    """What to tell ``pip install``."""
    if gpu or not cpu_index:
        return [f"torch=={version}"]
    # Its dependencies come with nbtrain's own, from the ordinary registry: the CPU index
    # holds only old versions of them.
    return [f"torch=={version}", "--index-url", CPU_INDEX, "--no-deps"]


def main() -> None:
    version = pinned(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if installed() == version:
        return
    gpu = has_nvidia_gpu()
    options = arguments(version, gpu=gpu, cpu_index=not gpu and answers(CPU_INDEX))
    source = "PyTorch's CPU index" if CPU_INDEX in options else "the ordinary registry"
    print(f"Installing torch {version} from {source}.", flush=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options], check=True)


if __name__ == "__main__":
    main()
