"""A browser that receives snapshot and frames knows what the history knows."""

from __future__ import annotations

import json
import time
from array import array
from typing import Any

import numpy as np
import pytest

from nbtrain import messages as m
from nbtrain.ui.feed import Feed, Message
from tests.ui.runs import RUN, applied, finish, started, step, validate


class Browser:
    """What the front end keeps of the messages; docs/architecture.md."""

    def __init__(self) -> None:
        self.view: dict[str, Any] = {}
        self.curves: dict[str, Any] = {}
        self.lines: dict[int, str] = {}
        self.figures = 0

    def take(self, message: Message | None) -> int:
        """Take a message in; returns its size in bytes."""
        if message is None:
            return 0
        content, buffers = message
        text = json.dumps(content, allow_nan=False)
        if content["kind"] == "snapshot":
            self.view, self.curves, self.lines = {}, {}, {}
            self.figures += 1
        self.view |= content["view"]
        assert len(content["curves"]) == len(buffers)
        for head, buffer in zip(content["curves"], buffers, strict=True):
            fresh = np.frombuffer(buffer, "<f4").reshape(5, head["count"])
            kept = self.curves.get(head["name"], np.empty((5, 0)))
            assert head["start"] <= kept.shape[1]
            self.curves[head["name"]] = np.concatenate((kept[:, : head["start"]], fresh), axis=1)
        if content["log"]:
            first = content["log"]["first"]
            self.lines = {place: line for place, line in self.lines.items() if place < first}
            for place, line in enumerate(content["log"]["lines"], first):
                self.lines[place] = line["text"]
        return len(text) + sum(map(len, buffers))


def test_frames_bring_a_browser_where_a_snapshot_would() -> None:
    history = started()
    feed, browser = Feed(history), Browser()
    browser.take(feed.snapshot())
    for epoch in range(30):
        step(history)
        if epoch == 7:
            applied(history, old=3e-3, new=1e-3)
        validate(history, 1 / (epoch + 1))
        history.apply(m.Logged(run=RUN, stream="stdout", text=f"epoch {epoch}"))
        browser.take(feed.frame())
    finish(history)
    browser.take(feed.frame())
    late = Browser()
    late.take(Feed(history).snapshot())
    assert browser.view == late.view
    assert browser.lines == late.lines
    assert browser.curves.keys() == late.curves.keys()
    for name, rows in late.curves.items():
        np.testing.assert_array_equal(browser.curves[name], rows)
    assert browser.view["state"]["outcome"] == "completed"
    assert browser.curves["loss"][1].tolist() == list(range(1, 301))
    assert browser.curves["val_loss"][1].tolist() == list(range(10, 301, 10))
    assert browser.curves["loss"][0].tolist() == pytest.approx([n / 10 for n in range(1, 301)])
    assert browser.curves["val_loss"][0].tolist() == list(range(1, 31))


def test_nothing_is_sent_where_nothing_changed() -> None:
    history = started()
    feed = Feed(history)
    assert feed.frame() is not None  # the first is a snapshot
    assert feed.frame() is None
    step(history)
    assert feed.frame() is not None
    assert feed.frame() is None


def test_what_is_read_for_a_picture_is_still_sent() -> None:
    history, browser = started(), Browser()
    feed = Feed(history)
    browser.take(feed.snapshot())
    step(history)
    feed.read()
    browser.take(feed.frame())
    assert browser.curves["loss"].shape == (5, 10)


def test_a_new_metric_brings_a_new_figure() -> None:
    history, browser = started(), Browser()
    feed = Feed(history)
    browser.take(feed.snapshot())
    step(history)
    browser.take(feed.frame())
    assert browser.figures == 1
    step(history, lr=1e-3, penalty=[0.5] * 10)
    browser.take(feed.frame())
    assert browser.figures == 2
    assert [chart["id"] for chart in browser.view["charts"]] == [
        "loss",
        "accuracy",
        "penalty",
        "lr",
    ]
    assert np.isnan(browser.curves["penalty"][4, :10]).all()
    assert browser.curves["penalty"][4, 10:].tolist() == [0.5] * 10


