from __future__ import annotations

import io
import json
import os
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbtrain import messages as m
from nbtrain.errors import StoreError
from nbtrain.store import lines, reading
from nbtrain.store.reading import read
from tests.store.runs import created, finished, opening, stepped
from tests.vocabulary.strategies import EVENTS, same


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def line(body: object) -> bytes:
    """A line with a right checksum, whatever it holds."""
    start = json.dumps(body)[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (start, zlib.crc32(start))


WHOLE = b"".join(map(lines.encode, [*opening(), stepped(1, 9), finished(9)]))


def test_a_line_reads_as_documented() -> None:
    text = lines.encode(m.Paused(run="a", branch=2, step=7, time=1.5))
    start = b'{"v":1,"kind":"Paused","run":"a","branch":2,"step":7,"time":1.5'
    assert text == start + b',"crc":"%08x"}\n' % zlib.crc32(start)


@given(EVENTS)
def test_every_event_survives_its_line(event: m.Event) -> None:
    reading_ = reading.Reading()
    (back,) = reading.events_in(io.BytesIO(lines.encode(event)), reading_)
    assert same(back, event)


@given(st.integers(0, len(WHOLE)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_loses_its_last_line_only(path: Path, length: int) -> None:
    path.write_bytes(WHOLE[:length])
    found = read(path)
    assert len(found.events) == WHOLE[:length].count(b"\n")
    assert found.lost == length - (WHOLE[:length].rfind(b"\n") + 1)
    assert found.problems == []


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_byte_costs_no_more_than_two_lines(path: Path, place: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    path.write_bytes(damaged)
    found = read(path)
    assert 3 <= len(found.events) <= 4
    assert len(found.problems) + bool(found.lost) >= 1


def test_a_damaged_line_is_named(path: Path) -> None:
    path.write_bytes(WHOLE.replace(b'"Starting"', b'"Startimg"'))
    found = read(path)
    assert len(found.events) == 4
    assert found.problems == ["line 2: its checksum does not match its bytes"]


def test_events_of_a_later_version_are_kept_aside(path: Path) -> None:
    later = {"v": 2, "kind": "Rewound", "run": "a", "to": 7}
    path.write_bytes(WHOLE + line(later) + lines.encode(finished()))
    found = read(path)
    assert len(found.events) == 6
    assert [{k: v for k, v in body.items() if k != "crc"} for body in found.skipped] == [later]
    assert found.problems == []


@pytest.mark.parametrize(
    "text",
    [
        b"\n",
        b"{}\n",
        b"null\n",
        line({"v": 1}),
        line({"v": 0, "kind": "Paused", "run": "a"}),
        line({"v": "1", "kind": "Paused", "run": "a"}),
        line({"v": 1, "kind": "Paused", "run": 3}),
        line({"v": 1, "kind": "Paused", "run": "a", "step": 10**30}),
        line({"v": 1, "kind": "Paused", "run": "a", "time": float("nan")}),
        line({"v": 1, "kind": "Paused", "run": "a", "time": 10**400}),
        line({"v": 1, "kind": ["Paused"], "run": "a"}),
        line([1, 2]),
        b"[" * 100_000 + b"\n",
        b'{"v":1,"a":' + b"[" * 100_000 + b',"crc":"00000000"}\n',
        b"\xff\xfe\x00" * 100 + b"\n",
        b"\x00" * 5000 + b"\n",
    ],
)
def test_a_line_that_is_no_event_of_ours_is_reported(path: Path, text: bytes) -> None:
    path.write_bytes(WHOLE + text + lines.encode(finished()))
    found = read(path)
    assert len(found.events) == 6
    assert len(found.problems) == 1
    assert found.problems[0].startswith("line 6: ")


def test_brackets_without_end_are_reported(path: Path) -> None:
    start = b'{"v":1,"a":' + b"[" * 200_000
    path.write_bytes(b'%b,"crc":"%08x"}\n' % (start, zlib.crc32(start)) + WHOLE)
    found = read(path)
    assert len(found.events) == 5
    assert len(found.problems) == 1


def test_a_line_that_is_too_long_is_passed_over(path: Path) -> None:
    path.write_bytes(lines.encode(created()) + b"x" * (3 * lines.MAX_LINE) + b"\n" + WHOLE)
    found = read(path)
    assert len(found.events) == 6
    assert len(found.problems) == 1


def test_a_long_file_without_a_line_is_read_to_a_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILE", 64 * 2**20)
    with path.open("wb") as file:
        file.truncate(50 * 2**30)
    found = read(path)
    assert found.events == []
    assert "left unread" in found.problems[-1]


def test_a_file_of_rubbish_is_given_up(path: Path) -> None:
    path.write_bytes(b"\n" * 10**6 + WHOLE)
    found = read(path)
    assert found.events == []
    assert len(found.problems) <= reading.MAX_FAULTS + 1


def test_a_few_bytes_cannot_unfold_to_gigabytes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_NUMBERS", 3_000_000)
    axis = {"dtype": "i8", "runs": [[1, 1_000_000]]}
    body = {
        "v": 1,
        "kind": "Stepped",
        "run": "a",
        "count": 1_000_000,
        "samples": axis,
        "series": {},
        "updates": 1,
        "epoch": 0,
        "seconds": [0, 1],
        "gauges": {},
    }
    path.write_bytes(line(body) * 1000)
    found = read(path)
    assert len(found.events) == 3
    assert "left unread" in found.problems[-1]


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read(tmp_path / "none")
    with pytest.raises(StoreError, match="not an ordinary file"):
        read(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="not an ordinary file"):
        read(tmp_path / "pipe")


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_without_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content + b"\n" + WHOLE)
    assert len(read(path).events) == 5
