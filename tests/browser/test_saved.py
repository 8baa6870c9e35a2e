"""A saved notebook shows its runs where no kernel holds them."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.panel import TRAIN, Panel, open_as_html
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
