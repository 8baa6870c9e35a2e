"""Fixtures for all tests; those for a real JupyterLab and a real browser are in fixtures/."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is slow, which is no failure.
settings.register_profile("nbtrain", deadline=None)
settings.load_profile("nbtrain")

pytest_plugins = ["tests.fixtures.browser", "tests.fixtures.jupyter"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for runs, where nbtrain finds it through ``NBTRAIN_HOME``."""
    folder = tmp_path / "nbtrain"
    folder.mkdir()
    monkeypatch.setenv("NBTRAIN_HOME", str(folder))
    return folder
