"""Functions of a module that mean something else on some threads."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Function = tuple[ModuleType, str, Callable[..., Any]]
"""A module, the name of its function, and what takes the function's place on a thread with an
owner; that one is called with the owner first."""


class _Local(threading.local):
    owner: Any = None


class Exchange(Generic[T]):
    """Functions that do something else on threads which have an owner of kind ``T``.

    They are exchanged while somebody is `listening`. On every other thread they do what they
    always did, at the cost of one look.
    """

    def __init__(self, functions: Callable[[], Iterable[Function]]) -> None:
        self._functions = functions
        self._local = _Local()
        self._lock = threading.Lock()
        self._users = 0
        self._exchanged: list[tuple[ModuleType, str, Any, Any]] = []  # what was there, what is now

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, `use` has effect. Several threads may be within at the same time."""
        self.listen()
        try:
            yield
        finally:
            self.leave()

    def listen(self) -> None:
        """Begin `listening`; as often as this is called, `leave` is to be."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._exchange()

    def leave(self) -> None:
        """End `listening`."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._put_back()

    def use(self, owner: T | None) -> T | None:
        """Have this thread mean ``owner``; None for what everyone means. Returns what it meant
        before."""
        before: T | None = self._local.owner
        self._local.owner = owner
        return before

    def _exchange(self) -> None:
        for module, name, within in self._functions():
            before = getattr(module, name)
            ours = self._either(within, before)
            # A pickle finds it by its place, where the module's own is at another time.
            ours.__module__, ours.__qualname__ = module.__name__, name
            setattr(module, name, ours)
            self._exchanged.append((module, name, before, ours))

    def _put_back(self) -> None:
        for module, name, before, ours in self._exchanged:
            # Somebody may have put theirs around ours meanwhile, as torch.compile does.
            if getattr(module, name) is ours:
                setattr(module, name, before)
        self._exchanged.clear()

    def _either(self, within: Callable[..., Any], without: Callable[..., Any]) -> Any:
        local = self._local

        @functools.wraps(without)
        def function(*args: Any, **kwargs: Any) -> Any:
            owner = local.owner
            return without(*args, **kwargs) if owner is None else within(owner, *args, **kwargs)

        return function
