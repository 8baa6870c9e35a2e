"""The earlier cells that a run's cell needs are found, as the user wrote them."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from nbtrain.ui.cells import LIMIT, Cells


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def cells(shell):
    cells = Cells(shell)
    cells.attach()
    yield cells
    cells.detach()


def run(shell, cell):
    return shell.run_cell(cell, store_history=True)


def test_the_cells_that_bound_the_names_come_back_as_written(shell, cells):
    for cell in ("rate = 0.1", "unrelated = 1", "def make():\n    return rate\n", "x = make()"):
        run(shell, cell)
    assert cells.context("model = x") == (
        "rate = 0.1",
        "def make():\n    return rate\n",
        "x = make()",
    )


def test_cells_that_failed_are_left_out(shell, cells, capsys):
    run(shell, "x = 1")
    run(shell, "x = 2; 1 / 0")
    assert cells.context("x") == ("x = 1",)


def test_cells_with_magics_count_with_what_they_bind(shell, cells):
    cell = "%config InlineBackend.close_figures\n!true\nx = 1"
    run(shell, "%pwd\nx = 1\n!true")
    assert cells.context("x") == ("%pwd\nx = 1\n!true",)
    assert "get_ipython" in cells.python(cell)


@pytest.mark.parametrize("magic", ["%%time", "%%capture got"])
def test_magics_that_run_their_body_are_taken_off(shell, cells, magic, capsys):
    run(shell, f"{magic}\nx = 1")
    assert cells.context("x") == ("x = 1",)


def test_cells_run_again_count_where_they_ran_last(shell, cells):
    for cell in ("x = 1", "x = 2", "y = 0", "x = 1"):
        run(shell, cell)
    assert cells.context("x") == ("x = 1",)


def test_cells_from_before_the_extension_are_known(shell):
    run(shell, "early = 1")
    run(shell, "%load_ext nothing")  # stands for the cell that loads us
    cells = Cells(shell)
    assert cells.context("early") == ("early = 1",)


def test_silent_executions_of_a_front_end_are_no_cells(shell, cells):
    shell.run_cell("x = 1", store_history=False)
    assert cells.context("x") == ()


def test_a_long_session_is_remembered_in_bounded_size(shell, cells):
    for n in range(LIMIT + 5):
        cells._add(f"x{n} = 1")
    assert cells.context("x0") == ()
    assert cells.context(f"x{LIMIT}") == (f"x{LIMIT} = 1",)


def test_nothing_is_heard_after_detaching(shell):
    cells = Cells(shell)
    cells.attach()
    cells.detach()
    run(shell, "x = 1")
    assert cells.context("x") == ()
