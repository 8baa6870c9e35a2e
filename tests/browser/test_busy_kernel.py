"""The panel stays alive while a cell keeps the kernel's main thread busy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel
from tests.fixtures.browser import run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

SPIN = """
count, done = 0, False
while not done:      # in pure Python, until the page's next command has acted
    count += 1
    done = digits.state == "paused" and digits.history.knobs["lr"] == 0.5
print("spun", count > 0)
"""


def test_commands_act_while_a_cell_spins(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", TRAIN, SPIN])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_points("loss", 1)
    output = run_cell(page, 2)
    busy = page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".jp-InputPrompt")
    expect(busy).to_have_text("[*]:")
    before = panel.step
    panel.expect_step(before + 5)  # curves move meanwhile
    panel.click("pause")
    panel.expect_state("paused")
    expect(busy).to_have_text("[*]:")
    field = panel.part("field-lr")
    field.fill("0.5")
    field.press("Enter")
    panel.answered("lr")
    expect(output).to_have_text("spun True", timeout=20_000)
    assert [a.action for a in book.history("digits").actions] == ["Pause", "Set"]
