"""How the magics speak to the user."""

from __future__ import annotations

import sys

from nbtrain.errors import show_message_only

__all__ = ["say", "show_message_only"]


def say(text: str) -> None:
    """Print ``text`` under the cell."""
    if text:
        sys.stdout.write(text + "\n")
