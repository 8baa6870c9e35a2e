"""Which figures a run has, and what the browser finds in them."""

from __future__ import annotations

import json
from typing import Any

from nbtrain.ui.charts import MOST_CHARTS, arrange, document


def test_a_metric_and_its_validation_twin_share_a_chart() -> None:
    charts = arrange(
        ["lr", "mae", "accuracy", "loss", "val_loss"], ["val_accuracy"], rate_varies=False
    )
    assert [(c.id, [s.name for s in c.series]) for c in charts] == [
        ("loss", ["loss", "val_loss"]),
        ("accuracy", ["accuracy", "val_accuracy"]),
        ("mae", ["mae"]),
    ]
    assert [s.role for s in charts[0].series] == ["train", "validation"]


def test_the_learning_rate_is_drawn_last_and_only_where_it_varies() -> None:
    assert [c.id for c in arrange(["lr", "loss"], [], rate_varies=False)] == ["loss"]
    assert [c.id for c in arrange(["lr", "loss"], [], rate_varies=True)] == ["loss", "lr"]


def test_titles_of_metrics_stay_as_they_are() -> None:
    names = ["mean_absolute_error", "<b>bold</b>", "$$x$$"]
    titles = [chart.title for chart in arrange(names, [], rate_varies=False)]
    assert titles == ["mean_absolute_error", "<b>bold</b>", "$$x$$"]


def test_a_step_that_returns_many_values_gives_no_endless_page() -> None:
    names = [f"value{number}" for number in range(100)]
    assert len(arrange(names, [], rate_varies=True)) == MOST_CHARTS


def found(body: Any, kind: str | None = None) -> dict[str, dict[str, Any]]:
    """Named models of a Bokeh document, however deep."""
    models: dict[str, dict[str, Any]] = {}
    pending = [body]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            attributes = part.get("attributes", {})
            if part.get("type") == "object" and "name" in attributes:
                models[attributes["name"]] = part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return models


def test_the_browser_finds_every_model_by_its_name() -> None:
    charts = arrange(["loss", "val_loss", "<img src=x>"], [], rate_varies=False)
    models = found(json.loads(json.dumps(document(charts), allow_nan=False)))
    for name, kind in {
        "chart:loss": "Figure",
        "chart:<img src=x>": "Figure",
        "series:loss": "ColumnDataSource",
        "series:val_loss": "ColumnDataSource",
        "series:<img src=x>": "ColumnDataSource",
        "best:loss": "ColumnDataSource",
        "horizon:loss": "BoxAnnotation",
        "marks": "ColumnDataSource",
    }.items():
        assert models[name]["name"] == kind, name
    columns = dict(models["series:loss"]["attributes"]["data"]["entries"])
    assert columns == {"x": [], "low": [], "high": [], "mean": []}


def test_the_lowest_and_the_highest_value_of_a_point_are_drawn() -> None:
    text = json.dumps(document(arrange(["loss"], [], rate_varies=False)))
    assert '"Segment"' in text


def test_a_document_is_a_few_tens_of_kilobytes() -> None:
    charts = arrange(["loss", "accuracy", "lr", "val_loss", "val_accuracy"], [], rate_varies=True)
    assert len(json.dumps(document(charts))) < 40_000
