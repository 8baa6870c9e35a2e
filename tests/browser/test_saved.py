"""A saved notebook shows its runs where no kernel holds them."""

from __future__ import annotations

import re
from functools import partial

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel, open_as_html, wait_until
from tests.fixtures.browser import open_notebook, run_cell

pytestmark = [pytest.mark.browser, pytest.mark.kernel]

QUICK = TRAIN.replace("--epochs 60 --pace 25", "--epochs 4")


def test_saved_notebook_shows_its_run_as_a_picture(desk: Open, page: Page) -> None:
    book = desk(["%load_ext nbtrain", QUICK])
    run_cell(page, 0)
    run_cell(page, 1)
    panel = Panel(page)
    panel.expect_state("completed")
    file = book.save("image/png")
    assert len(nbformat.read(file, as_version=4).cells[1].outputs) == 1
    assert file.stat().st_size < 200_000

    # Reopened beside a new kernel, which knows nothing of the run.
    book.jupyter.shutdown_kernels()
    open_notebook(page, book.jupyter.lab_url(book.path))
    picture = page.locator(".jp-Notebook .jp-OutputArea-output img")
    expect(picture).to_have_count(1)
    expect(picture).to_have_attribute("alt", re.compile("^digits: completed, step 92, "))
    assert picture.evaluate("image => image.complete && image.naturalWidth > 400")
    area = page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-OutputArea")
    assert "Loading widget" not in area.inner_text()

    # And on a page that knows neither kernels nor widgets.
    open_as_html(page, file)
    picture = page.locator("img")
    expect(picture).to_have_count(1)
    assert picture.evaluate("image => image.complete && image.naturalWidth > 400")
    assert picture.get_attribute("alt")
    assert "Loading widget" not in page.inner_text("body")


def test_reopened_notebook_draws_every_panel(desk: Open, page: Page) -> None:
    """A long notebook keeps the cells that are out of sight out of the page."""
    names = ("one", "two", "three")
    cells = [QUICK.replace("%%train digits", f"%%train {name}") for name in names]
    book = desk(["%load_ext nbtrain", *cells])
    run_cell(page, 0)
    for index, name in enumerate(names):
        run_cell(page, index + 1)
        panel_of(page, name).expect_state("completed")
    book.save("three: completed")

    for _ in range(2):
        tab = page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text="book.ipynb")
        tab.locator(".lm-TabBar-tabCloseIcon").click()
        expect(page.locator(".jp-Notebook")).to_have_count(0)
        page.locator(".jp-DirListing-item", has_text="book.ipynb").dblclick()
        expect(page.locator(".jp-Notebook")).to_have_count(1)
        for name, wheel in zip((*names, *reversed(names)), (200,) * 3 + (-200,) * 3, strict=True):
            panel = panel_of(page, name)
            wait_until(partial(turned, page, panel, wheel), page)
            panel.expect_state("completed")
            panel.expect_points("loss", 92)
            expect(page.get_by_text("could not be drawn")).to_have_count(0)


def panel_of(page: Page, name: str) -> Panel:
    """The panel of a cell's first run, wherever in the notebook it is."""
    place = page.locator(".jp-CodeCell", has=page.locator(f'.nbt-name[title="{name}@1"]'))
    return Panel(place)


def turned(page: Page, panel: Panel, wheel: int) -> bool:
    """Turn the mouse's wheel over the notebook once, unless the panel's charts are in sight."""
    charts = panel.part("charts")
    if charts.count() and charts.evaluate(
        "element => { const { top, bottom } = element.getBoundingClientRect();"
        " return top < innerHeight && bottom > 0 }"
    ):
        return True
    page.locator(".jp-Notebook").hover()
    page.mouse.wheel(0, wheel)
    return False
