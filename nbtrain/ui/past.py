"""Runs of other kernels, to look at: the store knows them, and nothing here steers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from nbtrain import messages as m
from nbtrain.errors import UnknownName, UsageError
from nbtrain.states import LIVE
from nbtrain.store.catalog import Record, Store
from nbtrain.store.history import History


def find(ref: str) -> Record | None:
    """The stored run that ``ref`` means: a name, ``name@2``, or an id; else None."""
    try:
        return Store.locate().find(ref)
    except UnknownName:
        return None


def history_of(record: Record) -> History:
    """The run as its journal tells it, and as interrupted where the lease does; with a notice
    that says why it takes no commands, and where its weights are.

    Raises `StoreError` if the journal cannot be read.
    """
    history = record.history()
    if record.state == "interrupted":
        # No event says so, for a process that dies writes none.
        history.state, history.outcome = "finished", cast(Any, "interrupted")
        history.reason = "its kernel ended before it did"
    whose = (
        "another kernel, which alone can steer it" if record.state in LIVE else "an earlier kernel"
    )
    text = f"This run is of {whose}: it takes no commands here.{_weights(record, history)}"
    notice = m.Noticed(run=history.id, step=history.step, topic="past", text=text)
    history.notices = {"past": notice, **history.notices}
    return history


def _weights(record: Record, history: History) -> str:
    """Where the run's checkpoint is, in a sentence: the best one, if it is still there."""
    files = {made.why: record.path / made.file for made in history.checkpoints}
    order = ("best", "last", "asked", "interval")
    found = [files[why] for why in order if why in files and files[why].is_file()]
    if not found:
        return ""
    here = Path.cwd()
    path = found[0].relative_to(here) if found[0].is_relative_to(here) else found[0]
    return f" Its checkpoint is at {path}."


def not_here(record: Record) -> UsageError:
    """Why a command cannot reach the stored run, and what can be done."""
    ref = f"{record.name}@{record.number}"
    state = record.outcome or record.state
    if record.state in LIVE:
        where = "is another kernel's, and only that one can steer it"
    else:
        where = "is not in this kernel's memory, so it cannot go on here"
    return UsageError(
        f"{ref} ({state}, step {record.step:,}) {where}. %train show {ref} shows it; run its "
        "cell again to train anew."
    )
