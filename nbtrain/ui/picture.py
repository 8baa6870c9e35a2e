"""A run as a picture, a table and a line of text, for where nothing is interactive.

A saved notebook shows these without a kernel, in nbconvert, nbviewer and on GitHub. The
picture is drawn with matplotlib's Agg canvas directly: pyplot keeps figures and settings of
the whole process, which belong to the user. All but a few bytes are escaped text.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from nbtrain.store.history import History
from nbtrain.ui.charts import COLORS, Chart
from nbtrain.ui.curves import Block, Curve
from nbtrain.ui.view import label, short, unit

RUN_MIME: Final = "application/vnd.nbtrain.run.v1+json"
MOST_CHARTS: Final = 6
MOST_MARKS: Final = 40
COLOURS: Final = 48
_GRAY = "#767676"


def png(history: History, charts: Sequence[Chart], curves: Mapping[str, Curve]) -> bytes:
    """The curves with their marks as a PNG of at most about 60 KB, on white.

    ``curves`` holds the points of each series, by name. Callable on any thread.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    shown = [c for c in charts if any(s.name in curves for s in c.series)][:MOST_CHARTS]
    height = 1.75 * max(len(shown), 1)
    figure = Figure(figsize=(7.2, height), dpi=96, facecolor="white", layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    panes = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    for pane, chart in zip(panes, shown, strict=False):
        _draw(pane, chart, curves)
        _star(pane, chart, history)
    if not shown:
        panes[0].set_axis_off()
    marks = history.actions[-MOST_MARKS:]
    by_epoch = unit(history) == "epoch"
    for pane in panes[: len(shown)]:
        for action in marks:
            x = action.epoch if by_epoch else action.step
            pane.axvline(x, color=_GRAY, linestyle=(0, (3, 3)), linewidth=0.8)
    if shown:
        _labels(panes[0], [(a.epoch if by_epoch else a.step, label(a)) for a in marks])
        panes[-1].set_xlabel(unit(history), fontsize=8, color=_GRAY)
    canvas.draw()
    # Few colours are in it, so a palette shows the same in a third of the bytes.
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, format="png", optimize=True)
    return out.getvalue()


def _draw(pane: Any, chart: Chart, curves: Mapping[str, Curve]) -> None:
    for series in chart.series:
        curve = curves.get(series.name)
        if curve is None:
            continue
        points = curve.whole()
        color = COLORS[series.role]
        style = "--" if series.role == "validation" else "-"
        if curve.size > 1:
            pane.fill_between(
                points.x, points.low, points.high, color=color, alpha=0.16, linewidth=0
            )
            pane.vlines(points.x, points.low, points.high, color=color, alpha=0.45, linewidth=0.6)
        pane.plot(points.x, points.mean, style, color=color, linewidth=1.3, label=series.label)
        _lost(pane, points, color, filled=series.role == "train")
    # Dollar signs in a metric's name are no formula.
    pane.set_title(
        chart.title, loc="left", fontsize=9, color="#333333", parse_math=False, usetex=False
    )
    pane.grid(visible=True, axis="y", color="#e6e6e6", linewidth=0.8)
    pane.grid(visible=False, axis="x")
    pane.tick_params(labelsize=8, labelcolor=_GRAY, length=0)
    pane.locator_params(axis="y", nbins=4)
    pane.margins(x=0.01)
    pane.set_facecolor("white")
    for side, spine in pane.spines.items():
        spine.set(visible=side == "bottom", color="#cccccc", linewidth=0.8)
    if len(chart.series) > 1:
        pane.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False,
            borderaxespad=0.1, labelcolor=_GRAY,
        )  # fmt: skip


def _lost(pane: Any, points: Block, color: str, *, filled: bool) -> None:
    """Mark at the pane's edge where there are values that no axis holds."""
    edge = pane.get_xaxis_transform()
    looks = {"color": color, "markersize": 5, "markerfacecolor": color if filled else "white"}
    for x, y, marker in (
        (points.x[points.over], 0.97, "^"),
        (points.x[points.under & ~points.over], 0.03, "v"),
    ):
        pane.plot(x, np.full(len(x), y), marker, transform=edge, **looks)


def _star(pane: Any, chart: Chart, history: History) -> None:
    """Mark the best checkpoint on a curve that was validated there."""
    best = history.best
    if best is None:
        return
    x = best.epoch if unit(history) == "epoch" else best.step
    for series in chart.series:
        value = best.metrics.get(series.name, math.nan)
        if math.isfinite(value):
            pane.plot([x], [value], "*", color=COLORS["validation"], markersize=10, mec="white")


