"""Messages to JSON and back, for files, comms and control messages.

Standard JSON only, so that JavaScript reads every line: a number that is not finite is
spelled as the string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, which ``Number(...)``
understands. A numeric axis is base64 of little-endian values, or its runs where it hardly
changes. What comes in is untrusted: types are checked, and sizes are the caller's to bound.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import itertools
import math
import operator
import sys
import types
import typing
from array import array
from collections.abc import Iterable
from typing import Any

from nbtrain import messages as m
from nbtrain.errors import NbtrainError

SCHEMA = 1
"""Version of the JSON form. It grows by adding; readers skip what they do not know."""

_TYPECODES = {"f4": "f", "f8": "d", "i8": "q"}
_CODES = {code: name for name, code in _TYPECODES.items()}
_MAX_AXIS = 1_000_000
_MAX_INT = 2**63 - 1
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class InvalidMessage(NbtrainError):
    """JSON that is no message of ours; says which field is wrong."""


class UnknownMessage(InvalidMessage):
    """A message of a kind this version does not know."""


def to_json(message: m.Ask | m.Happened) -> dict[str, Any]:
    """The JSON form of a message: its fields under their names, its type under ``kind``."""
    body: dict[str, Any] = {"kind": type(message).__name__}
    kind: type = type(message)
    for name in _fields(kind):
        value = getattr(message, name)
        if value is not None:
            body[name] = plain(value)
    return body


def command_from_json(body: Any) -> m.Command:
    """The command that ``body`` spells. Raises `InvalidMessage`."""
    return typing.cast(m.Command, _from_json(body, m.COMMANDS))


def check(command: m.Ask) -> None:
    """Raise `InvalidMessage`, naming the field, where a type is wrong. A knob's value is left
    to the knob."""
    kind: type = type(command)
    for name, hint in _fields(kind).items():
        if name != "value":
            _checked(getattr(command, name), hint, f"{kind.__name__}.{name}")


def event_from_json(body: Any) -> m.Event:
    """The event that ``body`` spells. Raises `InvalidMessage`, or `UnknownMessage` for a
    kind that a later version writes; fields that are not known are skipped."""
    return typing.cast(m.Event, _from_json(body, m.EVENTS))


def plain(value: Any) -> Any:
    """``value`` as standard JSON holds it."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, array):
        return _axis_to_json(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


# ── axes ─────────────────────────────────────────────────────────────────────────────────


def _axis_to_json(values: array[Any]) -> dict[str, Any]:
    dtype, count = _CODES[values.typecode], len(values)
    integer = dtype == "i8"
    steps: Iterable[int]
    if integer:
        # A counter is stored by its steps, which are as constant as the batch size.
        steps = itertools.chain(values[:1], map(operator.sub, values[1:], values))
    else:
        # Bits tell apart what is not the same, 0.0 and -0.0 too.
        steps = array({"f4": "i", "f8": "q"}[dtype], values.tobytes())
    limit = count // 8 + 2
    runs: list[list[float]] = []
    position = 0
    for step, group in itertools.islice(itertools.groupby(steps), limit + 1):
        length = len(list(group))
        runs.append([step if integer else values[position], length])
        position += length
    if len(runs) <= limit and all(math.isfinite(value) for value, _ in runs):
        return {"dtype": dtype, "runs": runs, **({"delta": True} if integer else {})}
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return {"dtype": dtype, "data": base64.b64encode(values.tobytes()).decode("ascii")}


def _axis_from_json(body: Any, where: str) -> array[Any]:
    dtype = body.get("dtype") if isinstance(body, dict) else None
    if not isinstance(dtype, str) or dtype not in _TYPECODES:
        raise InvalidMessage(f"{where}: not a numeric axis")
    values: array[Any] = array(_TYPECODES[dtype])
    integer = values.typecode == "q"
    try:
        if "runs" in body:
            total, counter = 0, 0
            for value, repeat in body["runs"]:
                if type(value) is not int and (integer or type(value) is not float):
                    raise InvalidMessage(f"{where}: a run's value must be a number")
                if type(repeat) is not int or repeat < 1:
                    raise InvalidMessage(f"{where}: a run's length must be a positive integer")
                total += repeat
                if total > _MAX_AXIS:
                    raise InvalidMessage(f"{where}: an axis of more than {_MAX_AXIS} values")
                if not integer or not body.get("delta"):
                    values.extend(array(values.typecode, [value]) * repeat)
                elif value == 0:
                    values.extend(array("q", [counter]) * repeat)
                else:
                    stride = int(value)
                    end = counter + stride * repeat
                    values.extend(array("q", range(counter + stride, end + stride, stride)))
                    counter = end
        else:
            values.frombytes(base64.b64decode(body["data"], validate=True))
            if sys.byteorder == "big":
                values.byteswap()
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise InvalidMessage(f"{where}: {error}") from None
    return values


# ── checking ─────────────────────────────────────────────────────────────────────────────


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, vars(m))
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


@functools.cache
def _required(kind: type) -> frozenset[str]:
    missing = dataclasses.MISSING
    return frozenset(
        item.name
        for item in dataclasses.fields(kind)
        if item.default is missing and item.default_factory is missing
    )


def _from_json(body: Any, known: tuple[type, ...]) -> Any:
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise InvalidMessage("A message is a JSON object with a kind.")
    kind = next((kind for kind in known if kind.__name__ == body["kind"]), None)
    if kind is None:
        raise UnknownMessage(f"There is no message of kind {body['kind'][:80]!r}.")
    hints = _fields(kind)
    values = {
        name: _checked(body[name], hint, f"{kind.__name__}.{name}")
        for name, hint in hints.items()
        if name in body
    }
    # None is not written, so a field that may be None may be absent.
    for name in _required(kind) - values.keys():
        if type(None) not in typing.get_args(hints[name]):
            raise InvalidMessage(f"{kind.__name__}: {name} is missing.")
        values[name] = None
    return kind(**values)


def _checked(value: Any, hint: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Literal:
        if value in args:
            return value
        raise InvalidMessage(f"{where} must be one of {', '.join(map(str, args))}.")
    if origin in (types.UnionType, typing.Union):
        for arm in args:
            try:
                return _checked(value, arm, where)
            except InvalidMessage:
                continue
        raise InvalidMessage(f"{where} has the wrong type.")
    if hint is array:
        return _axis_from_json(value, where)
    if origin is dict and isinstance(value, dict):
        return {
            str(key): _checked(item, args[1], f"{where}[{key!r}]") for key, item in value.items()
        }
    if origin is tuple and isinstance(value, list):
        hints = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(hints) == len(value):
            return tuple(_checked(item, arm, where) for item, arm in zip(value, hints, strict=True))
    if hint is float:
        if isinstance(value, str) and value in _NON_FINITE:
            return _NON_FINITE[value]
        if type(value) is float or (type(value) is int and -_MAX_INT <= value <= _MAX_INT):
            return float(value)
    elif hint is int:
        if type(value) is int and -_MAX_INT <= value <= _MAX_INT:
            return value
    elif isinstance(hint, type) and origin is None and type(value) is hint:
        return value
    raise InvalidMessage(f"{where} has the wrong type.")
