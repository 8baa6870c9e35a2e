"""The panel as a tab is reloaded, as a second view of it opens, and as the theme changes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel, wait_until
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


def choose_theme(page: Page, name: str) -> None:
    """Choose a theme from JupyterLab's menu."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    entry = page.locator(".lm-Menu-itemLabel")
    entry.get_by_text("Theme", exact=True).click()
    entry.get_by_text(name, exact=True).click()


def surface(panel: Panel) -> str:
    return str(
        panel.root.locator(".nbt-frame").evaluate(
            "frame => getComputedStyle(frame).backgroundColor"
        )
    )


def colours(panel: Panel) -> set[str]:
    """The colours that the figure of the loss is painted with."""
    return set(
        panel.part("chart-loss")
        .locator("canvas")
        .first.evaluate(
            """canvas => {
                const { width, height } = canvas;
                const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
                const found = new Set();
                for (let at = 0; at < data.length; at += 4) {
                    if (data[at + 3] === 255) {
                        const rgb = [...data.subarray(at, at + 3)];
                        found.add('#' + rgb.map(c => c.toString(16).padStart(2, '0')).join(''));
                    }
                }
                return [...found];
            }"""
        )
    )


def test_panel_follows_the_theme(desk: Open, page: Page) -> None:
    desk(["%load_ext nbtrain", TRAIN])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points("val_loss", 2)
    panel.click("pause")
    panel.expect_state("paused")
    wait_until(lambda: "#0072b2" in colours(panel), page)
    light = surface(panel)

    choose_theme(page, "JupyterLab Dark")
    wait_until(lambda: surface(panel) != light, page)
    wait_until(lambda: "#56b4e9" in colours(panel), page)
    assert "#0072b2" not in colours(panel)
    assert "#e69f00" in colours(panel)

    choose_theme(page, "JupyterLab Light")
    wait_until(lambda: surface(panel) == light, page)
    wait_until(lambda: "#0072b2" in colours(panel), page)
    assert "#56b4e9" not in colours(panel)
