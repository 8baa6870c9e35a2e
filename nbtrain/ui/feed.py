"""From a history to the panel's messages: a snapshot, then frames of what changed.

It knows nothing of widgets, so tests and benchmarks read the messages as a browser would.
Called on one thread, while another writes the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from nbtrain import messages as m
from nbtrain.store.history import History
from nbtrain.ui import charts
from nbtrain.ui.curves import Curve
from nbtrain.ui.view import View, unit

MOST_LINES = 500
"""Lines of the log in a snapshot; a frame holds a fifth of it at most."""
MOST_REFUSED = 50

Message: TypeAlias = tuple[dict[str, Any], list[bytes]]
"""A message's content without its ``seq``, and its buffers."""


class Feed:
    """The messages of one panel."""

    def __init__(self, history: History, *, live: bool = True) -> None:
        self.history = history
        self.view = View(history, live)
        self._curves: dict[str, Curve] = {}
        self._branch = history.branch
        self._sent_at: tuple[Any, ...] | None = None
        self._figure: dict[str, Any] | None = None
        self._figure_charts: tuple[charts.Chart, ...] | None = None
        self._log_sent: tuple[int, Any] = (0, None)
        self._scheduled, self._rates_seen = False, 0

    @property
    def charts(self) -> tuple[charts.Chart, ...]:
        """The charts as of the last reading."""
        return self.view.charts

    @property
    def curves(self) -> Mapping[str, Curve]:
        """The curves as of the last reading."""
        return self._curves

    def refuse(self, answer: m.Rejected) -> None:
        """Show ``answer``, to a command that never reached the run, among the answers."""
        others = tuple(old for old in self.view.refused if old.command != answer.command)
        self.view.refused = (*others, answer)[-MOST_REFUSED:]

    def snapshot(self) -> Message:
        """Everything."""
        self._sent_at = self._moment()
        self.read()
        # Built once for one set of charts: describing a figure costs some 30 ms.
        if self._figure is None or self._figure_charts != self.charts:
            self._figure, self._figure_charts = charts.document(self.charts), self.charts
        blocks = {name: self._curves[name].whole() for name in self._drawn()}
        for curve in self._curves.values():
            curve.changes()
        content = {
            "kind": "snapshot",
            "figure": self._figure,
            "view": self.view.whole(),
            "curves": [
                {"name": name, "start": 0, "count": block.count} for name, block in blocks.items()
            ],
            "log": self._log(whole=True),
        }
        return content, [block.pack() for block in blocks.values()]

    def frame(self) -> Message | None:
        """What changed since the last message; None if nothing did.

        Where there are other charts than before it is a snapshot.
        """
        # Taken before reading: what happens meanwhile is read again next time.
        moment = self._moment()
        if moment == self._sent_at:
            return None
        self._sent_at = moment
        self.read()
        if self._figure_charts != self.charts:
            return self.snapshot()
        blocks = {}
        for name in self._drawn():
            block = self._curves[name].changes()
            if block is not None:
                blocks[name] = block
        content = {
            "kind": "frame",
            "view": self.view.changes(),
            "curves": [
                {"name": name, "start": block.start, "count": block.count}
                for name, block in blocks.items()
            ],
            "log": self._log(whole=False),
        }
        return content, [block.pack() for block in blocks.values()]

    def read(self) -> None:
        """Take in what is new in the history."""
        h = self.history
        if h.branch != self._branch:
            self._branch, self._curves = h.branch, {}
            self._scheduled, self._rates_seen = False, 0
        self._extend("lr")
        self._scheduled = self._scheduled or self._rate_moved_by_itself()
        self.view.charts = charts.arrange(h.names, h.metrics, rate_varies=self._scheduled)
        for chart in self.view.charts:
            for series in chart.series:
                self._extend(series.name)

    def _moment(self) -> tuple[Any, ...]:
        return (self.history.version, self.view.live, self.view.refused)

    def _extend(self, name: str) -> None:
        if name not in self.history:
            return
        # A loss is measured each time; of other metrics a step may leave some out.
        gaps = name.removeprefix("val_") != "loss"
        curve = self._curves.setdefault(name, Curve(gaps=gaps))
        values, steps = self.history[name], self.history.steps(name)
        # The writer may have added to the second meanwhile.
        count = min(len(values), len(steps))
        steps = steps[curve.seen : count]
        x = self.history.epochs_of(steps) if unit(self.history) == "epoch" else steps
        curve.extend(x, values[curve.seen : count], steps)

    def _rate_moved_by_itself(self) -> bool:
        """Whether the learning rate changed where nobody set it.

        What was set is marked on every curve; a chart of its own would come up under the
        hand that drags.
        """
        if "lr" not in self.history:
            return False
        rates, steps = self.history["lr"], self.history.steps("lr")
        count, before = min(len(rates), len(steps)), max(self._rates_seen - 1, 0)
        self._rates_seen = count
        moved = steps[before + 1 : count][np.diff(rates[before:count]) != 0]
        set_at = [(a.since, a.step + 1) for a in self.history.actions if a.knob == "lr"]
        return any(not any(first < step <= last for first, last in set_at) for step in moved)

    def _drawn(self) -> list[str]:
        names = [series.name for chart in self.charts for series in chart.series]
        return [name for name in names if name in self._curves]

    def _log(self, *, whole: bool) -> dict[str, Any] | None:
        """The log's new lines, or its last ones; None if nothing is new."""
        log = self.history.log
        # The line sent last is sent again, because a progress bar may have replaced it.
        begin = 0 if whole else max(self._log_sent[0] - 1, 0)
        total, lines = log.total, log.after(begin)
        while log.total != total:
            total, lines = log.total, log.after(begin)
        sent = (total, lines[-1] if lines else None)
        if not whole and sent == self._log_sent:
            return None
        self._log_sent = sent
        lines = lines[-MOST_LINES if whole else -MOST_LINES // 5 :]
        return {
            "first": total - len(lines),
            "lines": [{"stream": line.stream, "text": _sendable(line.text)} for line in lines],
            "total": total,
        }


def _sendable(text: str) -> str:
    """``text`` as UTF-8 can hold it: lone surrogates, as in undecodable file names, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
