"""One thread draws all panels, and no panel can hurt another or whoever wakes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nbtrain.ui.writer import Writer

SOON = 5.0


class Fake:
    """A panel that remembers when and where it was drawn."""

    def __init__(self, act: Callable[[], float | None] = lambda: None) -> None:
        self.act = act
        self.times: list[float] = []
        self.threads: set[str] = set()
        self.drawn = threading.Event()

    def draw(self, now: float) -> float | None:
        self.times.append(now)
        self.threads.add(threading.current_thread().name)
        self.drawn.set()
        return self.act()


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer(frame=0.02)
    yield writer
    writer.close()


def test_it_draws_when_woken_and_sleeps_when_not(writer: Writer) -> None:
    panel = Fake()
    writer.add(panel)
    assert writer.flush(SOON)
    drawn = len(panel.times)
    quiet = threading.Event()
    quiet.wait(0.1)
    assert len(panel.times) == drawn
    writer.wake()
    assert writer.flush(SOON)
    assert len(panel.times) > drawn


def test_many_wakes_are_few_frames() -> None:
    writer, panel = Writer(frame=0.1), Fake()
    writer.add(panel)
    end = time.monotonic() + 0.5
    wakes = 0
    while time.monotonic() < end:
        writer.wake()
        wakes += 1
    writer.close()
    assert wakes > 1000
    assert 2 <= len(panel.times) <= 7


def test_all_panels_are_drawn_on_one_thread(writer: Writer) -> None:
    panels = [Fake() for _ in range(3)]
    for panel in panels:
        writer.add(panel)
    assert writer.flush(SOON)
    assert set().union(*(panel.threads for panel in panels)) == {"nbtrain-ui"}


def test_flush_returns_when_what_came_before_it_is_drawn(writer: Writer) -> None:
    shown: list[int] = []
    history: list[int] = []
    panel = Fake(lambda: shown.append(len(history)))
    writer.add(panel)
    for length in range(1, 6):
        history.append(length)
        assert writer.flush(SOON)
        assert shown[-1] == length


def test_flush_without_panels_returns_at_once() -> None:
    assert Writer().flush(0.0)


def test_a_panel_that_raises_is_dropped_and_the_others_are_drawn(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise BrokenPipeError("the comm is gone")

    broken, healthy = Fake(fail), Fake()
    with caplog.at_level(logging.ERROR):
        writer.add(broken)
        writer.add(healthy)
        assert writer.flush(SOON)
    assert writer.panels == (healthy,)
    assert len(broken.times) == 1
    assert "the comm is gone" in caplog.text
    broken.act = lambda: None
    writer.add(broken)
    assert writer.flush(SOON)
    assert len(broken.times) == 2


def test_a_panel_that_hangs_is_left_behind_and_the_others_are_drawn() -> None:
    writer = Writer(frame=0.01, stuck=0.05)
    release, again = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(SOON)

    hanging, healthy = Fake(hang), Fake()
    writer.add(hanging)
    assert hanging.drawn.wait(SOON)
    writer.add(healthy)
    end = time.monotonic() + SOON
    while not healthy.drawn.is_set() and time.monotonic() < end:
        writer.wake()
        healthy.drawn.wait(0.02)
    assert healthy.drawn.is_set()
    assert writer.panels == (healthy,)
    writer.add(hanging)  # its frame goes on, so nobody else may draw it
    assert writer.panels == (healthy,)
    # When the frame ends after all, the panel is drawn again.
    hanging.act = lambda: again.set()
    release.set()
    assert again.wait(SOON)
    assert set(writer.panels) == {healthy, hanging}
    writer.close()


def test_waking_a_writer_whose_panel_hangs_takes_no_time() -> None:
    writer, release = Writer(frame=0.01), threading.Event()
    panel = Fake(lambda: release.wait(SOON) and None)
    writer.add(panel)
    assert panel.drawn.wait(SOON)
    begin = time.perf_counter()
    for _ in range(1000):
        writer.wake()
    assert time.perf_counter() - begin < 0.5
    release.set()
    writer.close()


def test_a_panel_is_drawn_again_when_it_is_due(writer: Writer) -> None:
    again = iter([0.05])
    panel = Fake()
    second = threading.Event()

    def act() -> float | None:
        wait = next(again, None)
        if wait is None:
            second.set()
            return None
        return time.monotonic() + wait

    panel.act = act
    writer.add(panel)
    assert second.wait(SOON)


def test_a_removed_panel_is_not_drawn(writer: Writer) -> None:
    panel = Fake()
    writer.add(panel)
    assert writer.flush(SOON)
    writer.remove(panel)
    drawn = len(panel.times)
    assert writer.flush(SOON)
    assert len(panel.times) == drawn


def test_a_panel_at_rest_is_drawn_again_when_something_changed(writer: Writer) -> None:
    version = [1]

    class Ended:
        drawn = 0

        def draw(self, now: float) -> float | None:
            self.drawn += 1
            writer.rest(self, lambda: version[0], version[0])
            return None

    panel = Ended()
    writer.add(panel)
    assert writer.flush()
    assert writer.flush()
    assert (panel.drawn, writer.panels) == (1, ())
    version[0] = 2
    assert writer.flush()
    assert panel.drawn == 2
