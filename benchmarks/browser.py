"""The browser's side of the ``panel`` benchmark: JupyterLab in headless Chromium."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
SETTLE_SECONDS = 3.0
ROUNDS = 3
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What this machine lacks to measure a browser; None if nothing."""
    if not (ROOT / "nbtrain" / "labextension" / "package.json").exists():
        return "the front-end part is not built (make lab builds it)."
    if find_spec("playwright") is None or find_spec("jupyterlab") is None:
        return "playwright or JupyterLab is not installed (make test installs them)."
    return None


def measure(sizes: Mapping[str, int], frames: int) -> dict[str, list[float]]:
    """Milliseconds of the page's main thread a frame, several times for each length of run."""
    from playwright.sync_api import sync_playwright

    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            with _lab(folder) as (address, token):
                for label, size in sizes.items():
                    page = browser.new_page(viewport={"width": 1400, "height": 1000})
                    url = f"{address}lab/workspaces/{label}/tree/{label}.ipynb?token={token}"
                    _write_notebook(folder / f"{label}.ipynb", size, frames, folder)
                    taken[label] = _measure(page, url, folder, frames)
                    page.close()
        finally:
            browser.close()
    return taken


def _measure(page: Any, url: str, folder: Path, frames: int) -> list[float]:
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=1000 * START_SECONDS)
    page.wait_for_function("window.jupyterapp.shell.currentWidget?.context?.isReady")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    for turn in range(ROUNDS):
        (folder / f"done-{turn}").unlink(missing_ok=True)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".jp-OutputArea canvas", timeout=1000 * START_SECONDS)
    page.wait_for_timeout(1000 * SETTLE_SECONDS)  # the first picture is not a frame
    begin, idle_from = _busy(session), time.monotonic()
    page.wait_for_timeout(1000 * SETTLE_SECONDS)
    idle = (_busy(session) - begin) / (time.monotonic() - idle_from)
    taken = []
    for turn in range(ROUNDS):
        before, since = _busy(session), time.monotonic()
        (folder / f"go-{turn}").touch()
        _wait(page, folder / f"done-{turn}")
        page.wait_for_timeout(200)
        busy = _busy(session) - before - idle * (time.monotonic() - since)
        taken.append(1000 * busy / frames)
        (folder / f"go-{turn}").unlink()
    return taken


def _busy(session: Any) -> float:
    """Seconds of processor time that the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))


def _wait(page: Any, path: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"The kernel did not get to {path.name!r}.")
        page.wait_for_timeout(50)


# ── in the notebook's kernel ─────────────────────────────────────────────────────────────


def show(size: int, frames: int, folder: str) -> None:
    """Show the panel of a run of ``size`` steps; each time the benchmark says go, let it train
    for ``frames`` frames."""
    from benchmarks.histories import Growing
    from nbtrain.ui import writer
    from nbtrain.ui.panel import Panel

    growing, place = Growing(size), Path(folder)
    panel = Panel(growing.history, lambda command: None)
    panel.show()

    def train() -> None:
        for turn in range(ROUNDS):
            _until((place / f"go-{turn}").exists)
            for _ in range(frames):
                growing.frame()
                writer.wake()
                time.sleep(writer.FRAME * 1.05)
            writer.flush()
            (place / f"done-{turn}").touch()

    threading.Thread(target=train, daemon=True).start()


def _until(true: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while not true() and time.monotonic() < end:
        time.sleep(0.02)


# ── the server ───────────────────────────────────────────────────────────────────────────


def _write_notebook(path: Path, size: int, frames: int, folder: Path) -> None:
    import nbformat

    source = f"from benchmarks import browser\nbrowser.show({size}, {frames}, {str(folder)!r})"
    cells = [nbformat.v4.new_code_cell(source)]
    kernel = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@contextmanager
def _lab(folder: Path) -> Iterator[tuple[str, str]]:
    """A JupyterLab of this interpreter over ``folder``: its address and token."""
    token = secrets.token_hex(16)
    home = folder / ".jupyter"
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = {f"JUPYTER_{name}": str(home / name.lower()) for name in names}
    environment |= {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT)}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home), "JUPYTERLAB_WORKSPACES_DIR": str(home)}
    options = [
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}",
        "--LabApp.extension_manager=readonly",
    ]
    home.mkdir()
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(home / "runtime_dir" / f"jpserver-{server.pid}.json", home / "log"), token
    finally:
        server.terminate()
        server.wait()


def _address(path: Path, log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            address = str(json.loads(path.read_text())["url"])
            with urllib.request.urlopen(f"{address}api", timeout=5):
                return address
        except (OSError, ValueError):  # not written yet, half written, or not listening yet
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')}")
