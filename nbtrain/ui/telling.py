"""How the magics speak to the user."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print ``text`` under the cell."""
    if text:
        sys.stdout.write(text + "\n")
