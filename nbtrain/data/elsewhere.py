"""Whether another process can import what a value is made of."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
from torch import Tensor


def of_a_cell(*values: Any) -> str | None:
    """The first class or function that ``values`` need and that only this process has, because a
    notebook's cell defined it; None where there is none.

    A process that is started anew runs the file of a script first, and a notebook has no file.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if main is None or getattr(spec, "name", None) or getattr(main, "__file__", None):
        return None
    finder = _Finder()
    try:
        finder.dump(values)
    except _FoundError:
        return finder.name
    except Exception:  # noqa: BLE001 - a value's own pickling may; starting the workers tells it
        return None
    return None


class _FoundError(Exception):
    """There is something of a cell."""


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


class _Finder(pickle.Pickler):
    """Goes through a value as pickling does, and keeps nothing of it."""

    name: str | None = None

    def __init__(self) -> None:
        super().__init__(_Nowhere())

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) or type(obj) is np.ndarray:
            return list, ()  # numbers need nothing imported
        named = obj if hasattr(obj, "__qualname__") else type(obj)
        if getattr(named, "__module__", None) == "__main__":
            self.name = named.__qualname__
            raise _FoundError
        return NotImplemented
