"""Functions of a cell that keep the global names they read as they were at launch."""

from __future__ import annotations

import dis
import types
from typing import Any


def frozen(function: Any) -> Any:
    """``function`` with the global names it reads fixed to what they are now.

    Another cell that binds one of them again changes nothing. Functions of the same module
    that it calls are frozen with it. Anything but a plain function is given back as it is.
    Only those names are kept: a whole namespace would hold on to everything in it. A function
    that writes globals is given back as it is too: what it writes is meant for others.
    """
    if not isinstance(function, types.FunctionType) or written_by(function):
        return function
    namespace = function.__globals__
    snapshot: dict[str, Any] = {
        name: namespace[name] for name in ("__builtins__", "__name__") if name in namespace
    }
    made: dict[int, types.FunctionType] = {}

    def copy(original: types.FunctionType) -> types.FunctionType:
        if id(original) in made:
            return made[id(original)]
        clone = types.FunctionType(
            original.__code__,
            snapshot,
            original.__name__,
            original.__defaults__,
            original.__closure__,
        )
        clone.__kwdefaults__ = original.__kwdefaults__
        clone.__dict__.update(original.__dict__)
        made[id(original)] = clone
        for name in _global_names(original.__code__):
            if name in namespace:
                value = namespace[name]
                local = isinstance(value, types.FunctionType) and value.__globals__ is namespace
                snapshot[name] = copy(value) if local else value
        return clone

    return copy(function)


def written_by(function: types.FunctionType) -> set[str]:
    """The global names that ``function`` writes, or a function of its module that it calls."""
    namespace, names = function.__globals__, set[str]()
    codes, seen = [function.__code__], set[int]()
    while codes:
        code = codes.pop()
        if id(code) in seen:
            continue
        seen.add(id(code))
        names |= {str(i.argval) for i in dis.get_instructions(code) if i.opname in _WRITES}
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for name in code.co_names:
            value = namespace.get(name)
            if isinstance(value, types.FunctionType) and value.__globals__ is namespace:
                codes.append(value.__code__)
    return names


_WRITES = ("STORE_GLOBAL", "DELETE_GLOBAL")


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names
