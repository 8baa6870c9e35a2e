"""Hypothesis strategies for every command and event, made from their type hints."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from array import array
from typing import Any

from hypothesis import strategies as st

from nbtrain import messages as m

INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
# The words for numbers that are not finite are numbers wherever a number may stand.
TEXT = st.text(max_size=20).filter(lambda text: text not in ("NaN", "Infinity", "-Infinity"))
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def integer_axes() -> st.SearchStrategy[Any]:
    """Counters, constant and not, and any numbers at all."""
    counters = st.builds(
        lambda start, step, count: [start + step * n for n in range(count)],
        st.integers(0, 10**9),
        st.integers(0, 4096),
        st.integers(0, 50),
    )
    return (counters | st.lists(INTEGERS, max_size=20)).map(lambda values: array("q", values))


def number_axes() -> st.SearchStrategy[Any]:
    """Single and double precision; constant for long, and not."""
    values = st.floats() | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf])
    repeated = st.lists(st.tuples(values, st.integers(1, 20)), max_size=6).map(
        lambda runs: [value for value, count in runs for _ in range(count)]
    )
    wide = repeated.map(lambda numbers: array("d", numbers))
    narrow = st.lists(st.floats(width=32), max_size=20).map(lambda numbers: array("f", numbers))
    return wide | narrow


def values_of(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Values of the type ``hint`` of the field ``name``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is array:
        return integer_axes() if name == "samples" else number_axes()
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values_of(arm, name) for arm in args))
    if origin is dict:
        values = JSON if args[1] is Any else values_of(args[1], name)
        return st.dictionaries(TEXT, values, max_size=3)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values_of(args[0], name), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(values_of(arm, name) for arm in args))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: INTEGERS,
        float: st.floats(),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[hint]


def messages_of(kind: type) -> st.SearchStrategy[Any]:
    """Any message of the type ``kind``."""
    hints = typing.get_type_hints(kind, vars(m))
    names = [field.name for field in dataclasses.fields(kind)]
    return st.builds(kind, **{name: values_of(hints[name], name) for name in names})


COMMANDS = st.one_of(*(messages_of(kind) for kind in m.COMMANDS))
EVENTS = st.one_of(*(messages_of(kind) for kind in m.EVENTS))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last bit, NaN and the sign of 0 included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, array):
        return one.typecode == other.typecode and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if dataclasses.is_dataclass(one):
        return all(
            same(getattr(one, field.name), getattr(other, field.name))
            for field in dataclasses.fields(one)
        )
    return bool(one == other)