def _labels(pane: Any, marks: Sequence[tuple[float, str]]) -> None:
    """Write the marks' labels, the latest first, leaving out what would lie on another."""
    begin, end = pane.get_xlim()
    width = (end - begin) or 1.0
    free = math.inf
    for x, text in reversed(marks):
        # A character is about 5 of the 620 pixels of the frame.
        room = (len(text) * 5 + 8) / 620 * width
        left = x if x + room <= end else x - room
        if left + room > free or left < begin:
            continue
        free = left
        pane.annotate(
            text, (left, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
            textcoords="offset points", va="top", fontsize=7, color=_GRAY,
            parse_math=False, usetex=False,
        )  # fmt: skip


def bundle(history: History, model_id: str, picture: bytes | None) -> dict[str, Any]:
    """The MIME bundle that stands for a run in a notebook.

    Args:
        history: the run.
        model_id: the id of the live panel's widget.
        picture: a PNG, or None where none is drawn yet.
    """
    # A table and a picture in one, because what shows HTML shows no second form beside it.
    data: dict[str, Any] = {
        RUN_MIME: {
            "version": 1,
            "run": history.id,
            "name": history.name,
            "state": history.outcome or history.state,
        },
        "application/vnd.jupyter.widget-view+json": {
            "version_major": 2,
            "version_minor": 0,
            "model_id": model_id,
        },
        "text/html": table(history, picture),
        "text/plain": text(history),
    }
    if picture is not None:
        data["image/png"] = base64.b64encode(picture).decode("ascii")
    return data


def text(history: History) -> str:
    """The run in a line."""
    parts = [f"{history.name}: {history.outcome or history.state or 'not begun'}"]
    if history.step:
        parts.append(f"step {history.step:,}")
    parts += [f"{name} {short(value)}" for name, value in _metrics(history)]
    return ", ".join(parts)


def table(history: History, picture: bytes | None = None) -> str:
    """The run as HTML: its picture, state, metrics and the settings that were given."""
    rows = [("state", _state(history))]
    if history.step:
        rows.append(("trained", _trained(history)))
    best = history.best
    heading = f"best, at step {best.step:,}" if best else "latest"
    if metrics := _metrics(history):
        rows.append((heading, ", ".join(f"{name} {short(value)}" for name, value in metrics)))
    if history.spec is not None and history.spec.given:
        given = ((name, history.spec.options.get(name)) for name in history.spec.given)
        rows.append(("settings", ", ".join(f"{name} {_cut(short(v))}" for name, v in given)))
    if history.actions:
        done = [f"{label(a)} (step {a.step:,})" for a in history.actions[-MOST_MARKS:]]
        rows.append(("actions", ", ".join(done)))
    body = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{html.escape(head)}</th>'
        f'<td style="text-align:left">{html.escape(_cut(cell, 4000))}</td></tr>'
        for head, cell in rows
    )
    image = ""
    if picture is not None:
        source = base64.b64encode(picture).decode("ascii")
        name = html.escape(history.name, quote=True)
        image = f'<img alt="Curves of the run {name}" src="data:image/png;base64,{source}">'
    caption = f"<caption><b>{html.escape(history.name)}</b></caption>"
    return f"<div>{image}<table>{caption}<tbody>{body}</tbody></table></div>"


def _state(history: History) -> str:
    shown = str(history.outcome or history.state or "not begun")
    if history.state is not None and history.state != "finished":
        # The file may be opened long after the run went on.
        shown += f", as saved at {datetime.now(UTC):%H:%M (UTC, %Y-%m-%d)}"
    said = history.error or history.reason
    return f"{shown}: {said}" if said else shown


def _trained(history: History) -> str:
    parts = [f"{history.step:,} steps"]
    if unit(history) == "epoch":
        parts.append(f"{history.epoch:.4g} epochs")
    parts.append(f"{history.seconds:.1f} s")
    if history.device_name or history.device:
        parts.append(history.device_name or history.device)
    return ", ".join(parts)


def _metrics(history: History) -> list[tuple[str, float]]:
    """The best validation's metrics, else the latest value of each metric."""
    if history.best is not None and history.best.metrics:
        return list(history.best.metrics.items())
    values = ((name, history[name]) for name in history.metrics if name in history)
    return [(name, float(series[-1])) for name, series in values if len(series)]


def _cut(shown: str, most: int = 200) -> str:
    return shown if len(shown) <= most else shown[: most - 1] + "…"
