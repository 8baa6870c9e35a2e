from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbtrain import messages as m
from nbtrain.spec import Spec
from nbtrain.store import journal as journals
from nbtrain.store import lines
from nbtrain.store.journal import FileJournal, Journal, MemoryJournal
from nbtrain.store.reading import read
from tests.store.runs import RUN, applied, created, finished, opening, stepped, validated
from tests.vocabulary.strategies import same


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Journal:
    if request.param == "memory":
        return MemoryJournal(clock=clock)
    return FileJournal(tmp_path / "journal.jsonl", clock=clock)


def kinds(events: list[m.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# ── what every journal does ──────────────────────────────────────────────────────────────


def test_events_are_read_as_they_were_appended(journal: Journal) -> None:
    events: list[m.Event] = [*opening(), stepped(1, 10), validated(10, 0.5), finished(10)]
    for event in events:
        journal.append(event)
    reading = journal.read()
    assert same(reading.events, events)
    assert (reading.lost, reading.skipped, reading.problems) == (0, [], [])
    assert journal.error is None


def test_steps_that_follow_one_another_become_one_block(journal: Journal) -> None:
    for event in (stepped(1, 2), stepped(3, 3), stepped(4, 9), validated(9, 0.5)):
        journal.append(event)
    merged, _ = journal.read().events
    assert isinstance(merged, m.Stepped)
    assert merged.count == 9
    assert merged.step == 9
    assert merged.seconds == (0.0, 0.9)
    assert merged.gauges == {"memory": 9.0}
    assert list(merged.samples) == [10 * step for step in range(1, 10)]
    assert list(merged.series["loss"]) == [1 / step for step in range(1, 10)]


def test_merging_leaves_the_events_as_they_were(journal: Journal) -> None:
    first = stepped(1, 2)
    journal.append(first)
    journal.append(stepped(3, 4))
    journal.flush()
    assert same(first, stepped(1, 2))


@pytest.mark.parametrize(
    "second",
    [
        stepped(4, 5),
        stepped(3, 5, branch=1),
        stepped(3, 5, series={"loss": [1.0] * 3, "lr": [0.1] * 3}),
        stepped(3, 5, epoch=1),
        stepped(3, 5, run="ffffffffffff"),
    ],
    ids=["a gap", "another branch", "other series", "another epoch", "another run"],
)
def test_steps_that_differ_stay_apart(journal: Journal, second: m.Stepped) -> None:
    journal.append(stepped(1, 2))
    journal.append(second)
    assert same(journal.read().events, [stepped(1, 2), second])


def test_a_long_line_of_the_log_is_cut_and_says_so(journal: Journal) -> None:
    journal.append(m.Logged(run=RUN, stream="stdout", text="x" * 10**6))
    (event,) = journal.read().events
    assert isinstance(event, m.Logged)
    assert len(event.text) == lines.MAX_TEXT
    assert event.text.endswith("left out)")
    assert lines.shorten(event) is event


@pytest.mark.parametrize(
    ("source", "context"),
    [("x" * (lines.MAX_LINE + 1), ()), ("é" * 2_000_000, ()), ("y", ("z" * 100_000,) * 300)],
)
def test_a_line_that_would_be_too_long_is_cut_and_says_so(
    journal: Journal, source: str, context: tuple[str, ...]
) -> None:
    spec = Spec(name="digits", options={}, source=source, context=context)
    journal.append(m.Created(run=RUN, name="digits", number=1, spec=spec.to_json()))
    journal.append(stepped(1, 5))
    report = journal.read()
    assert report.problems == []
    event = report.events[0]
    assert isinstance(event, m.Created)
    again = Spec.from_json(event.spec)
    texts = (again.source, *again.context)
    assert len(texts) == 1 + len(context)
    assert texts[-1].startswith((context[-1] if context else source)[:100])
    assert texts[-1].endswith("left out)")
    assert journal.error is not None
    assert "A Created of" in journal.error
    assert "longest texts were cut" in journal.error


def test_what_cannot_be_cut_is_left_out_and_says_so(journal: Journal) -> None:
    journal.append(created())
    name = "m" * (lines.MAX_LINE + 1)
    journal.append(m.Validated(run=RUN, metrics={name: 1.0}, samples=1, epoch=1, best=True))
    journal.append(finished())
    assert [type(e) for e in journal.read().events] == [m.Created, m.Finished]
    assert "A Validated of" in (journal.error or "")


def test_too_many_unwritten_lines_cost_old_metrics_only(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_WAITING", 20_000)
    if isinstance(journal, FileJournal):
        monkeypatch.setattr(os, "write", _full)
    journal.append(created())
    for step in range(1, 300):
        journal.append(stepped(step, step, epoch=step))
    journal.append(applied(299, "c1"))
    monkeypatch.undo()
    events = journal.read().events
    steps = [event.step for event in events if isinstance(event, m.Stepped)]
    assert kinds(events)[0] == "Created"
    assert kinds(events)[-1] == "Applied"
    assert 10 < len(steps) < 100
    assert steps == list(range(300 - len(steps), 300))


# ── when it reaches the disk ─────────────────────────────────────────────────────────────


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_command_is_on_the_disk_at_once_with_the_steps_before_it(
    path: Path, clock: Clock
) -> None:
    journal = FileJournal(path, clock=clock)
    journal.append(stepped(1, 5))
    assert read(path).events == []
    journal.append(applied(5, "c1"))
    assert kinds(read(path).events) == ["Stepped", "Applied"]


def test_metrics_are_on_the_disk_within_a_second(path: Path, clock: Clock) -> None:
    journal = FileJournal(path, clock=clock)
    journal.append(stepped(1, 5))
    clock.now += 0.99
    journal.append(stepped(6, 6, epoch=0))
    assert read(path).events == []
    clock.now += 0.01
    journal.append(stepped(7, 7))
    assert kinds(read(path).events) == ["Stepped"]
    journal.append(stepped(8, 8))
    journal.flush()
    assert kinds(read(path).events) == ["Stepped", "Stepped"]


def test_blocks_stay_far_below_the_longest_line(path: Path, clock: Clock) -> None:
    journal = FileJournal(path, clock=clock)
    for first in range(1, 400_000, 20_000):
        journal.append(stepped(first, first + 19_999, epoch=0))
    journal.close()
    assert max(map(len, path.read_bytes().splitlines())) < lines.MAX_LINE / 2
    assert sum(e.count for e in read(path).events if isinstance(e, m.Stepped)) == 400_000


def test_a_closed_journal_goes_on_when_appended_to(path: Path) -> None:
    journal = FileJournal(path)
    journal.append(created())
    journal.close()
    journal.append(finished())
    journal.close()
    assert kinds(read(path).events) == ["Created", "Finished"]


# ── a disk that fails ────────────────────────────────────────────────────────────────────


def _full(descriptor: int, data: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_full_disk_never_raises_and_loses_nothing_once_there_is_room(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(path, clock=clock)
    journal.append(created())
    monkeypatch.setattr(os, "write", _full)
    for step in range(1, 6):
        journal.append(stepped(step, step))
        journal.append(applied(step, f"c{step}"))
    assert journal.error is not None
    assert "No space left on device" in journal.error
    assert journal.error.count("the run lives in memory") == 1
    assert "Free some space" in journal.error
    assert len(journal.read().events) == 11
    monkeypatch.undo()
    journal.append(applied(6, "c6"))
    assert kinds(read(path).events) == ["Created"], "it tries again only at intervals"
    clock.now += journals.RETRY_SECONDS
    journal.append(applied(7, "c7"))
    assert journal.error is None
    assert kinds(read(path).events) == ["Created", *["Stepped", "Applied"] * 5, *["Applied"] * 2]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_line_that_only_half_fitted_does_not_spoil_those_after_it(path: Path) -> None:
    journal = FileJournal(path)
    journal.append(created())
    whole = path.stat().st_size
    with room_for(whole + 40):
        journal.append(applied(1, "c1"))
        assert journal.error is not None
        assert path.stat().st_size == whole + 40
        torn = read(path)
        assert (kinds(torn.events), torn.lost) == (["Created"], 40)
    journal.flush()
    journal.append(finished())
    assert journal.error is None
    reading = read(path)
    assert kinds(reading.events) == ["Created", "Applied", "Finished"]
    assert reading.problems == []


def test_a_folder_that_vanishes_and_one_that_comes_back(tmp_path: Path, clock: Clock) -> None:
    folder, aside = tmp_path / "run", tmp_path / "aside"
    folder.mkdir()
    journal = FileJournal(folder / "journal.jsonl", clock=clock)
    journal.append(created())
    shutil.copytree(folder, aside)
    shutil.rmtree(folder)
    journal.append(applied(1, "c1"))
    assert journal.error is not None
    assert "deleted" in journal.error
    clock.now += journals.RETRY_SECONDS
    journal.append(applied(2, "c2"))
    assert "No such file" in journal.error
    assert not folder.exists()
    aside.rename(folder)
    journal.flush()
    assert journal.error is None
    assert kinds(read(folder / "journal.jsonl").events) == ["Created", "Applied", "Applied"]


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "journal.jsonl")
    assert journal.error is not None
    journal.append(created())
    assert "the run lives in memory" in journal.error


def test_an_unfinished_line_of_an_earlier_process_is_cut_off(path: Path) -> None:
    FileJournal(path).append(created())
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"v":1,"kind":"Paus' + b"x" * 200_000)
    FileJournal(path).append(finished())
    reading = read(path)
    assert path.read_bytes().startswith(whole)
    assert kinds(reading.events) == ["Created", "Finished"]
    assert reading.problems == []
