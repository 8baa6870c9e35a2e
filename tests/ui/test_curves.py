"""Curves stay bounded, true to the data, and cheap however long the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrain.ui.curves import Block, Curve


class Browser:
    """What the front end keeps: drop from ``start`` on, append."""

    def __init__(self) -> None:
        self.rows = np.empty((5, 0), dtype=np.float32)

    def take(self, block: Block | None) -> None:
        if block is None:
            return
        fresh = np.frombuffer(block.pack(), dtype="<f4").reshape(5, block.count)
        assert block.start <= self.rows.shape[1]
        self.rows = np.concatenate((self.rows[:, : block.start], fresh), axis=1)


def test_a_short_curve_is_shown_value_by_value() -> None:
    curve, browser = Curve(), Browser()
    curve.extend([0.5, 1.0, 1.5], [3.0, 2.0, 1.0], [1, 2, 3])
    browser.take(curve.changes())
    assert browser.rows[0].tolist() == [0.5, 1.0, 1.5]
    assert browser.rows[1].tolist() == [1, 2, 3]
    assert browser.rows[2:].tolist() == [[3.0, 2.0, 1.0]] * 3
    assert curve.changes() is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 70), max_size=12), st.sampled_from([2, 8, 10]))
def test_frames_leave_the_browser_with_what_a_snapshot_shows(sizes: list[int], points: int) -> None:
    curve, browser, values = Curve(points), Browser(), np.random.default_rng(0)
    everything: list[float] = []
    for size in sizes:
        fresh = values.normal(size=size)
        places = np.arange(len(everything), len(everything) + size)
        curve.extend(places, fresh, places + 1)
        everything.extend(fresh)
        browser.take(curve.changes())
        assert curve.count <= points
        snapshot = np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(5, -1)
        np.testing.assert_array_equal(browser.rows, snapshot)
    for bucket in range(curve.count):
        held = np.array(everything[bucket * curve.size : (bucket + 1) * curve.size])
        assert browser.rows[1, bucket] == min((bucket + 1) * curve.size, len(everything))
        assert browser.rows[2, bucket] == np.float32(held.min())
        assert browser.rows[3, bucket] == np.float32(held.max())
        assert browser.rows[4, bucket] == pytest.approx(held.mean(), abs=1e-5)


def test_one_big_piece_equals_many_small_ones() -> None:
    y = np.random.default_rng(1).normal(size=12_345)
    x = np.arange(len(y)) / 100
    at_once, piecemeal = Curve(), Curve()
    steps = np.arange(len(y)) + 1
    at_once.extend(x, y, steps)
    for start in range(0, len(y), 777):
        piece = slice(start, start + 777)
        piecemeal.extend(x[piece], y[piece], steps[piece])
    assert at_once.count == piecemeal.count == 772
    for name in ("x", "step", "low", "high", "mean"):
        np.testing.assert_allclose(
            getattr(at_once.whole(), name), getattr(piecemeal.whole(), name), rtol=1e-12
        )


def packed(curve: Curve) -> np.ndarray[Any, Any]:
    return np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(5, -1)


def test_values_that_are_not_finite_are_told_and_hide_no_neighbours() -> None:
    curve = Curve(points=4)
    curve.extend(range(4), [np.nan, np.inf, -np.inf, 1.0], range(1, 5))
    _, _, low, high, mean = packed(curve)
    assert np.isnan(mean[:3]).all()
    assert [low[0], high[0]] == [-np.inf, np.inf]  # not a number lies on neither side
    assert np.isnan(low[1]) and high[1] == np.inf
    assert low[2] == -np.inf and np.isnan(high[2])
    assert [low[3], high[3], mean[3]] == [1.0, 1.0, 1.0]
    curve.extend(range(4, 8), [5.0, np.inf, 3.0, 4.0], range(5, 9))
    _, step, low, high, mean = packed(curve)
    assert step.tolist() == [2, 4, 6, 8]
    assert mean[1:].tolist() == [1.0, 5.0, 3.5]
    assert low[2] == 5.0 and high[2] == np.inf
    assert [low[3], high[3]] == [3.0, 4.0]
    whole = curve.whole()
    assert [whole.low[2], whole.high[2]] == [5.0, 5.0]  # for who draws without the wire


def test_not_a_number_can_stand_for_not_measured() -> None:
    curve = Curve(gaps=True)
    curve.extend([0, 1], [np.nan, np.inf], [1, 2])
    _, _, low, high, mean = packed(curve)
    assert np.isnan([low[0], high[0], mean[0]]).all()
    assert high[1] == np.inf


def test_a_value_too_large_for_the_wire_counts_as_infinite() -> None:
    curve = Curve()
    curve.extend([0, 1], [1e300, 1.0], [1, 2])
    _, _, low, high, mean = packed(curve)
    assert np.isnan([low[0], mean[0]]).all()
    assert high[0] == np.inf
    assert mean[1] == 1.0


def test_an_update_after_a_million_steps_costs_what_the_first_did() -> None:
    curve = Curve()
    curve.extend(np.arange(1_000_000), np.ones(1_000_000), np.arange(1, 1_000_001))
    curve.changes()
    places = np.arange(1_000_000, 1_000_100)
    curve.extend(places, np.ones(100), places + 1)
    block = curve.changes()
    assert block is not None
    assert block.start == curve.count - 1
    assert block.count == 1


def test_an_odd_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Curve(points=7)
