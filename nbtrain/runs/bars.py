"""Progress bars of tqdm inside a run.

A bar writes to the run's log as any print does, with two exceptions. In a notebook
``tqdm.auto`` draws a widget, under whichever cell ran last. And a bar that has not moved for
ten seconds is redrawn by a thread of tqdm's own, which belongs to no run. So while a run
trains, a bar made in it is a bar of text that writes to that run's stream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_undo: dict[type, Callable[[], None]] = {}


def attach(stream: Callable[[], Any]) -> None:
    """Begin to look after bars, where tqdm is loaded at all. Called as each run begins.

    Args:
        stream: the calling run's own stream, or None outside a run.
    """
    std, notebook = sys.modules.get("tqdm.std"), sys.modules.get("tqdm.notebook")
    if std is not None and std.tqdm not in _undo:
        _write_to_own(std.tqdm, stream)
    if std is not None and notebook is not None and notebook.tqdm_notebook not in _undo:
        _no_widget(notebook.tqdm_notebook, std.tqdm, stream)


def detach() -> None:
    """Put back what was there."""
    while _undo:
        _undo.popitem()[1]()


def _write_to_own(bar: Any, stream: Callable[[], Any]) -> None:
    original = bar.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        # ``file`` is the fifth of tqdm's arguments.
        own = stream() if len(args) < 5 and kwargs.get("file") is None else None
        original(self, *args, **kwargs if own is None else {**kwargs, "file": own})

    _put(bar, "__init__", __init__)


def _no_widget(widget: Any, bar: Any, stream: Callable[[], Any]) -> None:
    original = widget.__new__

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if stream() is None:
            return original(cls, *args, **kwargs)
        kwargs.pop("display", None)  # which only the widget has
        # Being no instance of the class, it is not initialized a second time.
        return bar(*args, **kwargs)

    _put(widget, "__new__", __new__)


def _put(owner: type, name: str, value: Any) -> None:
    own = owner.__dict__.get(name)
    setattr(owner, name, value)
    _undo[owner] = lambda: delattr(owner, name) if own is None else setattr(owner, name, own)
