"""Who shows a run that ``nbtrain.train`` starts, where nobody has said so."""

from __future__ import annotations

import sys
from typing import Any

from nbtrain.runs import presenter


def present() -> None:
    """Have runs shown as fits the place: a panel in a notebook, a bar in a script.

    Without effect where a presenter is registered already.
    """
    if not isinstance(presenter.current(), presenter.Silent):
        return
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None:
        from nbtrain.ui import extension

        extension.load(shell)
    else:
        from nbtrain.ui import progress

        presenter.register(progress.Bar())
