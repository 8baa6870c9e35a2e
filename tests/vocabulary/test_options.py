from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbtrain import options
from nbtrain.errors import InvalidValue, UnknownName, UsageError, nearest

EVERY = list(options.OPTIONS.values())
NUMBERS = [option for option in EVERY if option.kind in ("float", "int", "rates")]


def inside(option: options.Option, number: float) -> bool:
    """Whether ``number`` is in the range that ``option`` declares."""
    above = number > option.low if option.open_low else number >= option.low
    below = number < option.high if option.open_high else number <= option.high
    return above and below


@given(st.sampled_from(NUMBERS), st.floats() | st.integers(-(2**70), 2**70))
def test_a_number_is_taken_if_and_only_if_it_is_in_the_range(
    option: options.Option, number: float
) -> None:
    whole = isinstance(number, int) or number.is_integer()
    if math.isfinite(number) and inside(option, number) and (option.kind != "int" or whole):
        checked = option.check(number)
        assert checked == number
        assert type(checked) is (int if option.kind == "int" else float)
        assert option.check(str(number)) == number
    else:
        with pytest.raises(InvalidValue, match=option.name):
            option.check(number)


@given(
    st.sampled_from(EVERY),
    st.none()
    | st.booleans()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.floats() | st.text())
    | st.just(np.array([1.0, 2.0]))
    | st.just(np.array("off")),
)
def test_anything_else_is_taken_or_refused_in_words(option: options.Option, value: Any) -> None:
    try:
        checked = option.check(value)
    except UsageError as error:
        assert option.name in str(error) or option.label.lower() in str(error)  # noqa: PT017
    else:
        # What was taken once is taken again, and stays what it is.
        assert repr(option.check(checked)) == repr(checked)


@pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
def test_the_example_in_an_error_is_one_that_works(option: options.Option) -> None:
    with pytest.raises(UsageError) as caught:
        option.check([object()])
    message = str(caught.value)
    assert option.range in message
    example = message.rsplit(" ", 1)[1].rstrip(".")
    option.check(example)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lr", "a number from 0 up to 1000"),
        ("momentum", "a number from 0 to below 1"),
        ("clip_grad_norm", "a number above 0 and up to 1,000,000 or off"),
        ("batch_size", "a whole number from 1 up to 10,000,000 or full"),
        ("dropout", "a number from 0 to below 1, on or off"),
        ("early_stop", "a metric, such as val_loss or val_accuracy, or off"),
        ("precision", "fp32, bf16 or fp16"),
        ("wait", "true or false"),
    ],
)
def test_a_range_in_words(name: str, text: str) -> None:
    assert options.OPTIONS[name].range == text


def test_a_refusal_speaks_of_no_flag_since_a_panel_shows_it_too() -> None:
    with pytest.raises(InvalidValue) as refused:
        options.knob("momentum").check(1)
    text = "momentum cannot be 1: it takes a number from 0 to below 1, such as "
    assert str(refused.value).startswith(text)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize("off", ["off", "none", "None", None, False])
def test_what_can_be_off_is_off_in_every_spelling(off: Any) -> None:
    for option in EVERY:
        if option.can_be_off:
            assert option.check(off) == option.off


def test_a_seed_is_never_rounded() -> None:
    seed = options.OPTIONS["seed"]
    for value in (2**53 + 1, 2**63 - 1):
        assert seed.check(value) == seed.check(str(value)) == value
    with pytest.raises(InvalidValue):
        seed.check(2**63)
    assert options.OPTIONS["epochs"].check(np.int64(3)) == 3
    assert options.OPTIONS["epochs"].check("1e3") == 1000


def test_numbers_of_every_library_are_numbers() -> None:
    lr = options.OPTIONS["lr"]
    for value in (np.float32(0.5), np.array(0.5), np.array([0.5])[0], Fraction(1, 2)):
        assert lr.check(value) == 0.5
        assert type(lr.check(value)) is float


def test_dropout_takes_a_rate_for_each_layer() -> None:
    dropout = options.OPTIONS["dropout"]
    assert dropout.check({"1": "0.5", "4": 0}) == {"1": 0.5, "4": 0.0}
    with pytest.raises(InvalidValue, match="dropout"):
        dropout.check({"1": 1.0})
    assert options.check({"dropout.1": 0.5}) == {"dropout.1": 0.5}
    with pytest.raises(InvalidValue, match=r"dropout\.1"):
        options.check({"dropout.1": {"a": 0.5}})
    with pytest.raises(UnknownName, match="dropout"):
        options.check({"dropout.": 0.5})


@given(st.sampled_from(EVERY), st.data())
def test_a_misspelled_option_is_answered_with_the_right_one(
    option: options.Option, data: st.DataObject
) -> None:
    assume(len(option.name) > 5)
    place = data.draw(st.integers(1, len(option.name) - 1))
    word = option.name[:place] + option.name[place + 1 :]
    assume(word not in ("step", "epoch") and word not in options.OPTIONS)
    with pytest.raises(UnknownName) as caught:
        options.find(word)
    assert caught.value.nearest is not None
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("adma", "adam"), ("nonsense", None), ("acc", "accuracy"), ("lrr", "lr"), ("", None)],
)
def test_the_nearest_word_takes_the_fewest_changes(word: str, meant: str | None) -> None:
    known = ["adamax", "adamw", "adam", "loss", "val_accuracy", "accuracy", "l1", "lr"]
    assert nearest(word, known) == meant


def test_names_and_aliases_lead_to_one_option_each() -> None:
    words = [word for option in EVERY for word in (option.name, *option.aliases)]
    assert len(words) == len(set(words))
    for option in EVERY:
        for word in (option.name, *option.aliases):
            assert options.find(word) is option
            assert options.find(word.replace("_", "-")) is option


def test_what_is_fixed_when_the_run_starts_is_no_knob() -> None:
    with pytest.raises(UnknownName, match=r"seed is fixed when the run starts.*--seed"):
        options.knob("seed")
    with pytest.raises(UnknownName, match="'momentum'"):
        options.knob("momentun")
    assert options.knob("learning-rate").name == "lr"


def test_a_setting_given_under_two_names_is_refused() -> None:
    with pytest.raises(InvalidValue, match="lr is given twice"):
        options.check({"lr": 0.1, "learning_rate": 0.1})


def test_defaults_and_sliders_are_inside_their_ranges() -> None:
    for option in EVERY:
        if option.default is not None and option.kind != "choice":
            assert option.check(option.default) == option.default
    for knob in options.KNOBS:
        if knob.slider is not None:
            for end in knob.slider:
                knob.check(end)


def test_the_help_tells_every_option_its_meaning_and_its_range() -> None:
    text = options.help_text()
    for option in EVERY:
        assert option.flag[2:] in text
        assert option.doc in text
        assert option.range in text
    assert max(map(len, text.split("\n")[:6])) <= 100
