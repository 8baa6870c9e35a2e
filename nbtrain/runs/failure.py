"""What a user's own exception looks like to the user."""

from __future__ import annotations

import itertools
import traceback

from nbtrain.engine.frames import OURS, TORCH, users_frames
from nbtrain.errors import NbtrainError


def describe(error: BaseException) -> tuple[str, str | None]:
    """The message of ``error``, and the user's own frames as text.

    An error that we raised on purpose says everything in its message; the traceback of any
    other begins with the user's first frame.
    """
    if isinstance(error, NbtrainError):
        return str(error), None
    whole = traceback.TracebackException(type(error), error, users_frames(error))
    whole.stack = _without_ours(whole.stack)
    text = "".join(whole.format())
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    return message, text


def _without_ours(stack: traceback.StackSummary) -> traceback.StackSummary:
    """``stack`` without the detours through our code, such as of each operation that may
    draw, and without what PyTorch does on the way there."""
    kept: list[traceback.FrameSummary] = []
    for users, group in itertools.groupby(
        stack, lambda frame: not frame.filename.startswith((OURS, TORCH))
    ):
        frames = list(group)
        if users or not any(frame.filename.startswith(OURS) for frame in frames):
            kept += frames
    return traceback.StackSummary.from_list(kept) if kept else stack


def let_go(error: BaseException) -> None:
    """Free what the frames of ``error`` hold: a failed run's tensors can be gigabytes."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        pending += [one.__cause__, one.__context__]
