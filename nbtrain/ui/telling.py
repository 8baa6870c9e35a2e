"""How the magics speak to the user."""

from __future__ import annotations

import sys

_RED, _PLAIN = "\x1b[31m", "\x1b[39m"


def say(text: str) -> None:
    """Print ``text`` under the cell."""
    if text:
        sys.stdout.write(text + "\n")


def show_message_only(error: BaseException, message: str) -> None:
    """Have IPython show ``error`` by its name and ``message``, without a traceback."""
    lines = [f"{_RED}{type(error).__name__}{_PLAIN}: {message}"]
    # IPython asks an exception for its own traceback by this name.
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
