"""Whether a cell waits for its run, and how."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nbtrain.errors import show_message_only
from nbtrain.runs import presenter

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbtrain.runs.run import Run

VARIABLE = "NBTRAIN_WAIT"
"""Environment variable: 1 lets every ``%%train`` wait, and `nbtrain.train` in a notebook; 0 none
but those told to wait."""


def waits_by_itself(shell: InteractiveShell) -> bool:
    """Whether nobody watches, so that the next cell must find the run ended.

    nbclient, and with it nbconvert, papermill and jupyter-cache, execute cells without a
    keyboard: their requests do not allow ``input()``, and every front end's do. A script
    run by ``ipython`` is over at its last line.
    """
    setting = os.environ.get(VARIABLE, "")
    if setting in ("0", "1"):
        return setting == "1"
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is not None:
        content = kernel.get_parent("shell").get("content", {})
        return content.get("allow_stdin", True) is False
    return getattr(shell.parent, "interact", True) is False


def wait(run: Run) -> None:
    """Return when ``run`` has ended.

    Raises RunFailed if it failed, and KeyboardInterrupt if the wait was interrupted, which is
    shown as one message and leaves the run alive.
    """
    try:
        presenter.current().wait(run)
    except KeyboardInterrupt as interrupt:
        show_message_only(interrupt, run.still())
        raise
