"""Which global names a piece of Python reads and binds, without running it."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import types
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

# Code objects of these names run where they stand, other functions when they are called.
_AT_ONCE: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


@dataclass(frozen=True, slots=True)
class Names:
    """The global names of a cell, built-in ones included.

    ``read`` are those it reads before it binds them, and those its functions read unless
    it surely binds them. ``bound`` are those it may bind, ``certain`` those it surely does.
    """

    read: frozenset[str] = frozenset()
    bound: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=1024)
def names_of(source: str) -> Names:
    """The names of the cell ``source``; none if it is no Python."""
    tree = parsed(source, "exec")
    flow = _Flow()
    if isinstance(tree, ast.Module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                flow.follow(tree.body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return Names()
    read = flow.read | (flow.read_later - flow.certain)
    return Names(frozenset(read), frozenset(flow.bound), frozenset(flow.certain))


def parsed(source: str, mode: Literal["exec", "eval"]) -> ast.AST | None:
    """The syntax tree of ``source``; None if it is no Python."""
    with warnings.catch_warnings():
        # Python warns of an odd escape when the source itself runs; once is enough.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source, mode=mode)
        # Brackets or signs by the thousand exhaust the parser.
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


class _Flow:
    """The global names that statements read and bind, found in the order they run.

    ``read`` are those read before they were bound, ``bound`` those that may be bound,
    ``certain`` those that are, ``read_later`` those that functions read when called. Loops
    count as running at least once.
    """

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.read_later: set[str] = set()
        self.bound: set[str] = set()
        self.certain: set[str] = set()

    def follow(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            match statement:
                case ast.If(test, body, otherwise):
                    self._run(ast.Expr(test))
                    self._branch([body, otherwise])
                case ast.For(target, items, body, otherwise) | ast.AsyncFor(
                    target, items, body, otherwise
                ):
                    self._run(ast.Assign([target], items))
                    self.follow([*body, *otherwise])
                case ast.While(test, body, otherwise):
                    self._run(ast.Expr(test))
                    self.follow([*body, *otherwise])
                case ast.With(items, body) | ast.AsyncWith(items, body):
                    for item in items:
                        value, name = item.context_expr, item.optional_vars
                        self._run(ast.Assign([name], value) if name else ast.Expr(value))
                    self.follow(body)
                case ast.Try() | ast.TryStar():
                    self._branch(
                        [
                            [*statement.body, *statement.orelse],
                            *(_handled(handler) for handler in statement.handlers),
                        ]
                    )
                    self.follow(statement.finalbody)
                case ast.Match():
                    before = set(self.certain)
                    self._run(statement)
                    self.certain = before
                case _:
                    self._run(statement)

    def _branch(self, ways: list[list[ast.stmt]]) -> None:
        """Follow each of ``ways``; certain after it is what all bind that go on."""
        before = self.certain
        ends = []
        for way in ways:
            self.certain = set(before)
            self.follow(way)
            if not way or not isinstance(way[-1], ast.Raise):
                ends.append(self.certain)
        self.certain = set.intersection(*ends) if ends else before

    def _run(self, statement: ast.stmt) -> None:
        module = ast.fix_missing_locations(ast.Module([statement], []))
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._scan(compile(module, "<cell>", "exec", flags, dont_inherit=True), later=None)

    def _scan(self, code: types.CodeType, later: bool | None) -> None:
        """Add the names in ``code``: None for the cell's own, whether it runs later if not.

        Python's own compiler knows best which name is local and which is global.
        """
        local: set[str] = set()
        for instruction in dis.get_instructions(code):
            operation, name = instruction.opname, instruction.argval
            if isinstance(name, types.CodeType):
                function = name.co_flags & inspect.CO_OPTIMIZED and name.co_name not in _AT_ONCE
                self._scan(name, bool(later or function))
            elif not isinstance(name, str) or (name[:2] == name[-2:] == "__"):
                continue
            elif operation in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                if later:
                    self.read_later.add(name)
                elif name not in local and name not in self.certain:
                    self.read.add(name)
            elif operation == "STORE_NAME" and later is not None:
                local.add(name)  # in a class
            elif operation in ("STORE_NAME", "STORE_GLOBAL"):
                self.bound.add(name)
                if not later:
                    self.certain.add(name)
            elif operation == "DELETE_NAME" and later is None:
                self.bound.discard(name)
                self.certain.discard(name)


def _handled(handler: ast.ExceptHandler) -> list[ast.stmt]:
    """What an ``except`` clause does, as statements."""
    does: list[ast.stmt] = [ast.Expr(handler.type)] if handler.type else []
    if handler.name is None:
        return [*does, *handler.body]
    caught = ast.Assign([ast.Name(handler.name, ast.Store())], ast.Constant(None))
    forgotten = ast.Delete([ast.Name(handler.name, ast.Del())])
    if isinstance(handler.body[-1], ast.Raise):
        return [*does, caught, *handler.body]
    return [*does, caught, *handler.body, forgotten]
