"""The lease: which living process writes a run.

A dead process writes nothing, so nobody can read from a journal that its run was cut off.
The lease tells: it names the process, and on the machine where that ran anyone can see
whether it lives. From another machine only its heartbeat can be seen.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nbtrain.errors import LeaseHeld

STALE_SECONDS: Final = 60.0
"""A heartbeat older than this is a dead process's, where the process itself cannot be seen."""

_FILE: Final = "lease.json"
_MAX_SIZE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lease.

    ``boot`` names one boot of one host, and the namespace its process ids count in.
    ``started`` tells processes apart that got the same ``pid``. ``heartbeat`` is in seconds
    since 1970. ``token`` is the lease's own.
    """

    host: str
    boot: str
    pid: int
    started: str
    heartbeat: float
    token: str

    @property
    def alive(self) -> bool:
        """Whether the process lives, or may live as far as can be seen from here."""
        if (self.host, self.boot) == (socket.gethostname(), _boot()):
            return _process_start(self.pid) == self.started
        return time.time() - self.heartbeat <= STALE_SECONDS


class Lease:
    """The right to append to the run in a folder, held by this process until released."""

    def __init__(self, folder: Path, mine: Holder) -> None:
        self._folder, self._mine = folder, mine

    @classmethod
    def take(cls, folder: str | os.PathLike[str]) -> Lease:
        """The lease of ``folder``, for this process.

        Raises `LeaseHeld` if a living process holds it, OSError if it cannot be written.
        """
        lease = cls(Path(folder), _myself())
        other = holder(folder)
        if other is None or not other.alive:
            # Of two that find a dead process's lease at once, the later one writes last.
            lease._write()
            other = holder(folder)
        if other is None or other.token != lease._mine.token:
            raise LeaseHeld(_held_by(Path(folder), other))
        return lease

    def renew(self) -> bool:
        """Write a heartbeat. False if the lease has passed to another process, which then
        is the only one that may append.

        A disk that cannot be written is no reason to stop training: the lease then only
        seems old to other machines.
        """
        other = holder(self._folder)
        if other is not None and other.token != self._mine.token:
            return False
        with suppress(OSError):
            self._write()
        return True

    def release(self) -> None:
        """Give the lease up, if it is still ours. Does nothing in a forked child."""
        other = holder(self._folder)
        if os.getpid() == self._mine.pid and other is not None and other.token == self._mine.token:
            with suppress(OSError):
                (self._folder / _FILE).unlink()

    def _write(self) -> None:
        body = {"v": 1, **asdict(self._mine), "heartbeat": time.time()}
        aside = self._folder / f".{_FILE}.{self._mine.token}"
        try:
            aside.write_text(json.dumps(body), encoding="utf-8")
            os.replace(aside, self._folder / _FILE)
        except OSError:
            with suppress(OSError):
                aside.unlink()
            raise


def holder(folder: str | os.PathLike[str]) -> Holder | None:
    """Who holds the lease of ``folder``, living or dead; None if nobody does."""
    path = Path(folder) / _FILE
    try:
        with path.open("rb") as file:
            body: Any = json.loads(file.read(_MAX_SIZE))
            modified = os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    known: dict[str, Any] = {name: body.get(name) for name in Holder.__dataclass_fields__}
    texts = ("host", "boot", "started", "token")
    if (
        not all(isinstance(known[name], str) for name in texts)
        or type(known["pid"]) is not int
        or not 0 < known["pid"] < 2**31
        or not isinstance(known["heartbeat"], (int, float))
    ):
        return None
    # The file server's clock and the holder's may differ: the later one is believed, so
    # that a clock that is slow makes nobody look dead.
    known["heartbeat"] = max(float(known["heartbeat"]), modified)
    return Holder(**known)


def held(folder: str | os.PathLike[str]) -> bool:
    """Whether a living process holds the lease of ``folder``."""
    found = holder(folder)
    return found is not None and found.alive


def _held_by(folder: Path, other: Holder | None) -> str:
    if other is None:
        return f"The lease of {folder.name} was taken away while it was written. Try again."
    where = "" if other.host == socket.gethostname() else f" on {other.host}"
    return (
        f"{folder.name} is written by process {other.pid}{where}, which was alive "
        f"{max(0.0, time.time() - other.heartbeat):.0f} s ago. Stop the run there first."
    )


def _myself() -> Holder:
    return Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        started=_process_start(os.getpid()) or "",
        heartbeat=time.time(),
        token=uuid.uuid4().hex,
    )


@functools.cache
def _boot() -> str:
    if sys.platform == "linux":
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            # Two containers of one machine count their processes each from one.
            return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    import psutil

    # The clock may be set between two readings, by less than it takes to start up.
    return str(round(psutil.boot_time() / 60))


def _process_start(pid: int) -> str | None:
    """When process ``pid`` began, as text to compare; None if there is none, or a zombie."""
    if sys.platform == "linux":
        with suppress(OSError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            # The name in parentheses may hold anything, parentheses included.
            fields = text[text.rindex(")") + 1 :].split()
            return None if fields[0] in "ZX" else fields[19]
    else:
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return f"{process.create_time():.2f}"
    return None
