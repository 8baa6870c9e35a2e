"""The store: where runs lie on the disk, and how they are found again."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.errors import CorruptRecord, UnknownName
from nbtrain.spec import check_name
from nbtrain.states import LIVE, TRANSITIONS, State
from nbtrain.store import lease as leases
from nbtrain.store import lines, place
from nbtrain.store.history import History
from nbtrain.store.journal import FileJournal, Journal, MemoryJournal
from nbtrain.store.reading import Reading, events_in, open_ordinary, read, reason, scan

RunState: TypeAlias = State | Literal["interrupted"]

_JOURNAL: Final = "journal.jsonl"
_FOLDER: Final = re.compile(r"\d{8}T\d{6}-(\w+)-(\d{1,9})-[0-9a-f]{12}")
_TAIL: Final = 64 * 2**10
_LONGEST_TAIL: Final = 2**20
_LEADS_TO: Final = {event: state for (_, event), state in TRANSITIONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A stored run, as its journal's ends tell it.

    ``state`` is ``interrupted`` where the run did not finish and no living process writes
    it. ``step`` is the last step known to be done; ``created`` and ``changed`` are in
    seconds since 1970.
    """

    id: str
    name: str
    number: int
    path: Path
    state: RunState
    outcome: m.Outcome | None
    step: int
    created: float
    changed: float

    def read(self) -> Reading:
        """The whole journal. Raises `StoreError`."""
        return read(self.path / _JOURNAL)

    def history(self) -> History:
        """The run's history, with what was wrong with the file in its ``problems``.

        Raises `StoreError`.
        """
        report = Reading()
        history = History.of(scan(self.path / _JOURNAL, report))
        history.problems = (*report.problems[:100], *history.problems)
        return history


class RunFolder:
    """The place of a run that this process writes.

    ``path`` is None and ``problem`` says why where the disk cannot be written: the run then
    lives in memory.
    """

    def __init__(
        self,
        *,
        id: str,
        name: str,
        number: int,
        path: Path | None,
        journal: Journal,
        lease: leases.Lease | None,
        problem: str | None = None,
    ) -> None:
        self.id, self.name, self.number = id, name, number
        self.path, self.journal, self.problem = path, journal, problem
        self._lease = lease

    def renew(self) -> bool:
        """Show that the run lives, and write what waits. Call every few seconds, from any
        thread. False if another process has taken the run over."""
        self.journal.flush()
        return self._lease is None or self._lease.renew()

    def close(self) -> None:
        """Write what waits, and let others write the run. What is appended later is written
        all the same; `take` the run first."""
        self.journal.close()
        if self._lease is not None:
            self._lease.release()

    def take(self) -> None:
        """Write the run again, after `close`. Raises `LeaseHeld` if another process does."""
        if self.path is not None:
            # A disk that cannot be written must not keep a run from going on in memory.
            with suppress(OSError):
                self._lease = leases.Lease.take(self.path)


