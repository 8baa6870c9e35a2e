"""The names that nbtrain promises, and that nothing else leaks into them."""

from __future__ import annotations

import inspect

import pytest

import nbtrain

PUBLIC = ["NbtrainError", "Run", "__version__", "load_ipython_extension", "train"]


def test_public_names() -> None:
    assert sorted(nbtrain.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(nbtrain))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(nbtrain, name))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        nbtrain.tarin  # type: ignore[attr-defined]
