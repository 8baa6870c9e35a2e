"""Where the runs of this process are kept.

Apart from the catalog, so that loading the extension can fix the place without NumPy.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path


def home() -> Path:
    """The folder that ``NBTRAIN_HOME`` names, else ``.nbtrain`` beside the notebook, else in
    the working directory.

    Found out at the first call and fixed from then on, so that changing the directory does
    not split a session's runs.
    """
    named = os.environ.get("NBTRAIN_HOME", "")
    return Path(named).expanduser() if named else _beside_notebook() / ".nbtrain"


@functools.cache
def _beside_notebook() -> Path:
    here = Path.cwd()
    session = os.environ.get("JPY_SESSION_NAME")
    if session:
        notebook = Path(session)
        # Jupyter gives the whole path, or one from the folder its server was started in.
        if notebook.is_absolute():
            if notebook.is_file():
                return notebook.parent
        elif (here / notebook).is_file():
            return (here / notebook).parent
    return here
