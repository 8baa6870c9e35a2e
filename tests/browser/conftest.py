"""Fixtures for what is tested in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from nbtrain.store.history import History
from tests.browser.panel import stored, wait_until
from tests.fixtures.browser import open_notebook
from tests.fixtures.jupyter import Jupyter


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A notebook in a folder of its own, where its runs are stored too."""

    jupyter: Jupyter
    page: Page
    folder: Path
    path: str

    def history(self, run: str) -> History:
        """A run as its journal on the disk tells it."""
        return stored(self.folder, run)

    def save(self, holding: str) -> Path:
        """Save the notebook by the keyboard until its file holds this text."""
        file = self.folder / "book.ipynb"

        def saved() -> bool:
            self.page.keyboard.press("Control+s")
            return holding in file.read_text()

        wait_until(saved, self.page)
        return file


Open = Callable[..., Desk]


@pytest.fixture
def desk(jupyter_lab: Jupyter, page: Page, request: pytest.FixtureRequest) -> Iterator[Open]:
    """``desk(cells)`` opens a new notebook; its kernel ends with the test.

    ``notebook7=True`` opens it in Jupyter Notebook instead of JupyterLab; ``on`` is a page
    other than the test's own.
    """
    name = re.sub(r"\W+", "-", request.node.name).strip("-")

    def open_(cells: Sequence[str], *, notebook7: bool = False, on: Page | None = None) -> Desk:
        path = f"{name}/book.ipynb"
        jupyter_lab.write_notebook(path, cells)
        address = jupyter_lab.notebook_url(path) if notebook7 else jupyter_lab.lab_url(path)
        open_notebook(on or page, address)
        folder = jupyter_lab.folder / name
        return Desk(jupyter=jupyter_lab, page=on or page, folder=folder, path=path)

    yield open_
    jupyter_lab.shutdown_kernels()
