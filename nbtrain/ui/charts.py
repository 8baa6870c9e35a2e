"""The panel's figures, described with Bokeh and sent once; only their numbers change later.

A metric and its validation twin share a figure. The browser finds the models it fills by
name: ``chart:ID`` the figure, ``series:NAME`` the points of a series, ``lonely:NAME`` those
that no line joins, ``lost:NAME`` the marks at the frame's edge for values that no axis holds,
``best:ID`` the star and ``horizon:ID`` the shaded box of a figure, ``marks`` the dashed lines
of all figures.
Bokeh is imported by the first call, not by this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

COLORS = {"train": "#0072B2", "validation": "#D55E00"}
"""Okabe-Ito: told apart by the colour-blind too; validation is dashed besides."""

EDGE = "edge"
"""The vertical range of what stands at a frame's edge, whatever its axis shows."""

MOST_CHARTS = 12
HEIGHT = 200
_VALIDATION = "val_"
_RATE = "lr"


@dataclass(frozen=True, slots=True)
class Series:
    """A curve of a chart; ``name`` is its name in the history."""

    name: str
    label: str
    role: Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: a metric and, where it is measured, its validation twin."""

    id: str
    title: str
    series: tuple[Series, ...]


def arrange(
    names: Iterable[str], metrics: Iterable[str], *, rate_varies: bool
) -> tuple[Chart, ...]:
    """The charts of a run: loss, accuracy, the other metrics, the learning rate.

    Args:
        names: the series seen so far, in the order they appeared.
        metrics: the metrics announced before the first step.
        rate_varies: whether ``lr`` has changed; a constant needs no chart.
    """
    everything = dict.fromkeys((*metrics, *names))
    bases = dict.fromkeys(name.removeprefix(_VALIDATION) for name in everything if name != _RATE)
    ordered: list[str] = [base for base in ("loss", "accuracy") if base in bases]
    ordered += [base for base in bases if base not in ordered]
    charts = [
        Chart(
            id=base,
            title=_title(base),
            series=tuple(
                Series(name, role, role) for name, role in _twins(base) if name in everything
            ),
        )
        for base in ordered[: MOST_CHARTS - 1]
    ]
    if rate_varies:
        charts.append(Chart(_RATE, "Learning rate", (Series(_RATE, "learning rate", "train"),)))
    return tuple(charts)


def _twins(base: str) -> tuple[tuple[str, Literal["train", "validation"]], ...]:
    return (base, "train"), (_VALIDATION + base, "validation")


def _title(base: str) -> str:
    """A metric's name as its user wrote it; ours are words."""
    return base.capitalize() if base in ("loss", "accuracy") else base


def document(charts: Iterable[Chart]) -> dict[str, Any]:
    """The figures as the JSON of a Bokeh document: one column, the x range shared.

    Titles, legends, labels and what hovering reads are text of the page, so that a metric
    called ``<b>`` or ``$$x$$`` is shown as such; the page sets the ends of the ranges too.
    """
    from bokeh.document import Document
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, Range1d

    x = Range1d(start=0, end=1, name="x")
    marks = ColumnDataSource(data={"x": [], "label": []}, name="marks")
    root = Document()
    figures = [_figure(chart, x, marks) for chart in charts]
    root.add_root(column(figures, sizing_mode="stretch_width", name="charts"))
    body: dict[str, Any] = dict(root.to_json(deferred=False))
    return body


def _figure(chart: Chart, x: Any, marks: Any) -> Any:
    from bokeh import models
    from bokeh.models.annotations import BoxAnnotation
    from bokeh.plotting import figure

    plot = figure(
        name=f"chart:{chart.id}",
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_range=x,
        y_range=models.Range1d(start=0, end=1),
        extra_y_ranges={EDGE: models.Range1d(start=-0.03, end=1.03)},
        extra_y_scales={EDGE: models.LinearScale()},
        tools="xbox_zoom",
        toolbar_location=None,
    )
    plot.toolbar.logo = None
    plot.xgrid.visible = False
    plot.yaxis.ticker = models.BasicTicker(desired_num_ticks=4)
    horizon = BoxAnnotation(
        name=f"horizon:{chart.id}", visible=False, left=0, right=0, level="underlay"
    )
    horizon.update(fill_color="#999999", fill_alpha=0.12, line_color=None)
    plot.add_layout(horizon)
    for series in chart.series:
        _curve(plot, series)
    dashes = models.VSpan(line_dash="dashed", line_color="#767676")
    plot.renderers.append(_drawn(dashes, marks))
    star = models.Scatter(marker="star", size=14, fill_color=COLORS["validation"])
    best = models.ColumnDataSource(data={"x": [], "y": []}, name=f"best:{chart.id}")
    plot.renderers.append(_drawn(star, best))
    return plot


def _curve(plot: Any, series: Series) -> None:
    from bokeh import models

    columns: dict[str, Any] = {"x": [], "low": [], "high": [], "mean": []}
    source = models.ColumnDataSource(data=columns, name=f"series:{series.name}")
    color = COLORS[series.role]
    band = models.VArea(y1="low", y2="high", fill_color=color, fill_alpha=0.16)
    # A single step's spike is too narrow a part of the band to be seen without.
    bars = models.Segment(x0="x", y0="low", x1="x", y1="high", line_color=color, line_alpha=0.45)
    line = models.Line(y="mean", line_color=color, line_width=1.75)
    if series.role == "validation":
        line.line_dash = "dashed"
    plot.renderers.append(_drawn(band, source, level="underlay"))
    plot.renderers.append(_drawn(bars, source, level="underlay"))
    plot.renderers.append(_drawn(line, source))
    dots = models.ColumnDataSource(data={"x": [], "y": []}, name=f"lonely:{series.name}")
    plot.renderers.append(_drawn(models.Scatter(size=5, fill_color=color), dots))
    edge: dict[str, Any] = {"x": [], "y": [], "marker": []}
    lost = models.ColumnDataSource(data=edge, name=f"lost:{series.name}")
    triangles = models.Scatter(marker="marker", size=9, line_color=color)
    plot.renderers.append(_drawn(triangles, lost, y_range_name=EDGE))


def _drawn(glyph: Any, source: Any, **attributes: Any) -> Any:
    """A renderer without the looks for selected and muted data, which nothing here uses."""
    from bokeh.models.renderers import GlyphRenderer

    return GlyphRenderer(
        data_source=source, glyph=glyph, nonselection_glyph=None, muted_glyph=None, **attributes
    )
