"""The same panel in Jupyter Notebook 7."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel
from tests.fixtures.browser import run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]


def test_panel_steers_in_notebook_7(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", TRAIN], notebook7=True)
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points("loss", 5)
    panel.drag("lr", 0.7)
    applied = panel.answered("lr")
    panel.click("pause")
    panel.expect_state("paused")
    history = book.history("digits")
    assert (history.actions[0].action, history.actions[0].step) == ("Set", applied)
    assert history.state == "paused" and history.step == panel.step
    panel.click("resume")
    panel.expect_state("running")
