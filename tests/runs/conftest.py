"""Every test has a store of its own and leaves no run behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nbtrain.runs import registry


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_run_is_left(store: Path) -> Iterator[None]:
    yield
    assert registry.stop_all(20.0) == []
