"""``panel``: what an open panel costs at 1,000 steps a second, after 1k to 1M steps.

A hand-made history of a run goes on by 100 steps a frame and a validation each 1,000 steps,
and one panel draws it ten times a second:

- ``bytes_per_s``: what its messages weigh on the wire, headers and signature included
- ``python_us``: processor time of the UI writer a frame: reading the history, merging points,
  serializing, signing, sending
- ``open_ms``: the same once, for the first picture, which describes the figures; in a kernel
  that has drawn no other panel (1k) this includes importing Bokeh
- ``browser_ms``: processor time of the page's main thread a frame, in JupyterLab in headless
  Chromium with the real front-end part: from the socket to the picture, less what the idle
  page takes in the same time

Only the panel is measured, so bytes are those of its own comm. The budget is 40 KB/s, and no
growth from 10k to 1M.

Last figures, on two busy cores of an AMD EPYC with Chromium 156, from 1k to 1M: 15.0, 11.1, 9.5
and 9.9 KB/s; 375, 364, 380 and 416 µs; 27.0, 25.3, 24.8 and 25.8 ms. See docs/performance.md.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from benchmarks import browser, report
from benchmarks.client import Client
from benchmarks.histories import Growing
from nbtrain.ui.panel import Panel
from nbtrain.ui.writer import Drawable, Writer

SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}
FRAMES_PER_SECOND = 10
FRAMES = 300
QUICK_FRAMES = 60
BROWSER_FRAMES = 100
QUICK_BROWSER_FRAMES = 10


class ByHand(Writer):
    """A writer that draws when it is told to."""

    def add(self, panel: Drawable) -> None:
        return None

    def wake(self) -> None:
        return None


def run(plan: report.Plan) -> list[report.Row]:
    """Measure the kernel's side, then the browser's, for each length."""
    sizes = {name: size for name, size in SIZES.items() if plan.wants(name)}
    rows: list[report.Row] = []
    with Client() as client:
        for name, size in sizes.items():
            rows += _kernel_side(name, size, client, QUICK_FRAMES if plan.quick else FRAMES)
    if plan.kernel_only:
        return rows
    missing = browser.missing()
    if missing:
        print(f"No browser_ms: {missing}", file=sys.stderr)
        return rows
    frames = QUICK_BROWSER_FRAMES if plan.quick else BROWSER_FRAMES
    for name, samples in browser.measure(sizes, frames).items():
        rows.append(report.row(f"{name}/browser_ms", "ms", samples))
    return rows


def _kernel_side(name: str, size: int, client: Client, frames: int) -> list[report.Row]:
    growing = Growing(size)
    panel = Panel(growing.history, _nobody, writer=ByHand())
    panel.widget._handle_custom_msg({"kind": "hello", "protocol": 1}, [])
    begin = time.thread_time()
    panel.draw(time.monotonic())
    opened = 1e3 * (time.thread_time() - begin)
    client.totals()
    taken: list[float] = []
    gc.collect()
    for _ in range(frames):
        growing.frame()
        begin = time.thread_time()
        panel.draw(time.monotonic())
        taken.append(1e6 * (time.thread_time() - begin))
    totals = client.totals()
    panel.widget.close()
    if totals["frames"] != frames or totals["gaps"]:
        raise SystemExit(f"{frames} frames were drawn, and the client got {totals}.")
    rate = totals["bytes"] / frames * FRAMES_PER_SECOND
    return [
        report.row(f"{name}/bytes_per_s", "B/s", [rate]),
        report.row(f"{name}/python_us", "µs", taken),
        report.row(f"{name}/open_ms", "ms", [opened]),
    ]


def _nobody(command: Any) -> None:
    """Nobody steers a run that does not exist."""
