"""Where commands wait for the control point."""

from __future__ import annotations

import threading

import pytest

from nbtrain import messages as m
from nbtrain.engine.control import GO
from nbtrain.runs.inbox import Inbox


def test_commands_come_in_their_order_and_once() -> None:
    inbox = Inbox(lambda event: None)
    commands = [m.Pause(), m.Resume(), m.Evaluate()]
    for command in commands:
        assert inbox.send(command)
        assert not inbox.send(command)
    assert inbox.waiting
    assert inbox.decide(1).commands == tuple(commands)
    assert inbox.decide(2) is GO
    assert not inbox.send(commands[0]), "its id is kept for the run's life"


def test_waiting_ends_with_a_command() -> None:
    inbox = Inbox(lambda event: None)
    got = []
    thread = threading.Thread(target=lambda: got.append(inbox.decide(1, None)))
    thread.start()
    command = m.Resume()
    inbox.send(command)
    thread.join(20)
    assert got[0].commands == (command,)


def test_waiting_ends_in_time() -> None:
    assert Inbox(lambda event: None).decide(1, 0.001) is GO


def test_requests_are_answered_between_steps() -> None:
    inbox = Inbox(lambda event: None)
    future = inbox.between_steps(lambda: 41 + 1)
    assert not future.done()
    assert inbox.decide(1) is GO
    assert future.result(0) == 42


def test_what_a_request_raises_is_the_askers() -> None:
    inbox = Inbox(lambda event: None)
    future = inbox.between_steps(lambda: 1 // 0)
    inbox.decide(1)
    with pytest.raises(ZeroDivisionError):
        future.result(0)
