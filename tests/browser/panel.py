"""The panel as somebody before the screen meets it: what it says, and what can be clicked.

Parts of the panel are found by their ``data-nbt`` attributes, and everything else as a person
finds it. Nothing waits for a fixed time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, Page, expect

from nbtrain.store.catalog import Store
from nbtrain.store.history import History

SECONDS: Final = 30.0
"""How long a busy machine may take for what should be there at once."""

THUMB: Final = 12
"""Width of a slider's thumb in pixels."""


TRAIN: Final = """%%train digits --epochs 60 --pace 25 --lr 1e-3
from sklearn.datasets import load_digits
from torch import nn

X, y = load_digits(return_X_y=True)
data = X / 16, y
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
"""
"""A cell whose run lasts a minute."""


class Panel:
    """One panel on a page."""

    def __init__(self, place: Page | Locator, index: int = 0) -> None:
        self.root = place.locator(".nbt-panel").nth(index)

    def part(self, name: str) -> Locator:
        """The part of the panel with this ``data-nbt`` attribute."""
        return self.root.locator(f'[data-nbt="{name}"]')

    def expect_state(self, *words: str, seconds: float = SECONDS) -> None:
        """Wait until the state is one of ``words``."""
        pattern = re.compile(f"^({'|'.join(words)})$")
        expect(self.part("state")).to_have_text(pattern, timeout=1000 * seconds)

    def click(self, name: str) -> None:
        """Press a button that is enabled."""
        button = self.part(name)
        expect(button).to_have_attribute("aria-disabled", "false", timeout=1000 * SECONDS)
        button.click()

    def choose(self, name: str) -> None:
        """Choose an entry of the panel's menu."""
        self.part("menu").click()
        self.part(name).click()

    @property
    def step(self) -> int:
        """The last step that the header tells."""
        found = re.search(r"step ([\d,]+)", self.part("progress-step").inner_text())
        assert found is not None
        return int(found[1].replace(",", ""))

    def expect_step(self, least: int, seconds: float = SECONDS) -> None:
        """Wait until the header tells step ``least`` or a later one."""
        wait_until(lambda: self.step >= least, self.root.page, seconds)

    def points(self, series: str) -> int:
        """How many points the figures draw of a series."""
        drawn: dict[str, int] = {}
        for host in self.root.locator("[data-points]").all():
            drawn |= json.loads(host.get_attribute("data-points") or "{}")
        return drawn.get(series, 0)

    def expect_points(self, series: str, least: int, seconds: float = SECONDS) -> None:
        """Wait until at least so many points of a series are drawn."""
        wait_until(lambda: self.points(series) >= least, self.root.page, seconds)

    def value(self, knob: str) -> str:
        """A knob's value as the panel writes it."""
        return self.part(f"knob-{knob}").get_attribute("data-value") or ""

    def answered(self, knob: str) -> int:
        """Wait until the run has applied what a knob was asked for; gives the step it names."""
        unsure = self.part(f"knob-{knob}").locator('[data-unsure="true"]')
        expect(unsure).to_have_count(0, timeout=1000 * SECONDS)
        answer = self.part(f"answer-{knob}")
        expect(answer).to_have_attribute("data-kind", "applied", timeout=1000 * SECONDS)
        return step_in(answer.inner_text())

    def drag(self, knob: str, share: float) -> None:
        """Drag a slider by its thumb to ``share`` of its travel."""
        slider = self.part(f"slider-{knob}")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box is not None
        at = int(slider.input_value()) / int(slider.get_attribute("max") or 1)
        left, width = box["x"] + THUMB / 2, box["width"] - THUMB
        y = box["y"] + box["height"] / 2
        mouse = slider.page.mouse
        mouse.move(left + at * width, y)
        mouse.down()
        mouse.move(left + share * width, y, steps=12)
        mouse.up()

    def marks(self) -> list[str]:
        """What stands beside the marks on the curves."""
        return self.part("mark").all_inner_texts()


def step_in(text: str) -> int:
    """The step that an answer names."""
    found = re.search(r"at step ([\d,]+)", text)
    assert found is not None, text
    return int(found[1].replace(",", ""))


def wait_until(wanted: Callable[[], bool], page: Page, seconds: float = SECONDS) -> None:
    """Wait until ``wanted()`` holds, while the page goes on."""
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, "it did not come about in time"
        page.wait_for_timeout(50)


def stored(folder: Path, run: str) -> History:
    """A run as its journal on the disk tells it."""
    return Store(folder / ".nbtrain").find(run).history()


def open_as_html(page: Page, notebook: Path) -> None:
    """Open what nbconvert makes of a notebook, on a page that reaches no network."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR"]
    subprocess.run([*command, str(notebook)], check=True)
    # Its template asks for MathJax and RequireJS.
    page.route(re.compile("^https:"), lambda route: route.fulfill(body=""))
    page.goto(notebook.with_suffix(".html").as_uri())
