from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import messages as m
from nbtrain import wire
from tests.vocabulary.strategies import COMMANDS, EVENTS, JSON, same


def through_text(body: Any) -> Any:
    """What a reader of standard JSON gets; fails on what JavaScript would refuse."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not standard JSON")

    return json.loads(json.dumps(body, allow_nan=False), parse_constant=refuse)


@given(COMMANDS)
def test_every_command_survives_json(command: m.Command) -> None:
    assert same(wire.command_from_json(through_text(wire.to_json(command))), command)


@given(EVENTS)
def test_every_event_survives_json(event: m.Event) -> None:
    assert same(wire.event_from_json(through_text(wire.to_json(event))), event)


@given(EVENTS, st.data())
def test_what_a_later_version_adds_is_skipped(event: m.Event, data: st.DataObject) -> None:
    body = wire.to_json(event)
    added = data.draw(st.dictionaries(st.text().map("later_{}".format), JSON, max_size=2))
    assert same(wire.event_from_json(through_text({**added, **body})), event)


@given(st.one_of(COMMANDS, EVENTS), st.data())
def test_a_damaged_message_is_refused_or_read_never_anything_else(
    message: m.Command | m.Event, data: st.DataObject
) -> None:
    body = wire.to_json(message)
    field = data.draw(st.sampled_from(sorted(body)))
    junk = st.sampled_from([10**400, -(2**70), 1e308, [], {}, [[]], {"dtype": []}, "NaN", True])
    runs = st.fixed_dictionaries({"dtype": st.sampled_from(["i8", "f4", "f8"]), "runs": JSON})
    body[field] = data.draw(JSON | junk | runs)
    if data.draw(st.booleans()):
        del body[data.draw(st.sampled_from(sorted(body)))]
    for reader in (wire.command_from_json, wire.event_from_json):
        with contextlib.suppress(wire.InvalidMessage):
            reader(body)


def test_a_message_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(wire.UnknownMessage, match="Rewound"):
        wire.event_from_json({"kind": "Rewound", "run": "a"})


def test_no_field_has_the_name_of_what_a_line_adds() -> None:
    for kind in (*m.COMMANDS, *m.EVENTS):
        assert not {"kind", "v", "crc"} & {field.name for field in dataclasses.fields(kind)}


def test_a_command_is_no_event() -> None:
    with pytest.raises(wire.UnknownMessage):
        wire.event_from_json(wire.to_json(m.Pause()))


def test_a_missing_or_wrong_field_is_named() -> None:
    with pytest.raises(wire.InvalidMessage, match="knob"):
        wire.command_from_json({"kind": "Set", "value": 1.0})
    with pytest.raises(wire.InvalidMessage, match=r"OneStep\.count"):
        wire.command_from_json({"kind": "OneStep", "count": "three"})
    with pytest.raises(wire.InvalidMessage, match="best, last"):
        wire.command_from_json({"kind": "Stop", "restore": "worst"})


def test_numbers_that_are_not_finite_are_spelled_as_javascript_reads_them() -> None:
    event = m.Validated(
        run="a",
        metrics={"a": math.nan, "b": math.inf, "c": -math.inf},
        samples=1,
        epoch=0,
        best=False,
    )
    assert wire.to_json(event)["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_a_counter_and_a_constant_cost_a_few_bytes() -> None:
    samples = wire.plain(array("q", range(64, 64 * 10_000, 64)))
    rate = wire.plain(array("d", [0.001]) * 10_000)
    assert len(json.dumps([samples, rate])) < 200


def test_the_sign_of_zero_survives() -> None:
    axis = wire.plain(array("d", [0.0] * 50 + [-0.0] * 50))
    event = wire.event_from_json(
        {
            **wire.to_json(
                m.Stepped(
                    run="a",
                    step=1,
                    count=100,
                    samples=array("q", [1]),
                    series={},
                    updates=1,
                    epoch=0,
                    seconds=(0.0, 1.0),
                    total_steps=None,
                    gauges={},
                )
            ),
            "series": {"loss": axis},
        }
    )
    assert isinstance(event, m.Stepped)
    assert [math.copysign(1, value) for value in event.series["loss"]] == [1.0] * 50 + [-1.0] * 50


@pytest.mark.parametrize(
    "axis",
    [
        {"dtype": "i8", "runs": [[1, 10**12]]},
        {"dtype": "f8", "runs": [[1.0, 900_000], [2.0, 900_000]]},
        {"dtype": "i8", "runs": [[2**62, 5]], "delta": True},
        {"dtype": "i8", "runs": [[1.5, 1]]},
        {"dtype": "f8", "runs": [["NaN", 1]]},
        {"dtype": "f8", "runs": [[1.0, 0]]},
        {"dtype": "f8", "data": "AAAA"},
        {"dtype": "f8", "data": "!"},
        {"dtype": "f8"},
        {"dtype": "c16", "data": ""},
        [1.0],
    ],
)
def test_a_hostile_axis_is_refused(axis: Any) -> None:
    body = {
        "kind": "Stepped",
        "run": "a",
        "count": 1,
        "samples": axis,
        "series": {},
        "updates": 0,
        "epoch": 0,
        "seconds": [0.0, 1.0],
        "gauges": {},
    }
    with pytest.raises(wire.InvalidMessage, match="samples"):
        wire.event_from_json(body)