def test_series_that_are_not_drawn_are_counted() -> None:
    history, browser = started(), Browser()
    step(history, **{f"value{number}": [1.0] * 10 for number in range(20)})
    browser.take(Feed(history).snapshot())
    assert browser.view["notes"][-1] == "11 more series are not drawn; digits.history holds them."
    assert len(browser.curves) == 11


def test_a_rewind_draws_the_curves_anew() -> None:
    history, browser = started(), Browser()
    feed = Feed(history)
    step(history, 50)
    browser.take(feed.snapshot())
    history.apply(
        m.Stepped(
            run=RUN, branch=1, step=30, count=10, samples=array("q", range(1344, 1984, 64)),
            series={name: array("f", [9.0] * 10) for name in ("loss", "accuracy", "lr")},
            updates=30, epoch=3, seconds=(0.5, 0.6), total_steps=300, gauges={},
        )
    )  # fmt: skip
    browser.take(feed.frame())
    assert browser.curves["loss"].shape == (5, 30)
    assert browser.curves["loss"][4, 20:].tolist() == [9.0] * 10


def test_a_progress_bar_replaces_its_line_and_a_flood_is_cut() -> None:
    history, browser = started(), Browser()
    feed = Feed(history)

    def say(text: str, replace: bool = False) -> None:
        history.apply(m.Logged(run=RUN, stream="stderr", text=text, replace=replace))

    say("10 %")
    browser.take(feed.snapshot())
    say("20 %", replace=True)
    browser.take(feed.frame())
    assert browser.lines == {0: "20 %"}
    say("done")
    browser.take(feed.frame())
    assert browser.lines == {0: "20 %", 1: "done"}
    for number in range(10_000):
        say(f"line {number}")
    assert browser.take(feed.frame()) < 10_000
    assert browser.lines[10_001] == "line 9999"
    assert browser.view["state"]["state"] == "running"


def test_text_that_utf8_cannot_hold_is_still_sent() -> None:
    history, browser = started(), Browser()
    history.apply(m.Logged(run=RUN, stream="stdout", text="name \udce9"))
    browser.take(Feed(history).snapshot())
    assert browser.lines[0].encode() == b"name ?"


def test_an_early_refusal_is_among_the_answers_once() -> None:
    history = started()
    feed = Feed(history)
    feed.snapshot()
    refused = m.Rejected(run=RUN, command="c1", action="Set", sender="panel", reason="no")
    for _ in range(2):
        feed.refuse(refused)
    message = feed.frame()
    assert message is not None
    assert [answer["id"] for answer in message[0]["view"]["answers"]] == ["c1"]


def test_traffic_and_time_stay_small_and_do_not_grow() -> None:
    """At 1,000 steps a second and ten frames: at most 40 KB/s, and about 0.2 ms of Python a
    frame; the bounds leave room for a busy machine."""
    history = started(total_steps=2_000_000)
    feed, browser = Feed(history), Browser()
    browser.take(feed.snapshot())

    def measure(frames: int) -> tuple[float, float]:
        sizes, times = [], []
        for _ in range(frames):
            step(history, 100)
            begin = time.perf_counter()
            message = feed.frame()
            times.append(time.perf_counter() - begin)
            sizes.append(browser.take(message))
        return sum(sizes) / frames, sorted(times)[frames // 2]

    early_bytes, early_seconds = measure(100)
    for _ in range(9):
        step(history, 100_000)
    browser.take(feed.frame())
    late_bytes, late_seconds = measure(100)
    assert history.step > 900_000
    assert early_bytes < 4096
    assert late_bytes < 1024
    assert early_seconds < 2e-3
    assert late_seconds < 3 * early_seconds


def test_a_rate_is_drawn_where_it_changes_by_itself() -> None:
    history = started()
    feed, browser = Feed(history), Browser()
    browser.take(feed.snapshot())

    def drawn(rate: float) -> bool:
        step(history, lr=rate)
        browser.take(feed.frame())
        return any(chart["id"] == "lr" for chart in browser.view["charts"])

    assert not drawn(3e-3)
    applied(history, old=3e-3, new=1e-3, drag="d")
    assert not drawn(1e-3)
    applied(history, old=1e-3, new=2e-3, drag="d")
    assert not drawn(2e-3)
    applied(history, action="Undo", old=2e-3, new=3e-3, undoes="d")
    assert not drawn(3e-3)
    assert drawn(1e-4)
    assert drawn(1e-4)
