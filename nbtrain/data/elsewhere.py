"""Whether another process can import what a value is made of."""

from __future__ import annotations

import pickle
import sys
from typing import Any, Final

import numpy as np
from torch import Tensor

MOST: Final = 1 << 22
"""Bytes of a value that are looked at, in some 0.1 s. What comes after them, starting the
workers tells."""

_OBJECT: Final = 64
"""Bytes that an object counts for at least, whatever its pickle needs."""

_TABLES: Final = {"PIL", "pandas", "polars", "pyarrow", "scipy"}
"""Packages whose objects hold numbers and words alone, and often very many."""


def of_a_cell(*values: Any) -> str | None:
    """The first class or function that ``values`` need and that only this process has, because a
    notebook's cell defined it; None where there is none.

    A process that is started anew runs the file of a script first, and a notebook has no file.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if main is None or getattr(spec, "name", None) or getattr(main, "__file__", None):
        return None
    for value in values:
        finder = _Finder()
        try:
            finder.dump(value)
        except _FoundError:
            return finder.name
        except Exception:  # noqa: BLE001 - a value's own pickling may; the workers tell it
            continue
    return None


class _FoundError(Exception):
    """There is something of a cell."""


class _EnoughError(Exception):
    """A value is too large to be looked at to its end."""


class _Nowhere:
    def __init__(self) -> None:
        self.left = MOST

    def write(self, data: Any) -> int:
        self.spend(len(data))
        return len(data)

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _EnoughError


class _Finder(pickle.Pickler):
    """Goes through a value as pickling does, and keeps nothing of it."""

    name: str | None = None

    def __init__(self) -> None:
        self._nowhere = _Nowhere()
        super().__init__(self._nowhere)

    def reducer_override(self, obj: Any) -> Any:
        self._nowhere.spend(_OBJECT)
        named = obj if hasattr(obj, "__qualname__") else type(obj)
        if isinstance(obj, Tensor) or type(obj) is np.ndarray:
            return list, ()  # numbers need nothing imported
        if named is not obj and str(named.__module__).partition(".")[0] in _TABLES:
            return list, ()
        if getattr(named, "__module__", None) == "__main__":
            self.name = named.__qualname__
            raise _FoundError
        return NotImplemented
