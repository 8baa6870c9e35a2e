"""The panel as a tab is reloaded, and as a second view of it opens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel
from tests.fixtures.browser import run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

PRINTING = TRAIN.replace(
    "model = nn.Sequential(",
    """
class Telling(nn.Sequential):
    def forward(self, x):
        if self.training:
            print("seen", len(x))
        return super().forward(x)

model = Telling(""",
)


def test_reloaded_tab_and_second_view_are_whole(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", PRINTING, "digits.panel"])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_step(5)
    panel.part("field-lr").fill("0.004")
    panel.part("field-lr").press("Enter")
    applied = panel.answered("lr")

    book.save('"run": "')  # by the keyboard, although the panel has the focus
    page.reload()
    panel.expect_state("running", seconds=60)
    panel.expect_points("loss", applied)
    assert panel.answered("lr") == applied
    assert panel.value("lr") == "4.0e-3"
    expect(panel.part("mark").filter(has_text="lr")).to_have_count(1)

    # Pointing at the mark reads where the rate took effect, and the curves there.
    plot = panel.part("chart-accuracy").locator(".nbt-plot")
    plot.scroll_into_view_if_needed()
    mark, frame = panel.part("mark").filter(has_text="lr").bounding_box(), plot.bounding_box()
    assert mark is not None and frame is not None
    page.mouse.move(mark["x"] - 4, frame["y"] + frame["height"] / 2)
    reading = panel.part("reading")
    expect(reading).to_contain_text(f"lr → 4.0e-3 at step {applied}")
    expect(reading).to_contain_text(re.compile(r"epoch [\d.]+ · step \d+"))
    expect(reading).to_contain_text(re.compile(r"train [\d.]+"))

    run_cell(page, 2)
    second = Panel(page, 1)
    second.expect_state("running")
    before = second.step
    second.expect_step(before + 5)
    second.click("pause")
    for view in (panel, second):
        view.expect_state("paused")
        view.part("tab-log").click()
        expect(view.part("log")).to_contain_text("seen 64")
        lines = view.part("log").inner_text().splitlines()
        assert lines.count("seen 64") > 5
        view.part("tab-curves").click()
        view.expect_points("loss", view.step)
        assert view.points("loss") == view.step == book.history("digits").step
        assert view.value("lr") == "4.0e-3"
        assert any("lr" in mark for mark in view.marks())
