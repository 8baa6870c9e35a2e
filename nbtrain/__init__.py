"""Train neural networks from a notebook: in the background, steered while they run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbtrain.errors import NbtrainError as NbtrainError
    from nbtrain.runs.run import Run as Run
    from nbtrain.runs.train import train as train

__version__ = "0.1.0"

__all__ = ["NbtrainError", "Run", "__version__", "load_ipython_extension", "train"]

_WHERE = {
    "NbtrainError": "nbtrain.errors",
    "Run": "nbtrain.runs.run",
    "train": "nbtrain.runs.train",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes most of a second to import; nothing that needs it loads before its use.
    if name in _WHERE:
        if name == "train":
            from nbtrain.ui import front

            front.present()
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext nbtrain``: add ``%%train``, ``%train`` and ``%runs`` to the notebook."""
    from nbtrain.ui import extension

    extension.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext nbtrain``: take the magics back. Live runs go on."""
    from nbtrain.ui import extension

    extension.unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "nbtrain"}]
