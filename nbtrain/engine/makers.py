"""Optimizers and schedulers that the cell leaves as a word, or as a function that makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from nbtrain.errors import ModelError
from nbtrain.options import find

Given = Mapping[str, Any]


def words_as_options(given: Given, options: dict[str, Any]) -> tuple[Given, dict[str, Any]]:
    """Both again, with an optimizer or scheduler that the cell left as a word among the options.

    Raises `UnknownName` where there is none of that name.
    """
    for name in ("optimizer", "scheduler"):
        word = given.get(name)
        if isinstance(word, str) and options[name] is None:
            options = {**options, name: find(name).check(word)}
            given = {key: value for key, value in given.items() if key != name}
    return given, options


def check_maker(make: Callable[..., Any], name: str, of: str) -> None:
    """Raise `ModelError` where ``make``, left as ``name``, cannot be called with ``of`` alone."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # it does not tell
        return
    try:
        signature.bind(None)
    except TypeError:
        called = getattr(make, "__name__", type(make).__name__)
        more = ", ".join(
            f"{p.name}=…"
            for p in list(signature.parameters.values())[1:]
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )
        one = f"{called}({of}{', ' if more else ''}{more})"
        raise ModelError(
            f"`{name}` is {called}, which cannot be called with the {of} alone. Leave a function "
            f"that can, such as {name} = lambda {of}: {one}."
        ) from None
