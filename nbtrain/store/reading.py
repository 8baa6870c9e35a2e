"""Reading a journal, whatever its state: cut short, damaged, from a later version, hostile.

Nothing that a file holds can stop the reader or make it work without end. What cannot be
read is left out and reported.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.errors import CorruptRecord, StoreError
from nbtrain.store import lines

MAX_FILE: Final = 2 * 2**30
"""Most bytes read of one journal: what a whole run may take on the disk."""

MAX_NUMBERS: Final = 200_000_000
"""Most numbers read of one journal, 1.6 GB: a long run of one value takes few bytes."""

MAX_FAULTS: Final = 10_000
"""Most lines that give no event; a file with more of them is no journal of ours."""


@dataclass(slots=True)
class Reading:
    """What a journal holds.

    ``lost`` counts the bytes of an unfinished last line. ``skipped`` are the events, as
    JSON, of kinds that a later version writes. ``problems`` says what is damaged, by line.
    """

    events: list[m.Event] = field(default_factory=list)
    lost: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(path: str | os.PathLike[str]) -> Reading:
    """Everything in the journal at ``path``.

    Raises `StoreError` only if there is no file that can be read.
    """
    report = Reading()
    report.events.extend(scan(path, report))
    return report


def scan(path: str | os.PathLike[str], report: Reading) -> Iterator[m.Event]:
    """The events of the journal at ``path``, one by one; ``report`` gets all but these.

    Raises `StoreError` only if there is no file that can be read.
    """
    try:
        with open_ordinary(path) as file:
            yield from events_in(file, report)
    except OSError as error:
        raise StoreError(f"{os.fspath(path)} cannot be read: {reason(error)}.") from error


def open_ordinary(path: str | os.PathLike[str]) -> io.BufferedReader:
    """``path`` opened for reading. Raises OSError, also for what is no ordinary file."""
    # Opening a named pipe would wait for ever.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is not an ordinary file")
    return open(path, "rb")


def events_in(file: BinaryIO, report: Reading) -> Iterator[m.Event]:
    """The events on the lines of ``file``, from its position on."""
    number = position = numbers = 0
    while line := file.readline(lines.MAX_LINE + 1):
        number += 1
        position += len(line)
        if not line.endswith(b"\n") and len(line) > lines.MAX_LINE:
            size, line = _rest_of_line(file, MAX_FILE - position)
            position += size
        if position > MAX_FILE or len(report.problems) + len(report.skipped) >= MAX_FAULTS:
            break
        if not line.endswith(b"\n"):
            report.lost = len(line)
            return
        try:
            body = lines.check(line)
            event = wire.event_from_json(body)
        except wire.UnknownMessage:
            report.skipped.append(body)
        except (CorruptRecord, wire.InvalidMessage) as error:
            report.problems.append(f"line {number}: {error}")
        else:
            if isinstance(event, m.Stepped):
                numbers += len(event.samples) + sum(map(len, event.series.values()))
            if numbers > MAX_NUMBERS:
                break
            yield event
    else:
        return
    report.problems.append(f"line {number} and all after it were left unread: there is too much")


def reason(error: OSError) -> str:
    """What went wrong, in the system's words."""
    return error.strerror or str(error)


def _rest_of_line(file: BinaryIO, limit: int) -> tuple[int, bytes]:
    """Pass over the rest of a line that is too long: its size and its last bytes."""
    size, piece = 0, b""
    while size <= limit and (more := file.readline(2**20)):
        size, piece = size + len(more), more
        if piece.endswith(b"\n"):
            break
    return size, piece
