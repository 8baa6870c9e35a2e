"""Every example runs from top to bottom, and its run comes to what it promises."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"

PROMISES = {
    "01_first_run": """
assert digits.state == "running", digits
digits.set(lr=3e-3, pace="off")
digits.wait()
assert digits.state == "completed", digits
assert digits.history.step == 60 * 23 == len(digits.history["loss"])
assert digits.history["val_accuracy"].max() >= 0.96, digits
assert [(a.knob, a.new) for a in digits.history.actions] == [("lr", 3e-3), ("pace", None)]
assert (digits.predict(X / 16).numpy() == y).mean() > 0.96
""",
    "02_regression": """
assert diabetes.state in ("early-stopped", "completed"), diabetes
assert diabetes.history.best.metrics["val_loss"] < 0.6, diabetes
assert r2 > 0.45
""",
    "03_cnn_dataloader": """
assert cnn.state in ("early-stopped", "completed"), cnn
assert cnn.history.best.metrics["val_accuracy"] > 0.96, cnn
assert int(confused.sum()) < 60
""",
    "04_training_step": """
assert autoencoder.state in ("early-stopped", "completed"), autoencoder
assert autoencoder.history.best.metrics["val_reconstruction"] < 0.03, autoencoder
assert {"loss", "reconstruction", "code"} <= set(autoencoder.history.names)
""",
}


def test_every_example_has_its_promise() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(PROMISES)


@pytest.mark.kernel
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example_keeps_its_promise(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTRAIN_HOME", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    if name == "01_first_run":
        # With nobody watching the cell would wait, at a pace that is made for watching.
        for cell in notebook.cells:
            cell.source = cell.source.replace("--pace 25", "--pace 25 --no-wait")
    notebook.cells.append(nbformat.v4.new_code_cell(PROMISES[name]))
    client = NotebookClient(notebook, timeout=200, kernel_name="python3")
    client.execute(cwd=str(tmp_path))


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example_is_stored_without_output(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