class Store:
    """The runs in one folder, ``.nbtrain`` beside the notebook unless told otherwise."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._in_memory: Counter[str] = Counter()

    @classmethod
    def locate(cls) -> Store:
        """The store of this process: the folder `NBTRAIN_HOME` names, else ``.nbtrain``
        beside the notebook, else in the working directory.

        Found out at the first call and fixed from then on, so that changing the directory
        does not split a session's runs.
        """
        return _in(place.home())

    def create(self, name: str) -> RunFolder:
        """A folder for a new run called ``name``, with its journal and lease.

        Raises `UsageError` if ``name`` cannot name a run. Where the disk cannot be written
        the run gets a journal in memory, and ``problem`` says so.
        """
        check_name(name)
        run = m.new_id()
        try:
            self._prepare()
            number = self._next_number(name)
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            path = self.path / "runs" / f"{stamp}-{_in_file_name(name)}-{number}-{run}"
            path.mkdir()
            lease = leases.Lease.take(path)
        except OSError as error:
            self._in_memory[name] += 1
            return RunFolder(
                id=run,
                name=name,
                number=self._taken(name) + self._in_memory[name],
                path=None,
                journal=MemoryJournal(),
                lease=None,
                problem=f"{self.path} is not writable ({reason(error)}): this run lives in "
                "memory. Set NBTRAIN_HOME to a folder you can write to.",
            )
        return RunFolder(
            id=run,
            name=name,
            number=number,
            path=path,
            journal=FileJournal(path / _JOURNAL),
            lease=lease,
        )

    def runs(self) -> list[Record]:
        """All stored runs, newest first; folders that hold no run are passed over."""
        found = [record for path in self._folders() if (record := _record(path)) is not None]
        return sorted(found, key=lambda record: (record.created, record.id), reverse=True)

    def find(self, ref: str) -> Record:
        """The run that ``ref`` means: ``name`` its latest, ``name@2`` an older one, or an id.

        Raises `UnknownName` with the nearest.
        """
        records = self.runs()
        name, at, number = ref.partition("@")
        named = [record for record in records if record.name == name]
        if not at and named:
            return max(named, key=lambda record: record.number)
        for record in records:
            if record.id == ref or (at and record.name == name and str(record.number) == number):
                return record
        known = dict.fromkeys(
            word
            for record in records
            for word in ([f"{name}@{record.number}"] if record in named else [record.name])
        )
        raise UnknownName("run", ref, known, "" if known else f"{self.path} holds none yet.")

    def _folders(self) -> Iterator[Path]:
        with suppress(OSError), os.scandir(self.path / "runs") as entries:
            for entry in entries:
                # A link could lead out of the store.
                if entry.is_dir(follow_symlinks=False):
                    yield Path(entry.path)

    def _prepare(self) -> None:
        for path in (self.path / "runs", self.path / "numbers"):
            path.mkdir(parents=True, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def _taken(self, name: str) -> int:
        """The highest number among the stored runs called ``name``; 0 if there is none."""
        found = (_FOLDER.fullmatch(path.name) for path in self._folders())
        wanted = _in_file_name(name)
        return max((int(f[2]) for f in found if f is not None and f[1] == wanted), default=0)

    def _next_number(self, name: str) -> int:
        number = self._taken(name)
        while True:
            number += 1
            # Two kernels may ask at once: a number belongs to whoever makes its file, and a
            # deleted run's number is not given again.
            claim = self.path / "numbers" / f"{_in_file_name(name)}@{number}"
            with suppress(FileExistsError):
                claim.touch(exist_ok=False)
                return number


@functools.cache
def _in(path: Path) -> Store:
    return Store(path)


def _in_file_name(name: str) -> str:
    """``name``, shortened if file systems would not take it."""
    if len(name.encode()) <= 120:
        return name
    return name[:24] + "_" + hashlib.sha256(name.encode()).hexdigest()[:16]


def _record(path: Path) -> Record | None:
    """The run in the folder ``path``, from its journal's first line and its end."""
    try:
        with open_ordinary(path / _JOURNAL) as file:
            line = file.readline(lines.MAX_LINE)
            created = wire.event_from_json(lines.check(line))
            if not isinstance(created, m.Created):
                return None
            last, state, outcome = _end(file, created)
    except (OSError, CorruptRecord, wire.InvalidMessage):
        return None
    interrupted = state in LIVE and not leases.held(path)
    return Record(
        id=created.run,
        name=created.name,
        number=created.number,
        path=path,
        state="interrupted" if interrupted else state,
        outcome=outcome if state == "finished" else None,
        step=last.step,
        created=created.time,
        changed=last.time,
    )


def _end(file: io.BufferedReader, created: m.Created) -> tuple[m.Event, State, m.Outcome | None]:
    """The last event in ``file``, the state it leaves the run in, and the outcome."""
    size = os.fstat(file.fileno()).st_size
    length = _TAIL
    while True:
        start = max(0, size - length)
        file.seek(start)
        if start:
            file.readline(lines.MAX_LINE)  # most likely it is only the end of one
        events: list[m.Event] = list(events_in(file, Reading())) if start < size else []
        last: m.Event = events[-1] if events else created
        for event in reversed(events):
            if type(event) in _LEADS_TO:
                outcome = event.outcome if isinstance(event, m.Finished) else None
                return last, _LEADS_TO[type(event)], outcome
        if start == 0:
            return last, "queued", None
        if length >= _LONGEST_TAIL:
            # Only a run that trains writes so much without a change of state.
            return last, "running", None
        length *= 4
