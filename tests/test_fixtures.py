"""The JupyterLab and the browser of the tests work, and notice errors."""

from __future__ import annotations

import sys

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import ConsoleErrors, open_notebook, run_cell
from tests.fixtures.jupyter import Jupyter


@pytest.mark.browser
@pytest.mark.kernel
@pytest.mark.parametrize("front_end", ["lab", "notebook"])
def test_cell_runs(jupyter_lab: Jupyter, page: Page, front_end: str) -> None:
    name = f"sum-{front_end}.ipynb"
    jupyter_lab.write_notebook(name, ["import sys; print(sys.executable)"])
    lab = front_end == "lab"
    open_notebook(page, jupyter_lab.lab_url(name) if lab else jupyter_lab.notebook_url(name))
    expect(run_cell(page, 0)).to_have_text(sys.executable, timeout=30_000)
    jupyter_lab.shutdown_kernels()
    assert jupyter_lab.api("sessions") == []


@pytest.mark.browser
def test_console_errors_are_seen(page: Page, console_errors: ConsoleErrors) -> None:
    console_errors.allow("^said aloud ")
    page.evaluate("console.error('said aloud')")
    page.evaluate("console.error('not allowed'); setTimeout(() => { throw Error('thrown') })")
    page.wait_for_function("true")
    with page.expect_event("console"):
        page.evaluate("console.log('after')")
    assert len(console_errors.unexpected) == 2
    console_errors.allow("not allowed|thrown")
    assert console_errors.unexpected == []
