"""``%%train``, ``%train`` and ``%runs``.

A cell that begins with ``%%train NAME`` runs as any cell, then trains what it leaves in the
background, and binds NAME to the `Run`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from nbtrain import messages as m
from nbtrain import options, spec
from nbtrain.errors import NbtrainError, RunFailed, UsageError, show_message_only
from nbtrain.ui import body, commands, progress
from nbtrain.ui.commands import live
from nbtrain.ui.telling import say
from nbtrain.ui.waiting import wait, waits_by_itself

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbtrain.runs.run import Run
    from nbtrain.ui.cells import Cells

STOP_SECONDS = 10.0
"""Longest wait for an older run of the same name to end before its cell runs again."""


@magics_class
class TrainMagics(Magics):
    """The magics of one shell."""

    shell: InteractiveShell

    def __init__(
        self, shell: InteractiveShell, cells: Cells, began: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(shell)
        self._cells = cells
        self._began = began

    @no_var_expand
    @line_cell_magic
    def train(self, line: str, cell: str | None = None) -> None:
        """Train in the background what the cell leaves, or steer a run.

        As a cell magic::

            %%train NAME [options]
            model = …
            data = …

        runs the cell, then trains its model, and binds NAME to the run. ``%%train --help``
        lists the options. As a line magic::

            %train COMMAND NAME

        asks something of a run; ``%train`` alone lists the commands.
        """
        if cell is None:
            say(commands.obey(line, self.shell))
            return
        parsed = spec.parse(line, self._evaluate)
        if parsed.help:
            say(options.help_text())
            return
        name = parsed.name or "run"
        self._check_free(name, cell)
        older = self._stop_older(name)
        waits = parsed.options.get("wait", waits_by_itself(self.shell))
        full = {**options.defaults(), **parsed.options, "wait": waits}

        from nbtrain.runs import train as training

        try:
            with training.seeded(full["seed"]):
                bound = self._run(f"%%train {line}", cell)
            run = self._launch(full, tuple(parsed.options), name, cell, bound, older)
        except BaseException:
            if older is not None:
                say(self._what_became_of(older))
            raise
        self.shell.user_ns[name] = run
        self._began()
        if full["panel"] or not waits:
            self._show(run, panel=full["panel"])
        if waits:
            wait(run)

    @line_magic
    def runs(self, line: str) -> Any:
        """List the runs, live and past: ``%runs``, or ``%runs NAME`` for those of one name."""
        from nbtrain.ui import table

        return table.of_runs(line.strip() or None)

    def _evaluate(self, expression: str) -> Any:
        return body.evaluate(self.shell, expression)

    # ── %%train ──────────────────────────────────────────────────────────────────────────

    def _check_free(self, name: str, cell: str) -> None:
        """Refuse a name that the cell itself uses; binding it would take the value away."""
        code = self._cells.python(cell)
        bound, read = spec.names_bound(code), spec.names_read(code)
        if name in spec.CELL_NAMES or name in bound:
            what = "is a name that the cell leaves for the run"
        elif name in read and not _is_run(self.shell.user_ns.get(name)):
            what = "is a name that the cell reads"
        elif isinstance(self.shell.user_ns.get(name), ModuleType):
            what = "is a module here, which the run would replace"
        else:
            return
        raise UsageError(
            f"{name!r} cannot name the run, because it {what}. Try '%%train {name}_run'."
        )

    def _run(self, magic: str, cell: str) -> frozenset[str]:
        """Run the cell's body. Returns the names that it bound, as ``import *`` does too."""
        namespace = self.shell.user_ns
        before = {word: namespace.get(word) for word in spec.CELL_NAMES}
        body.run(self.shell, magic, cell)
        found = {word for word, value in before.items() if namespace.get(word) is not value}
        return spec.names_bound(self._cells.python(cell)) | found

    def _launch(
        self,
        settings: dict[str, Any],
        given: tuple[str, ...],
        name: str,
        cell: str,
        bound: frozenset[str],
        older: Run | None,
    ) -> Run:
        """Start the run. The user's own errors are shown with the user's own frames."""
        from nbtrain.engine.frames import users_alone
        from nbtrain.runs import train as training

        try:
            return training.launch(
                self.shell.user_ns,
                settings,
                given,
                name,
                cell,
                self._cells.context(cell),
                bound=bound,
                replaces=older,
            )
        except KeyboardInterrupt as interrupt:
            show_message_only(interrupt, f"{name} was not started.")
            raise
        except Exception as error:  # a model, a loss or a dataset may raise anything
            if not isinstance(error, NbtrainError) and (kept := users_alone(error)) is not None:
                body.show_frames(self.shell, error, kept)
            raise

    def _stop_older(self, name: str) -> Run | None:
        """End the latest live run of this name between two steps; its weights stay as they are."""
        older = next((run for run in live().values() if run.name == name), None)
        if older is None:
            return None
        older.send(m.Stop(early=False, restore="last", sender="cell"))
        try:
            older.wait(timeout=STOP_SECONDS)
        except TimeoutError:
            raise UsageError(
                f"The run {name!r} has not ended {STOP_SECONDS:.0f} s after it was told to: its "
                "step takes long. Run the cell again in a while, or choose another name."
            ) from None
        except RunFailed:
            pass  # Its own panel says so; the new run begins all the same.
        return older

    def _what_became_of(self, older: Run) -> str:
        """What a cell that failed says of the run that it was to replace."""
        ref = f"{older.name}@{older.number}"
        if older.state != "stopped":
            return f"{ref} had ended by then: {older.state} at step {older.history.step}."
        if older.history.step == 0:
            return f"{ref} was stopped before its first step."
        bound = self.shell.user_ns.get(older.name) is older
        resume = f"{older.name}.resume()" if bound else f"%train resume {ref}"
        return f"{ref} was stopped at step {older.history.step}; {resume} goes on."

    def _show(self, run: Run, *, panel: bool) -> None:
        from nbtrain.runs import presenter

        if panel:
            presenter.current().show(run)
            return
        say(progress.inferred(run))
        say(f"{progress.doing(run)}. %train show {run.name} shows its panel.")


def _is_run(value: object) -> bool:
    module = sys.modules.get("nbtrain.runs.run")
    return module is not None and isinstance(value, module.Run)
