"""``%runs``: the runs of this store, live and past, as a table."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nbtrain.errors import StoreError, UnknownName
from nbtrain.store.catalog import Record, Store
from nbtrain.store.history import History
from nbtrain.ui import progress

if TYPE_CHECKING:
    from nbtrain.runs.run import Run

MOST_ROWS: Final = 30
"""Runs that are listed, the newest."""

MOST_BYTES: Final = 4 * 2**20
"""Longest journal that is read for its best; a longer one would keep the cell waiting."""

COLUMNS: Final = ("run", "state", "epoch", "step", "best", "started")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, as HTML in a notebook and as plain text in a terminal."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __repr__(self) -> str:
        if not self.rows:
            return self.note
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*text, self.note] if self.note else text)

    def _repr_html_(self) -> str:
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        if not self.rows:
            return note
        head = _row("th", self.columns)
        body = "".join(_row("td", row) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{note}"


def _row(tag: str, cells: Iterable[str]) -> str:
    style = ' style="text-align: left"'
    return (
        "<tr>" + "".join(f"<{tag}{style}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
    )


def of_runs(name: str | None = None) -> Table:
    """The newest runs, or those called ``name``. Raises `UnknownName` if there is none."""
    registry: Any = sys.modules.get("nbtrain.runs.registry")
    runs: list[Run] = [] if registry is None else registry.everything()
    store = Store.locate()
    stored = {record.id: record for record in store.runs()}
    # The memory knows what a disk that is full or read-only does not.
    known = {run.id: run for run in runs if run.live or run.path is None or run.id in stored}
    found: list[tuple[float, str, Run | Record]] = [
        (run.history.created, run.name, run) for run in known.values()
    ]
    found += [(r.created, r.name, r) for r in stored.values() if r.id not in known]
    if name is not None:
        names = {each for _, each, _ in found}
        found = [item for item in found if item[1] == name]
        if not found:
            raise UnknownName("run", name, sorted(names), "" if names else _none(store))
    found.sort(key=lambda item: item[0], reverse=True)
    rows = [_cells(item[2]) for item in found[:MOST_ROWS]]
    if not rows:
        return Table(COLUMNS, (), _none(store))
    more = len(found) - len(rows)
    return Table(COLUMNS, rows, f"… and {more} older runs in {store.path}" if more else "")


def _none(store: Store) -> str:
    return f"There are no runs in {store.path} yet. %%train NAME at the top of a cell starts one."


def _cells(item: Run | Record) -> tuple[str, ...]:
    if isinstance(item, Record):
        history = _history(item)
        state: str = item.outcome or item.state
        step, created = item.step, item.created
    else:
        history = item.history
        state = item.state
        step, created = history.step, history.created
    epoch = best = ""
    if history is not None:
        epoch = f"{history.epoch:.3g}" + (f"/{history.epochs}" if history.epochs else "")
        best = progress.best_of(history)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(created))
    return f"{item.name}@{item.number}", state, epoch, f"{step:,}", best, when


def _history(record: Record) -> History | None:
    """What the journal tells, where it can be read in an instant."""
    try:
        size = sum(file.stat().st_size for file in record.path.glob("*.jsonl"))
        return record.history() if size <= MOST_BYTES else None
    except (OSError, StoreError):
        return None
