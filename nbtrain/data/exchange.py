"""Names of a module that mean something else on some threads."""

from __future__ import annotations

import functools
import os
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Name = tuple[ModuleType, str, Callable[[Any, "Exchange[Any]"], Any]]
"""A module, a name in it, and what makes the stand-in of what is there; the stand-in asks the
exchange for the owner of the thread that calls it."""


class _Local(threading.local):
    owner: Any = None


class Exchange(Generic[T]):
    """Names that mean something else on threads which have an owner of kind ``T``.

    They are exchanged while somebody is `listening`. On every other thread they mean what they
    always did, at the cost of one look.
    """

    def __init__(self, names: Callable[[], Iterable[Name]]) -> None:
        self._names = names
        self.others = 0
        """Calls of exchanged functions so far, on threads without an owner."""
        self._local = _Local()
        self._lock = threading.Lock()
        self._users = 0
        self._exchanged: list[tuple[ModuleType, str, Any, Any]] = []  # what was there, what is now
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

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

    @property
    def owner(self) -> T | None:
        """What this thread means."""
        owner: T | None = self._local.owner
        return owner

    def _forked(self) -> None:
        self._lock = threading.Lock()  # who held it does not live on here

    def _exchange(self) -> None:
        for module, name, make in self._names():
            before = getattr(module, name)
            ours = make(before, self)
            setattr(module, name, ours)
            self._exchanged.append((module, name, before, ours))

    def _put_back(self) -> None:
        for module, name, before, ours in self._exchanged:
            # Somebody may have put theirs around ours meanwhile, as torch.compile does.
            if getattr(module, name) is ours:
                setattr(module, name, before)
        self._exchanged.clear()


def function(module: ModuleType, name: str, within: Callable[..., Any]) -> Name:
    """The function ``name`` of ``module``, for which ``within`` is called on a thread with an
    owner, with the owner first."""
    return module, name, functools.partial(_Function, (module.__name__, name), within)


class _Function:
    """A function that is another one on threads with an owner.

    Who imports it while a run lives keeps it for good. So it is pickled by its place, where
    the module's own function is at another time and in another process.
    """

    def __init__(
        self,
        place: tuple[str, str],
        within: Callable[..., Any],
        without: Callable[..., Any],
        exchange: Exchange[Any],
    ) -> None:
        functools.update_wrapper(self, without)
        self.__module__, self.__qualname__ = place
        self._within = within
        self._without = without
        self._exchange = exchange
        self._local = exchange._local

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner = self._local.owner
        if owner is None:
            self._exchange.others += 1
            return self._without(*args, **kwargs)
        return self._within(owner, *args, **kwargs)

    def __reduce__(self) -> Any:
        return pkgutil.resolve_name, (f"{self.__module__}:{self.__qualname__}",)

    # Who keeps functions in a dict, as Numba does, is to find this one for the module's own.
    def __eq__(self, other: object) -> bool:
        mine, theirs = (f._without if isinstance(f, _Function) else f for f in (self, other))
        return bool(mine == theirs)

    def __hash__(self) -> int:
        return hash(self._without)

    def __copy__(self) -> _Function:
        return self  # as functions are

    def __deepcopy__(self, memo: Any) -> _Function:
        return self

    def __repr__(self) -> str:
        return repr(self._without)
