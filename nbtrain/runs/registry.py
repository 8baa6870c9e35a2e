"""The runs of this process: by name, by id, and the threads that train them."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import torch

from nbtrain import messages as m
from nbtrain.errors import NbtrainError
from nbtrain.runs.run import Run
from nbtrain.runs.trainer import Trainer, break_off, join
from nbtrain.store.catalog import Store

KEPT = 3
"""Ended runs that can go on: those that ended last, whatever their names. Older ones keep
history, model and best weights while somebody holds them, and give the rest back."""

_PULSE_SECONDS = 1.0
_RENEW_EVERY = 5

_STOP_SECONDS = 5.0
"""How long the end of the process waits for the runs to stop between two steps."""
_BREAK_SECONDS = 60.0
"""How long it then waits for an operation to end, within which nothing can be broken off."""

_lock = threading.RLock()
_runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
"""Every run that anybody holds, by its id."""
_kept: list[Run] = []
"""The runs that this module holds: those that live, and the `KEPT` that ended last."""
_trainers: dict[str, Trainer] = {}
_subscribers: list[Callable[[], None]] = []
_pulse: threading.Thread | None = None
_leaving = threading.Event()
"""Set once the process ends."""


def store() -> Store:
    """Where this process keeps its runs; found out once and fixed from then on."""
    return Store.locate()


def trainer(device: torch.device) -> Trainer:
    """The thread that trains on ``device``."""
    with _lock:
        return _trainers.setdefault(str(device), Trainer(str(device)))


def add(run: Run) -> None:
    """Remember ``run``, and let older ones go."""
    with _lock:
        _runs[run.id] = run
        _kept.append(run)
    _let_go()
    _beat()


def woken(run: Run) -> None:
    """Look after ``run`` again, which had finished and goes on."""
    with _lock:
        if run not in _kept:
            _kept.append(run)
    for other in everything():
        other.beside(run)
    _beat()


def _let_go() -> None:
    """Have the runs that ended long ago give back what only training needs."""
    with _lock:
        ended = sorted((r for r in _kept if not r.live), key=lambda run: run.history.changed)
        for run in ended[:-KEPT]:
            if run.give_back():
                _kept.remove(run)


def live() -> list[Run]:
    """The runs that have not finished, oldest first."""
    with _lock:
        found = [run for run in _kept if run.live]
    return sorted(found, key=lambda run: run.history.created)


def everything() -> list[Run]:
    """The runs in memory, oldest first."""
    with _lock:
        found = list(_runs.values())
    return sorted(found, key=lambda run: run.history.created)


def find(ref: str) -> Run | None:
    """The run in memory that ``ref`` means: a name, ``name@2``, or an id; else None."""
    newest_first = everything()[::-1]
    for run in newest_first:
        if ref in (run.name, run.id, f"{run.name}@{run.number}"):
            return run
    return None


def subscribe(callback: Callable[[], None]) -> Callable[[], None]:
    """Have ``callback`` called after events, on the thread they happen on: it should only
    set a flag. Returns how to stop that."""
    _subscribers.append(callback)

    def unsubscribe() -> None:
        with suppress(ValueError):
            _subscribers.remove(callback)

    return unsubscribe


def changed() -> None:
    """Tell the subscribers that something happened."""
    for callback in tuple(_subscribers):
        callback()


def moved() -> None:
    """A run began, paused, went on or got in line: tell those that wait for a device."""
    for run in live():
        if run.state == "queued":
            run.look_ahead(find)


def stop_all(timeout: float) -> list[Run]:
    """Stop every live run at a step boundary, with its last weights and a checkpoint.

    Waits ``timeout`` seconds at most, and returns the runs that had not ended by then.
    """
    running = live()
    for run in running:
        with suppress(NbtrainError):
            run.send(m.Stop(restore="last", early=False, sender="shutdown"))
    until = time.monotonic() + timeout
    for run in running:
        with suppress(TimeoutError, NbtrainError):
            run.wait(max(0.0, until - time.monotonic()))
    return [run for run in running if run.live]


def _beat() -> None:
    """Keep a thread that writes what waits and renews the leases, while any run lives."""
    global _pulse
    with _lock:
        if _pulse is None:
            _pulse = threading.Thread(target=_beating, name="nbtrain pulse", daemon=True)
            _pulse.start()


def _beating() -> None:
    count = 0
    # What it would free while the interpreter goes aborts the process.
    while not _leaving.wait(_PULSE_SECONDS):
        count += 1
        if not _beat_once(renew=count % _RENEW_EVERY == 0):
            return


def _beat_once(renew: bool) -> bool:
    """Look after the live runs; nothing of them is held from one time to the next. False if
    there are none, which ends the thread."""
    global _pulse
    _let_go()
    with _lock:
        running = live()
        if not running:
            _pulse = None
    for run in running:
        run.beat(renew=renew)
    return bool(running)


def _at_exit() -> None:
    try:
        _end()
    except KeyboardInterrupt:
        _leave_at_once()


def _end() -> None:
    """End every thread that trains or frees tensors: one that lives on while the interpreter
    goes aborts the process."""
    _leaving.set()
    until = time.monotonic() + _STOP_SECONDS
    stop_all(_STOP_SECONDS)
    if not join(max(1.0, until - time.monotonic())):
        _break_off()
    pulse = _pulse
    if pulse is not None:
        pulse.join(_STOP_SECONDS)


def _break_off() -> None:
    """End the threads within their steps."""
    until = time.monotonic() + _BREAK_SECONDS
    told = False
    while (left := until - time.monotonic()) > 0:
        break_off()  # again, where the user's code caught it
        if join(min(left, _STOP_SECONDS if told else 1.0)):
            return
        if not told and sys.__stderr__ is not None:
            print(
                "nbtrain: waiting for an operation to end, within which training cannot be "
                f"stopped; {_BREAK_SECONDS:.0f} s at most. Ctrl+C ends the process at once.",
                file=sys.__stderr__,
                flush=True,
            )
        told = True


def _leave_at_once() -> NoReturn:
    """End the process as an interrupt does, without what aborts it while a thread trains."""
    try:
        for run in live():
            run.beat(renew=False)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(130)


atexit.register(_at_exit)
