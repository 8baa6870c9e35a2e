"""The saved notebook's picture, table and line of text."""

from __future__ import annotations

import io
import math
import re
import struct
import subprocess
import sys

import matplotlib
import numpy as np
from PIL import Image

from nbtrain.store.history import History
from nbtrain.ui.feed import Feed
from nbtrain.ui.picture import bundle, png, table, text
from tests.ui.runs import applied, finish, started, step, validate

EVIL = "<img src=x onerror=alert(1)>"


def drawn(history: History) -> bytes:
    feed = Feed(history)
    feed.read()
    return png(history, feed.charts, feed.curves)


def trained(steps: int = 10) -> History:
    history = started(metrics={"loss": "min", EVIL: "min", "$\\frac$": "min", "val_loss": "min"})
    noise = np.random.default_rng(0)
    for epoch in range(30):
        loss = (2 / (epoch + 1) + noise.normal(0, 0.1, steps)).tolist()
        step(history, steps, loss=loss, **{EVIL: loss, "$\\frac$": loss, "mae": loss, "r2": loss})
        validate(history, 1 / (epoch + 1))
        if epoch % 3 == 0:
            applied(history, old=1e-3, new=10.0**-epoch)
    return history


def test_the_picture_is_a_png_of_bounded_size() -> None:
    picture = drawn(trained(steps=1000))
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert 600 <= width <= 1600
    assert height <= 1600
    assert len(picture) < 80_000


def test_one_run_adds_at_most_200_kilobytes_to_a_notebook() -> None:
    history = trained(steps=1000)
    data = bundle(history, "id", drawn(history))
    assert sum(len(str(value)) for value in data.values()) < 200_000


def test_the_users_own_plots_are_left_alone() -> None:
    before = matplotlib.rcParams.copy()
    drawn(trained())
    assert matplotlib.rcParams.copy() == before
    code = (
        "import sys; from nbtrain.store.history import History; from nbtrain.ui.picture import png;"
        "png(History(), (), {}); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_run_without_values_has_a_picture_too() -> None:
    assert drawn(started()).startswith(b"\x89PNG")


def test_values_that_are_not_finite_do_not_stop_the_picture() -> None:
    history = started()
    step(history, loss=[float("nan")] * 5 + [float("inf")] * 5)
    assert drawn(history).startswith(b"\x89PNG")


def test_losses_that_no_axis_holds_are_marked() -> None:
    def orange(losses: list[float]) -> int:
        history = started(metrics={"loss": "min", "val_loss": "min"})
        for loss in losses:
            step(history)
            validate(history, loss)
        pixels = np.asarray(Image.open(io.BytesIO(drawn(history))).convert("RGB"), dtype=int)
        return int((np.abs(pixels - (0xD5, 0x5E, 0x00)).max(axis=2) < 30).sum())

    assert orange([math.inf, math.nan, -math.inf] * 5) > orange([math.inf]) + 100


def test_names_and_errors_are_text_in_the_table() -> None:
    history = started(EVIL, metrics={EVIL: "min"}, given=("lr",))
    step(history, **{EVIL: [1.0] * 10})
    finish(history, "failed", reason="", error=f"ValueError: {EVIL}")
    shown = table(history, b"picture")
    assert "<img src=x" not in shown
    assert shown.count("<img") == 1
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_the_table_holds_state_metrics_settings_and_actions() -> None:
    history = started()
    step(history)
    validate(history, 0.25)
    applied(history, knob="dropout", old=0.2, new=0.0)
    finish(history)
    shown = table(history)
    for part in ("completed", "val_loss 0.25", "at step 10", "lr 3.0e-3", "dropout off (step 10)"):
        assert part in shown


def test_the_table_of_a_run_that_goes_on_says_when_it_was_saved() -> None:
    history = started()
    step(history)
    assert re.search(r"running, as saved at \d\d:\d\d \(UTC, \d{4}-\d\d-\d\d\)", table(history))
    finish(history)
    assert "as saved at" not in table(history)


def test_the_line_of_text_says_the_most_important() -> None:
    history = started()
    assert text(history) == "digits: running"
    step(history)
    assert text(history).startswith("digits: running, step 10, loss 0.2, accuracy 0.9")
