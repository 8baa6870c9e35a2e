"""Run the body of a cell magic as an ordinary cell would run.

Same namespace, same display of the last expression, same ``await``, magics and ``!`` lines,
same traceback with the line numbers of the cell as it stands on the page.
"""

from __future__ import annotations

import ast
import asyncio
import contextvars
import inspect
import linecache
import sys
import threading
from collections.abc import Coroutine, Iterator
from types import CodeType, TracebackType
from typing import Any, Literal, TypeAlias

Shell: TypeAlias = Any
"""An IPython `InteractiveShell`, most of whose methods carry no types."""

Mode: TypeAlias = Literal["exec", "single"]


def run(shell: Shell, magic: str, body: str) -> None:
    """Run ``body`` in the user's namespace.

    Args:
        magic: the line above it, such as ``%%train digits``.

    Raises whatever the body raises, prepared so that IPython shows it once, with the
    user's own frames alone.
    """
    file: str | None = None
    try:
        source = _at_its_lines(shell, body)
        # With the raw cell the kernel gives its own name for the cell, so that breakpoints
        # set in the browser hold here too.
        file = shell.compile.cache(
            source, shell.displayhook.prompt_count, raw_code=f"{magic}\n{body}"
        )
        tree = shell.transform_ast(shell.compile.ast_parse(source, filename=file))
        for node, mode in _modes(shell, tree.body, body):
            _execute(shell, _compiled(shell, node, file, mode))
    except BaseException as error:
        show_as_cell(shell, error, file)
        raise


def evaluate(shell: Shell, expression: str) -> Any:
    """The value of ``expression`` in the user's namespace.

    Raises whatever the expression raises, with a note that names the expression.
    """
    file = f"{{{expression}}}"
    linecache.cache[file] = (len(expression), None, [expression + "\n"], file)
    try:
        # A line break in braces is no new statement.
        code = compile(f"({expression}\n)", file, "eval")
        return eval(code, shell.user_global_ns, shell.user_ns)
    except BaseException as error:
        error.add_note(f"This is the expression {{{expression}}} of the magic line.")
        show_as_cell(shell, error, file)
        raise


def show_as_cell(shell: Shell, error: BaseException, file: str | None) -> None:
    """Let IPython show ``error`` as an ordinary cell's, when it gets there.

    The frames before the first one in ``file`` are IPython's and ours. They are added
    while the error travels outwards, so they can be dropped only when it is shown.
    """
    kept = error.__traceback__
    while kept is not None and kept.tb_frame.f_code.co_filename != file:
        kept = kept.tb_next
    if kept is None and not isinstance(error, SyntaxError):
        # Nothing of the user's was running; a cell that does not parse needs no traceback.
        kept = error.__traceback__
    show_frames(shell, error, kept)


def show_frames(shell: Shell, error: BaseException, kept: TracebackType | None) -> None:
    """Let IPython show ``error`` with the frames ``kept`` alone, when it gets there."""
    shell.__dict__.pop("showtraceback", None)  # of an error that was caught on its way
    original = shell.showtraceback

    def showtraceback(*args: Any, **kwargs: Any) -> None:
        shell.__dict__.pop("showtraceback", None)
        if sys.exc_info()[1] is not error:
            original(*args, **kwargs)
            return
        error.__traceback__ = kept
        # In an ordinary cell IPython leaves out the first frame, its own.
        kwargs.update(running_compiled_code=kept is not None, tb_offset=0)
        original((type(error), error, kept), **kwargs)

    shell.__dict__["showtraceback"] = showtraceback


# ── compiling ────────────────────────────────────────────────────────────────────────────


def _at_its_lines(shell: Shell, body: str) -> str:
    """The body as Python, each line where it stands in the cell, below the magic."""
    lines = body.splitlines()
    blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    code: str = shell.transform_cell("\n".join(lines[blank:]) + "\n")
    return "\n" * (1 + blank) + code


def _modes(shell: Shell, nodes: list[ast.stmt], body: str) -> Iterator[tuple[ast.stmt, Mode]]:
    """Each statement, with whether its value is displayed."""
    shown = shell.ast_node_interactivity
    if shown == "last_expr_or_assign" and nodes and isinstance(nodes[-1], ast.Assign):
        target = nodes[-1].targets[0]
        if len(nodes[-1].targets) == 1 and isinstance(target, ast.Name):
            value = ast.Expr(ast.Name(target.id, ast.Load()))
            nodes = [*nodes, ast.fix_missing_locations(ast.copy_location(value, nodes[-1]))]
    # The display hook looks for a closing semicolon in the whole cell, not in its body.
    quiet = shell.displayhook.semicolon_at_end_of_expression(body)
    for i, node in enumerate(nodes):
        last = i == len(nodes) - 1 and not quiet
        single = shown == "all" or (
            last
            and (
                shown == "last"
                or (shown in ("last_expr", "last_expr_or_assign") and isinstance(node, ast.Expr))
            )
        )
        yield node, "single" if single else "exec"


def _compiled(shell: Shell, node: ast.stmt, file: str, mode: Mode) -> CodeType:
    tree = ast.Module([node], []) if mode == "exec" else ast.Interactive([node])
    with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if shell.autoawait else 0):
        code: CodeType = shell.compile(tree, file, mode)
    return code


# ── executing ────────────────────────────────────────────────────────────────────────────


def _execute(shell: Shell, code: CodeType) -> None:
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, shell.user_global_ns, shell.user_ns)
        return
    coroutine = eval(code, shell.user_global_ns, shell.user_ns)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        shell.loop_runner(coroutine)
    else:
        # In a kernel a magic is called from inside the running loop, which cannot be
        # entered again; the statement gets a loop of its own.
        _await_beside(coroutine)


def _await_beside(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run ``coroutine`` to its end on another thread. An interrupt cancels it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    ended = threading.Event()

    def target() -> None:
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(asyncio.wait([task]))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            ended.set()

    # With the context go the cell's output and whatever else the cell has set.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name="nbtrain-await")
    thread.start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    finally:
        thread.join()
    task.result()
