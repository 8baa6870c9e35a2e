"""Curves stay bounded, true to the data, and cheap however long the run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrain.ui.curves import Block, Curve


class Browser:
    """What the front end keeps: drop from ``start`` on, append."""

    def __init__(self) -> None:
        self.rows = np.empty((4, 0), dtype=np.float32)

    def take(self, block: Block | None) -> None:
        if block is None:
            return
        fresh = np.frombuffer(block.pack(), dtype="<f4").reshape(4, block.count)
        assert block.start <= self.rows.shape[1]
        self.rows = np.concatenate((self.rows[:, : block.start], fresh), axis=1)


def test_a_short_curve_is_shown_value_by_value() -> None:
    curve, browser = Curve(), Browser()
    curve.extend([0.5, 1.0, 1.5], [3.0, 2.0, 1.0])
    browser.take(curve.changes())
    assert browser.rows[0].tolist() == [0.5, 1.0, 1.5]
    assert browser.rows[1:].tolist() == [[3.0, 2.0, 1.0]] * 3
    assert curve.changes() is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 70), max_size=12), st.sampled_from([2, 8, 10]))
def test_frames_leave_the_browser_with_what_a_snapshot_shows(sizes: list[int], points: int) -> None:
    curve, browser, values = Curve(points), Browser(), np.random.default_rng(0)
    everything: list[float] = []
    for size in sizes:
        fresh = values.normal(size=size)
        curve.extend(np.arange(len(everything), len(everything) + size), fresh)
        everything.extend(fresh)
        browser.take(curve.changes())
        assert curve.count <= points
        snapshot = np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(4, -1)
        np.testing.assert_array_equal(browser.rows, snapshot)
    for bucket in range(curve.count):
        held = np.array(everything[bucket * curve.size : (bucket + 1) * curve.size])
        assert browser.rows[1, bucket] == np.float32(held.min())
        assert browser.rows[2, bucket] == np.float32(held.max())
        assert browser.rows[3, bucket] == pytest.approx(held.mean(), abs=1e-5)


def test_one_big_piece_equals_many_small_ones() -> None:
    y = np.random.default_rng(1).normal(size=12_345)
    x = np.arange(len(y)) / 100
    at_once, piecemeal = Curve(), Curve()
    at_once.extend(x, y)
    for start in range(0, len(y), 777):
        piecemeal.extend(x[start : start + 777], y[start : start + 777])
    assert at_once.count == piecemeal.count == 772
    for name in ("x", "low", "high", "mean"):
        np.testing.assert_allclose(
            getattr(at_once.whole(), name), getattr(piecemeal.whole(), name), rtol=1e-12
        )


def test_values_that_are_not_finite_are_gaps_and_hide_no_neighbours() -> None:
    curve = Curve(points=2)
    curve.extend([0, 1], [np.nan, np.inf])
    rows = np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(4, 2)
    assert np.isnan(rows[1:]).all()
    assert rows[0].tolist() == [0, 1]
    curve.extend([2, 3], [5.0, np.nan])
    rows = np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(4, 2)
    assert np.isnan(rows[1:, 0]).all()
    assert rows[1:, 1].tolist() == [5.0, 5.0, 5.0]


def test_a_value_too_large_for_the_wire_is_a_gap() -> None:
    curve = Curve()
    curve.extend([0, 1], [1e300, 1.0])
    rows = np.frombuffer(curve.whole().pack(), dtype="<f4").reshape(4, 2)
    assert np.isnan(rows[1:, 0]).all()
    assert rows[3, 1] == 1.0


def test_an_update_after_a_million_steps_costs_what_the_first_did() -> None:
    curve = Curve()
    curve.extend(np.arange(1_000_000), np.ones(1_000_000))
    curve.changes()
    curve.extend(np.arange(1_000_000, 1_000_100), np.ones(100))
    block = curve.changes()
    assert block is not None
    assert block.start == curve.count - 1
    assert block.count == 1


def test_an_odd_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Curve(points=7)
