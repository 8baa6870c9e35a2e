"""Rows of figures: printed as a table, written as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for: a quick form, a number of rounds, some rows only, no browser."""

    quick: bool = False
    rounds: int | None = None
    only: frozenset[str] = frozenset()
    kernel_only: bool = False

    def wants(self, *names: str) -> bool:
        """Whether a row that goes by any of these names was asked for."""
        return not self.only or not self.only.isdisjoint(names)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``value`` is the median of ``samples``."""

    name: str
    unit: str
    samples: tuple[float, ...]
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest sample."""
        return min(self.samples), max(self.samples)


def row(name: str, unit: str, samples: Sequence[float], note: str = "") -> Row:
    """A row of at least one sample."""
    return Row(name, unit, tuple(samples), note)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, each with its spread."""
    width = max((len(r.name) for r in rows), default=0)
    lines = []
    for r in rows:
        low, high = r.spread
        spread = f"{_figure(low)} – {_figure(high)}" if len(r.samples) > 1 else ""
        lines.append(f"{r.name:<{width}}  {_figure(r.value):>9} {r.unit:<8} {spread:<20} {r.note}")
    return "\n".join(line.rstrip() for line in lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write a list of ``{"name", "value", "unit"}``."""
    content = [{"name": r.name, "value": r.value, "unit": r.unit} for r in rows]
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def machine() -> str:
    """The machine and the versions that the figures come from, in one line."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ipykernel"))
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def _figure(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
