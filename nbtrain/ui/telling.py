"""How the magics speak to the user: plain lines, and errors without our frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nbtrain.errors import NbtrainError

_RED, _PLAIN = "\x1b[31m", "\x1b[39m"


def say(text: str) -> None:
    """Print ``text`` under the cell."""
    if text:
        sys.stdout.write(text + "\n")


@contextmanager
def clearly() -> Iterator[None]:
    """Have IPython show our own errors as their message alone.

    The cell still counts as failed, so that *Run All* and nbclient stop there.
    """
    try:
        yield
    except NbtrainError as error:
        show_message_only(error, str(error))
        raise


def show_message_only(error: BaseException, message: str) -> None:
    """Have IPython show ``error`` by its name and ``message``, without a traceback."""
    lines = [f"{_RED}{type(error).__name__}{_PLAIN}: {message}"]
    # IPython asks an exception for its own traceback by this name.
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
