"""The thread that trains: one job after the other, whatever becomes of each."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from nbtrain.runs.trainer import Trainer, join

PATIENCE = 20.0


def test_jobs_are_done_in_order_on_one_thread() -> None:
    trainer, order, end = Trainer("cpu"), [], threading.Event()
    for number in range(5):
        trainer.submit(str(number), lambda n=number: order.append((n, trainer.here())))
    trainer.submit("end", end.set)
    assert end.wait(PATIENCE)
    assert order == [(n, True) for n in range(5)]
    assert not trainer.here()


def test_a_job_that_has_not_begun_can_be_withdrawn() -> None:
    trainer, gate, begun, done = Trainer("cpu"), *(threading.Event() for _ in range(3))

    def first() -> None:
        begun.set()
        gate.wait(PATIENCE)

    trainer.submit("first", first)
    assert begun.wait(PATIENCE)
    trainer.submit("second", done.set)
    assert trainer.holder == "second"
    assert trainer.withdraw("second")
    assert not trainer.withdraw("second")
    assert not trainer.withdraw("first")
    assert trainer.holder == "first"
    gate.set()
    assert not done.is_set()


def test_the_thread_ends_with_its_jobs_and_begins_again() -> None:
    trainer = Trainer("cpu")
    for _ in range(3):
        end = threading.Event()
        trainer.submit("job", end.set)
        assert end.wait(PATIENCE)
        thread = trainer._thread
        if thread is not None:
            thread.join(PATIENCE)
        assert trainer.holder is None


def test_what_a_job_held_is_let_go() -> None:
    class Model:
        pass

    trainer, end = Trainer("cpu"), threading.Event()
    model = Model()
    alive = weakref.ref(model)
    trainer.submit("first", lambda model=model: None)
    gate = threading.Event()

    def second() -> None:
        end.set()
        gate.wait(PATIENCE)

    trainer.submit("second", second)
    del model
    assert end.wait(PATIENCE)
    gc.collect()
    assert alive() is None
    gate.set()


def test_a_job_that_raises_does_not_hold_up_those_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer, gate, end = Trainer("cpu"), threading.Event(), threading.Event()
    told = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.set())

    def broken() -> None:
        gate.wait(PATIENCE)
        raise ValueError("a bug of ours")

    trainer.submit("broken", broken)
    trainer.submit("next", end.set)
    gate.set()
    assert end.wait(PATIENCE)
    assert told.wait(PATIENCE)
    again = threading.Event()
    trainer.submit("again", again.set)
    assert again.wait(PATIENCE)


def test_what_a_job_keeps_is_held_until_it_is_done() -> None:
    class Kept:
        """Something that can be referred to weakly."""

    trainer, gate, end, kept = Trainer("cpu"), threading.Event(), threading.Event(), Kept()
    reference = weakref.ref(kept)
    trainer.submit("first", lambda: gate.wait(PATIENCE) and None)
    trainer.submit("second", lambda: None, keeps=kept)
    del kept
    assert reference() is not None
    gate.set()
    trainer.submit("end", end.set)
    assert end.wait(PATIENCE)
    assert reference() is None


def test_joining_waits_for_every_thread() -> None:
    trainer, gate, begun = Trainer("cpu"), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        gate.wait(PATIENCE)

    trainer.submit("first", job)
    assert begun.wait(PATIENCE)
    join(0.01)
    assert trainer.current == "first"
    gate.set()
    join(PATIENCE)
    assert trainer.current is None
