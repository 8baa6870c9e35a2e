"""Whose code an exception went through: the user's, ours or PyTorch's."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import torch

OURS = str(Path(__file__).resolve().parent.parent)
TORCH = str(Path(torch.__file__).resolve().parent)


def users_frames(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor PyTorch's; where there is
    none, from the first that is not ours."""
    for others in ((OURS, TORCH), (OURS,)):
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename.startswith(others):
            frame = frame.tb_next
        if frame is not None:
            return frame
    return error.__traceback__


def is_users(error: BaseException) -> bool:
    """Whether ``error`` went through code that is neither ours nor PyTorch's."""
    return any(not _starts(frame, OURS, TORCH) for frame in _frames(error))


def users_alone(error: BaseException) -> TracebackType | None:
    """The traceback of the user's frames, and of what they called last; None without any."""
    frames = [frame for frame in _frames(error) if not _starts(frame, OURS)]
    users = [place for place, frame in enumerate(frames) if not _starts(frame, TORCH)]
    if not users:
        return None
    kept = [
        frame
        for place, frame in enumerate(frames)
        if place > users[-1] or not _starts(frame, TORCH)
    ]
    chain: TracebackType | None = None
    for frame in reversed(kept):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return chain


def _frames(error: BaseException) -> list[TracebackType]:
    found, frame = [], error.__traceback__
    while frame is not None:
        found.append(frame)
        frame = frame.tb_next
    return found


def _starts(frame: TracebackType, *folders: str) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(folders)
