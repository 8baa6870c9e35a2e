from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbtrain.errors import LeaseHeld
from nbtrain.store import lease as leases
from nbtrain.store.lease import Lease, held, holder

TAKE = """
import sys
from nbtrain.store.lease import Lease
Lease.take(sys.argv[1])
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease of ``tmp_path`` and lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what the lease of ``folder`` says."""
    path = folder / "lease.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    if "heartbeat" in changes:
        os.utime(path, (changes["heartbeat"], changes["heartbeat"]))


def test_a_lease_is_held_until_it_is_released(tmp_path: Path) -> None:
    assert not held(tmp_path)
    lease = Lease.take(tmp_path)
    found = holder(tmp_path)
    assert found is not None
    assert (found.pid, held(tmp_path)) == (os.getpid(), True)
    with pytest.raises(LeaseHeld):
        Lease.take(tmp_path)
    lease.release()
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    Lease.take(tmp_path).release()


def test_a_heartbeat_is_written(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path)
    rewrite(tmp_path, heartbeat=1000.0)
    found = holder(tmp_path)
    assert found is not None
    assert found.heartbeat == 1000.0
    assert lease.renew()
    found = holder(tmp_path)
    assert found is not None
    assert abs(found.heartbeat - time.time()) < 60


def test_a_living_process_keeps_its_lease(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    rewrite(tmp_path, heartbeat=1000.0)  # as after a laptop's sleep
    assert held(tmp_path)
    with pytest.raises(LeaseHeld, match=rf"process {other.pid}.*Stop the run there first"):
        Lease.take(tmp_path)


def test_a_killed_process_loses_its_lease_at_once(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    other.kill()
    if hasattr(os, "waitid"):
        # It stays a zombie, which writes nothing more.
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    else:
        other.wait(10)
    assert not held(tmp_path)
    Lease.take(tmp_path).release()


def test_another_process_with_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    Lease.take(tmp_path)
    rewrite(tmp_path, started="12345")
    assert not held(tmp_path)


def test_another_machine_is_known_by_its_heartbeat_alone(tmp_path: Path) -> None:
    Lease.take(tmp_path)
    rewrite(tmp_path, host="elsewhere", pid=1, heartbeat=time.time() - 30)
    assert held(tmp_path)
    with pytest.raises(LeaseHeld, match="on elsewhere"):
        Lease.take(tmp_path)
    rewrite(tmp_path, host="elsewhere", pid=1, heartbeat=time.time() - 90)
    assert not held(tmp_path)


def test_before_the_last_boot_is_dead_once_its_heartbeat_is_old(tmp_path: Path) -> None:
    Lease.take(tmp_path)
    rewrite(tmp_path, boot="another", heartbeat=time.time() - 90)
    assert not held(tmp_path)


def test_a_lease_that_was_taken_over_is_neither_renewed_nor_released(tmp_path: Path) -> None:
    lost = Lease.take(tmp_path)
    rewrite(tmp_path, started="12345")
    winner = Lease.take(tmp_path)
    assert not lost.renew()
    lost.release()
    assert held(tmp_path)
    assert winner.renew()


def test_a_full_disk_does_not_end_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease.take(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(leases.os, "replace", full)
    assert lease.renew()
    assert held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 4000, '{"pid": -1}', "\x00" * 100, '{"host": 3, "pid": "x"}']
)
def test_a_lease_that_is_none_of_ours_is_held_by_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    assert holder(tmp_path) is None
    Lease.take(tmp_path).release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_child_does_not_release_its_parent_s_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease.take(tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    lease.release()
    monkeypatch.undo()
    assert held(tmp_path)
