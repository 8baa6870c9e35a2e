"""Runs whose numbers fail, and runs of a cell that runs again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel, wait_until
from tests.fixtures.browser import run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

BAD_ROW = """%%train exploding --epochs 200 --pace 50 --optimizer sgd --lr 1e-3 --val-split off
import torch
from torch import nn

X = torch.randn(256, 8)
data = X, X.sum(1, keepdim=True)
X[100] = 3e38
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
nn.init.ones_(model[0].weight)  # or the infinities of that row may cancel
"""


def test_numbers_that_fail_pause_the_run(desk: Open, page: Page) -> None:
    steep = (
        BAD_ROW.replace("exploding", "steep")
        .replace("X[100] = 3e38", "")
        .replace("nn.ReLU(), ", 4 * "nn.Linear(16, 16), ")
    )
    book = desk(["%load_ext nbtrain", BAD_ROW, steep])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("paused")
    notice = panel.root.locator('[data-nbt^="notice-"]')
    expect(notice).to_contain_text("Linear '0'")
    stood = panel.step
    panel.part("remedy-lr").click()
    assert panel.answered("lr") == stood
    assert panel.value("lr") == "1.0e-4"
    expect(panel.part("remedy-lr")).to_have_count(0)  # once is enough
    expect(panel.part("remedy-clip_grad_norm")).to_have_text("Clip gradients at 1")
    panel.click("resume")
    panel.expect_step(stood + 1)
    panel.expect_state("paused")
    expect(panel.part("endless-loss")).to_contain_text(f"since step {panel.step}")
    assert book.history("exploding").step == panel.step
    panel.part("remedy-stop").click()
    panel.expect_state("early-stopped")
    expect(notice).to_have_count(0)

    # The same by a learning rate that is far too large.
    run_cell(page, 2)
    panel = Panel(page, 1)
    panel.expect_state("running")
    panel.expect_step(5)
    field = panel.part("field-lr")
    field.fill("1000")
    field.press("Enter")
    panel.expect_state("paused")
    notice = panel.root.locator('[data-nbt^="notice-"]')
    expect(notice).to_contain_text("Not a finite number")
    # How far the weights went depends on the step where the rate arrived.
    expect(notice).to_contain_text(re.compile("[Ll]ower (the )?learning rate"))
    field.fill("1e-4")
    field.press("Enter")
    wait_until(lambda: panel.value("lr") == "1.0e-4", page)
    assert panel.answered("lr") == panel.step == book.history("steep").step


def test_both_runs_of_a_cell_that_ran_again_are_kept(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", TRAIN])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("running")
    panel.expect_step(5)
    name = panel.part("name")
    expect(name).to_have_attribute("title", "digits@1")
    run_cell(page, 1)
    expect(name).to_have_attribute("title", "digits@2", timeout=30_000)
    panel.expect_state("running")
    old = book.history("digits@1")
    assert old.outcome == "stopped"
    expect(panel.part("notice-replaces")).to_contain_text("Keep both")
    panel.part("notice-button").click()
    wait_until(lambda: book.history("digits@1").state == "running", page)
    stood = old.step
    wait_until(lambda: book.history("digits@1").step > stood, page)
    panel.expect_state("running")
    panel.expect_step(panel.step + 5)


LATE_TO_LISTEN = """import time
from nbtrain.ui import panel
from traitlets import observe

class Late(panel.PanelWidget):
    @observe("comm")
    def _comm_changed(self, change):
        time.sleep(1.5)  # as long as a busy machine may take from the opening to the listener
        super()._comm_changed(change)

panel.PanelWidget = Late
"""


def test_a_panel_asks_again_where_the_kernel_did_not_listen_yet(desk: Open, page: Page) -> None:
    # The first panel of a kernel has no subshell yet.
    desk(["%load_ext nbtrain", TRAIN, LATE_TO_LISTEN])
    for index in (0, 1):
        run_cell(page, index)
    panel = Panel(page)
    panel.expect_step(5)
    for index in (2, 1):
        run_cell(page, index)
    expect(panel.part("name")).to_have_attribute("title", "digits@2", timeout=30_000)
    panel.expect_state("running")
