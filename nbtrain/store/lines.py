"""One line of a journal: an event as JSON, with the schema's version and a checksum.

A line reads ``{"v":1,"kind":…,…,"crc":"0a1b2c3d"}``. The checksum is the CRC-32 of the
line's bytes before ``,"crc"``, in hexadecimal. The newline is part of the line: without it
the line was never finished.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from typing import Any, NoReturn

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.errors import CorruptRecord

MAX_LINE = 8 * 2**20
"""Longest line, in bytes. A second of training takes a hundredth of it; what is longer is
refused, because a few megabytes of hostile JSON unfold to a gigabyte of objects."""

MAX_TEXT = 64 * 2**10
"""Longest text of one `Logged`, in characters; the rest of a longer one is cut off. So it is
with the texts of any event whose line would be too long."""

_SHORTEST_CUT = 256

_ENDING = re.compile(rb',"crc":"([0-9a-f]{8})"\}\n\Z')


def encode(event: m.Event) -> bytes:
    """The line that holds ``event``, newline included."""
    return _line(wire.to_json(event))


def encode_cut(event: m.Event) -> bytes | None:
    """The same with long texts cut, so that the line is one that is read; None where that is
    not what makes it long."""
    body, longest = wire.to_json(event), MAX_TEXT
    while longest >= _SHORTEST_CUT and not isinstance(event, m.Stepped):
        line = _line(_cut(body, longest))
        if len(line) <= MAX_LINE:
            return line
        longest //= 4
    return None


def _line(event: dict[str, Any]) -> bytes:
    body = {"v": wire.SCHEMA, **event}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    start = text[:-1].encode("ascii")
    return b'%b,"crc":"%08x"}\n' % (start, zlib.crc32(start))


def check(line: bytes) -> dict[str, Any]:
    """The JSON object on ``line``, newline included. Raises `CorruptRecord`."""
    ending = _ENDING.search(line)
    if ending is None:
        raise CorruptRecord("the checksum at its end is missing")
    if zlib.crc32(memoryview(line)[: ending.start()]) != int(ending[1], 16):
        raise CorruptRecord("its checksum does not match its bytes")
    try:
        body = json.loads(line, parse_constant=_refuse)
    # A few thousand opening brackets are enough to exhaust the parser's stack.
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(f"it is not standard JSON ({error})") from None
    if not isinstance(body, dict) or type(body.get("v")) is not int or body["v"] < 1:
        raise CorruptRecord("it names no schema version")
    return body


def shorten(event: m.Event) -> m.Event:
    """``event``, its text cut to `MAX_TEXT` characters if it is a longer `Logged`."""
    if isinstance(event, m.Logged) and len(event.text) > MAX_TEXT:
        return dataclasses.replace(event, text=_cut(event.text, MAX_TEXT))
    return event


def _cut(value: Any, longest: int) -> Any:
    """``value`` with every text in it at most so many characters long."""
    if isinstance(value, str) and len(value) > longest:
        note = f"… ({len(value) - longest:,} characters and more left out)"
        # The result is short enough, so that cutting it again changes nothing.
        return value[: longest - len(note)] + note
    if isinstance(value, dict):
        return {key: _cut(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, longest) for item in value]
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
