from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbtrain import messages as m
from nbtrain.errors import UnknownName, UsageError
from nbtrain.store import place
from nbtrain.store.catalog import RunFolder, Store
from tests.store.runs import created, finished, started, starting, stepped


@pytest.fixture
def runs(tmp_path: Path) -> Store:
    return Store(tmp_path / ".nbtrain")


def begin(store: Store, name: str = "digits", *, time: float = 1.0) -> RunFolder:
    """A new run that trains."""
    folder = store.create(name)
    folder.journal.append(created(folder.id, name, folder.number, time))
    folder.journal.append(starting(folder.id))
    folder.journal.append(started(folder.id))
    return folder


def end(folder: RunFolder) -> None:
    folder.journal.append(finished(run=folder.id))
    folder.close()


# ── where the store is ───────────────────────────────────────────────────────────────────


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with nothing found out yet about where the store is."""
    monkeypatch.delenv("NBTRAIN_HOME", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    place._beside_notebook.cache_clear()
    return tmp_path


def test_nbtrain_home_says_where(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTRAIN_HOME", str(nowhere / "mine"))
    assert Store.locate().path == nowhere / "mine"
    monkeypatch.setenv("NBTRAIN_HOME", "~/runs")
    assert Store.locate().path == Path.home() / "runs"


@pytest.mark.parametrize("relative", [True, False])
def test_it_lies_beside_the_notebook(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    notebook = nowhere / "course" / "first.ipynb"
    notebook.parent.mkdir()
    notebook.write_text("{}")
    session = notebook.relative_to(nowhere) if relative else notebook
    monkeypatch.setenv("JPY_SESSION_NAME", str(session))
    assert Store.locate().path == notebook.parent / ".nbtrain"


@pytest.mark.parametrize("session", ["course/first.ipynb", "/no/such/first.ipynb"])
def test_it_lies_in_the_working_directory_where_no_notebook_is_found(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", session)
    assert Store.locate().path == nowhere / ".nbtrain"


def test_it_stays_where_it_was(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store.locate()
    (nowhere / "other").mkdir()
    monkeypatch.chdir(nowhere / "other")
    assert Store.locate() is first


# ── making runs ──────────────────────────────────────────────────────────────────────────


def test_a_run_gets_a_folder_that_git_ignores(runs: Store) -> None:
    folder = runs.create("digits")
    assert folder.path is not None
    assert folder.problem is None
    assert folder.path.parent == runs.path / "runs"
    assert folder.path.name.endswith(f"-digits-1-{folder.id}")
    assert (runs.path / ".gitignore").read_text() == "*\n"


def test_numbers_count_by_name_and_are_not_given_twice(runs: Store) -> None:
    assert [runs.create(name).number for name in ("a", "a", "b", "a")] == [1, 2, 1, 3]
    with ThreadPoolExecutor(8) as pool:
        numbers = [folder.number for folder in pool.map(runs.create, ["c"] * 40)]
    assert sorted(numbers) == list(range(1, 41))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a\x00", "C:\\x", "con.txt", "~"])
def test_a_name_cannot_leave_the_store(runs: Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        runs.create(name)


@given(st.from_regex(r"[^\W_]\w{0,63}", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_every_name_a_run_can_have_is_a_name_on_disk(runs: Store, name: str) -> None:
    try:
        folder = runs.create(name)
    except UsageError:
        return
    assert folder.path is not None
    assert folder.path.parent == runs.path / "runs"
    assert len(folder.path.name.encode()) < 255
    again = runs.create(name)
    assert again.number == folder.number + 1


def test_a_place_that_cannot_be_written_gives_a_run_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / ".nbtrain")
    folder = store.create("digits")
    assert folder.path is None
    assert folder.problem is not None
    assert "is not writable" in folder.problem
    assert "Set NBTRAIN_HOME to a folder you can write to" in folder.problem
    folder.journal.append(created(folder.id))
    assert len(folder.journal.read().events) == 1
    assert folder.renew()
    folder.close()
    assert store.create("digits").number == 2
    assert store.runs() == []


def test_a_full_disk_gives_a_run_in_memory(runs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.create("digits").close()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    folder = runs.create("digits")
    assert folder.number == 2
    assert folder.problem is not None
    assert "No space left on device" in folder.problem


# ── finding them again ───────────────────────────────────────────────────────────────────


def test_runs_are_listed_newest_first_with_their_states(runs: Store) -> None:
    assert runs.runs() == []
    end(begin(runs, "a", time=1.0))
    begin(runs, "b", time=2.0).close()
    live = begin(runs, "c", time=3.0)
    live.journal.append(stepped(1, 5, run=live.id))
    live.journal.append(m.Paused(run=live.id, step=5, time=50.0))
    queued = runs.create("d")
    queued.journal.append(created(queued.id, "d", 1, 4.0))
    records = runs.runs()
    assert [(record.name, record.state) for record in records] == [
        ("d", "queued"),
        ("c", "paused"),
        ("b", "interrupted"),
        ("a", "finished"),
    ]
    assert (records[1].step, records[1].created, records[1].changed) == (5, 3.0, 50.0)
    assert [record.outcome for record in records] == [None, None, None, "completed"]


def test_a_run_is_found_by_its_name_number_or_id(runs: Store) -> None:
    first, second = begin(runs), begin(runs)
    begin(runs, "mnist")
    assert runs.find("digits").id == second.id
    assert runs.find("digits@1").id == first.id
    assert runs.find(first.id).id == first.id


@pytest.mark.parametrize(
    ("ref", "hint"),
    [("digit", "Did you mean 'digits'"), ("digits@7", "digits@1"), ("../digits", "digits")],
)
def test_a_run_that_is_not_there_is_named_with_the_nearest(
    runs: Store, ref: str, hint: str
) -> None:
    with pytest.raises(UnknownName, match="none yet"):
        runs.find(ref)
    begin(runs)
    with pytest.raises(UnknownName, match=hint):
        runs.find(ref)


def test_a_stored_run_tells_its_history(runs: Store) -> None:
    folder = begin(runs)
    folder.journal.append(stepped(1, 5, run=folder.id))
    end(folder)
    history = runs.find("digits").history()
    assert (history.state, history.step, history.problems) == ("finished", 5, ())
    assert folder.path is not None
    journal = folder.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"Starting", b"Startimg"))
    damaged = runs.find("digits").history()
    assert (damaged.state, damaged.step) == ("finished", 5)
    assert "checksum" in damaged.problems[0]


def test_a_finished_run_can_be_appended_to(runs: Store) -> None:
    folder = begin(runs)
    end(folder)
    folder.take()
    folder.journal.append(m.Extended(run=folder.id, step=30, epochs=5))
    assert runs.find("digits").state == "running"
    folder.close()
    assert runs.find("digits").state == "interrupted"


def test_folders_that_hold_no_run_are_passed_over(runs: Store, tmp_path: Path) -> None:
    end(begin(runs))
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = runs.path / "runs"
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    (folder / "rubbish").mkdir()
    (folder / "rubbish" / "journal.jsonl").write_bytes(os.urandom(1000))
    stored = (runs.find("digits").path / "journal.jsonl").read_bytes()
    (outside / "journal.jsonl").write_bytes(stored)
    if hasattr(os, "symlink"):
        (folder / "link").symlink_to(outside, target_is_directory=True)
    assert len(runs.runs()) == 1


def test_the_state_is_found_behind_a_long_log(runs: Store) -> None:
    folder = begin(runs)
    folder.journal.append(m.Paused(run=folder.id))
    for _ in range(10):
        folder.journal.append(m.Logged(run=folder.id, stream="stdout", text="x" * 20_000))
    assert runs.find("digits").state == "paused"


def test_hundreds_of_runs_are_listed_without_reading_them_whole(runs: Store) -> None:
    for number in range(200):
        folder = begin(runs, time=float(number))
        if number < 3:
            for first in range(1, 300_000, 20_000):
                folder.journal.append(stepped(first, first + 19_999, run=folder.id, epoch=first))
        end(folder)
    before = time.process_time()
    assert len(runs.runs()) == 200
    assert time.process_time() - before < 2.0
