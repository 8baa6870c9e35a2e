"""PyTorch's settings that a run's numbers hang on, as they were at its launch.

Most of them are the whole process's: what another cell sets acts on the next step of every
run, and nothing can keep it away from one thread. A run notices and says so. The number of
threads is the training thread's own, and is held.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch

_FLAGS = {
    "the default dtype": "get_default_dtype",
    "use_deterministic_algorithms": "are_deterministic_algorithms_enabled",
    "fill_uninitialized_memory": "utils.deterministic.fill_uninitialized_memory",
    "mkldnn": "backends.mkldnn.enabled",
    "mkldnn.deterministic": "backends.mkldnn.deterministic",
    "the float32 matmul precision": "backends.mkldnn.matmul.fp32_precision",
}
_ON_CUDA = {
    "cudnn": "backends.cudnn.enabled",
    "cudnn.benchmark": "backends.cudnn.benchmark",
    "cudnn.deterministic": "backends.cudnn.deterministic",
    "the float32 convolution precision": "backends.cudnn.conv.fp32_precision",
    "the float32 matmul precision": "backends.cuda.matmul.fp32_precision",
    "flash attention": "backends.cuda.flash_sdp_enabled",
    "memory-efficient attention": "backends.cuda.mem_efficient_sdp_enabled",
    "math attention": "backends.cuda.math_sdp_enabled",
    "cuDNN attention": "backends.cuda.cudnn_sdp_enabled",
}


class Flags:
    """The settings at a run's launch. Made on the thread that launches it."""

    def __init__(self, device: torch.device) -> None:
        flags = {**_FLAGS, **_ON_CUDA} if device.type == "cuda" else _FLAGS
        self._flags = {name: attrgetter(where) for name, where in flags.items()}
        self._launched = {name: _value(read(torch)) for name, read in self._flags.items()}
        self._threads = torch.get_num_threads()
        self._told: dict[str, str] = {}

    def hold(self) -> None:
        """Give this thread, which trains from here on, the number of threads it computes
        with at launch. Other threads keep theirs."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def changed(self, step: int) -> str | None:
        """What of all this changed since the launch, in a sentence; None where that is
        nothing new. A few µs: called once a frame."""
        found = False
        for name, read in self._flags.items():
            now = _value(read(torch))
            if now != self._launched[name] and name not in self._told:
                before = _shown(self._launched[name])
                self._told[name] = f"{name} from {before} to {_shown(now)} by step {step}"
                found = True
        if not found:
            return None
        return (
            f"Changed since the launch: {', '.join(self._told.values())}. Such a setting acts in "
            "the whole process, so it acts on this run too, which does not repeat bit for bit from "
            "there."
        )


def _value(found: Any) -> Any:
    value = found() if callable(found) else found
    return "ieee" if value == "none" else value  # two words for full precision


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).removeprefix("torch.")
