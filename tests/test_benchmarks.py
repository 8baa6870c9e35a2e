"""Each benchmark runs in its quick form, and writes the rows that are promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
SIZES = ("1k", "10k", "100k", "1M")


def run(name: str, folder: Path, *arguments: str) -> dict[str, float]:
    """The values that ``python -m benchmarks NAME --quick`` writes, by their names."""
    target = folder / "rows.json"
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--json", str(target)]
    result = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads(target.read_text())
    assert all(row.keys() == {"name", "value", "unit"} for row in rows)
    assert all(row["name"] in result.stdout for row in rows)
    return {row["name"]: row["value"] for row in rows}


def test_loop_trains_the_same_in_every_row(tmp_path: Path) -> None:
    # A row that ends with another loss ends the benchmark with an error.
    values = run("loop", tmp_path)
    for network in ("mlp", "cnn", "gpt"):
        assert values[f"{network}/plain"] == 1.0
        for row in ("limit", "null", "nbtrain", "of_limit", "of_limit/cpu"):
            assert values[f"{network}/{row}"] > 0
        assert {f"{network}/cost{way}" for way in ("", "/cpu", "/counted")} < values.keys()


def test_loop_measures_only_what_was_asked_for(tmp_path: Path) -> None:
    assert run("loop", tmp_path, "--only", "mlp/limit").keys() == {"mlp/plain", "mlp/limit"}


@pytest.mark.kernel
def test_steering_reads_the_effect_from_the_journal(tmp_path: Path) -> None:
    values = run("steering", tmp_path)
    assert values.keys() == {
        f"{k}/{row}" for k in ("idle", "busy") for row in ("p50", "p90", "step")
    }
    # Generous, because other tests may be running; the benchmark's own figures are in docs.
    assert 0 < values["idle/p50"] < 1000
    assert 0 < values["busy/p50"] < 5000


def test_panel_counts_bytes_and_time(tmp_path: Path) -> None:
    values = run("panel", tmp_path, "--kernel-only")
    rows = ("bytes_per_s", "python_us", "open_ms")
    assert values.keys() == {f"{size}/{row}" for size in SIZES for row in rows}
    # Bytes do not depend on the machine. Two seconds hold what a minute does when the
    # curves of the first thousand steps are merged, hence no tighter bound on those.
    assert max(values[f"{size}/bytes_per_s"] for size in SIZES) <= 40_000


@pytest.mark.full
@pytest.mark.browser
def test_panel_measures_the_real_front_end(tmp_path: Path) -> None:
    values = run("panel", tmp_path, "--only", "1k")
    assert 0 < values["1k/browser_ms"] < 1000


def test_startup_loads_the_extension(tmp_path: Path) -> None:
    assert 0 < run("startup", tmp_path)["load_ext"] < 5000


def test_the_value_is_the_median_and_the_table_shows_the_spread(tmp_path: Path) -> None:
    rows = [report.row("a/b", "ms", [3.0, 1.0, 2.5])]
    assert report.table(rows).split() == ["a/b", "2.50", "ms", "1.00", "–", "3.00"]
    report.write(rows, tmp_path / "rows.json")
    written = json.loads((tmp_path / "rows.json").read_text())
    assert written == [{"name": "a/b", "value": 2.5, "unit": "ms"}]
