"""The first example in a real JupyterLab, steered by mouse, and compared with its journal."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import Panel, wait_until
from tests.fixtures.browser import run_cell

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_first_run.ipynb"

pytestmark = [pytest.mark.browser, pytest.mark.kernel]


def run_all(page: Page) -> None:
    """Choose *Run All Cells* from JupyterLab's menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def example_cells() -> list[str]:
    notebook = nbformat.read(EXAMPLE, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_first_example_is_steered_by_mouse(desk: Open, page: Page) -> None:
    cells = example_cells()
    book = desk([*cells, "6 * 7"])
    run_all(page)
    panel = Panel(page)
    panel.expect_state("running")
    started = time.monotonic()
    wait_until(lambda: panel.points("loss") > 0, page, 5)
    first = panel.points("loss")
    wait_until(lambda: panel.points("loss") > first, page, 5 - (time.monotonic() - started))

    # The kernel is free: a cell answers while the run goes on.
    expect(page.locator(".jp-Notebook .jp-CodeCell").nth(len(cells))).to_contain_text("42")
    begin = time.monotonic()
    expect(run_cell(page, len(cells)).last).to_have_text("42", timeout=2000)
    assert time.monotonic() - begin < 2
    panel.expect_state("running")

    panel.part("state").scroll_into_view_if_needed()
    panel.drag("lr", 0.58)
    dragged = panel.answered("lr")
    panel.part("switch-dropout").click()
    switched = panel.answered("dropout")
    assert switched >= dragged > 0
    lr = panel.value("lr")
    assert panel.value("dropout") == "off"
    expect(panel.part("mark").filter(has_text="lr")).to_have_count(1)
    expect(panel.part("mark").filter(has_text="dropout off")).to_have_count(1)

    panel.click("pause")
    panel.expect_state("paused")
    history = book.history("digits")
    assert history.state == "paused"
    paused = panel.step
    assert paused == history.step
    mark = panel.part("mark").filter(has_text="pause")
    expect(mark).to_have_attribute("title", f"pause at step {paused}")
    panel.click("one-step")
    panel.expect_step(paused + 1)
    panel.expect_state("paused")
    wait_until(lambda: book.history("digits").state == "paused", page)
    assert panel.step == paused + 1 == book.history("digits").step

    panel.click("undo")
    wait_until(lambda: panel.value("dropout") == "0.20", page)
    assert panel.answered("dropout") == paused + 1
    panel.click("resume")
    panel.expect_state("running")
    panel.expect_step(paused + 10)
    panel.click("early-stop")
    panel.expect_state("early-stopped")
    expect(panel.part("outcome")).to_contain_text("The model holds the best weights, of step")

    history = book.history("digits")
    done = {(a.action, a.knob): a for a in history.actions}
    assert [a.action for a in history.actions] == [
        "Set", "Set", "Pause", "OneStep", "Undo", "Resume", "Stop",
    ]  # fmt: skip
    assert done["Set", "lr"].step == dragged
    assert float(lr) == pytest.approx(done["Set", "lr"].new, rel=0.05)
    assert history.knobs["lr"] == done["Set", "lr"].new
    assert done["Set", "dropout"].step == switched and done["Set", "dropout"].undone
    assert done["Undo", "dropout"].step == paused + 1
    assert history.outcome == "early-stopped"
    assert panel.step == history.step
    assert panel.points("loss") == len(history["loss"])
    assert panel.points("val_loss") == len(history["val_loss"])

    # After the end the run can go on.
    epochs = history.epoch
    panel.choose("ten-more-menu")
    panel.expect_state("running")
    panel.expect_step(history.step + 10)
    wanted = int(-(-epochs // 1)) + 10
    assert book.history("digits").epochs == wanted
    expect(panel.part("progress-epoch")).to_contain_text(f"/{wanted}")
