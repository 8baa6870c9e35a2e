"""The progress bar of a run, for scripts and terminals.

In a terminal's IPython training goes on in the background and the bar appears while someone
waits for the run. In a script ``nbtrain.train(...)`` waits by itself, so the bar is there
until the end; there *Ctrl+C* ends the run between two steps, keeps the weights as they are,
and goes on as ``KeyboardInterrupt``, as it would out of a loop of one's own.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from nbtrain import messages as m
from nbtrain.errors import RunFailed

if TYPE_CHECKING:
    from nbtrain.runs.run import Run
    from nbtrain.store.history import History

INTERVAL = 0.1
"""Seconds between two looks at the run."""

LOG_INTERVAL = 5.0
"""Seconds between two lines on where the run stands, in a log file."""

COLUMNS = 80
"""Columns of a terminal that does not tell its width."""

LOG_COLUMNS = 120
"""Columns of a line where there is no terminal, as in a log file."""

SHORTEST_BAR, LONGEST_BAR = 4, 20
"""Columns of the bar itself."""

STOP_SECONDS = 10.0
"""Longest wait for the step in progress after an interrupt."""


def follow(run: Run, file: TextIO | None = None) -> None:
    """Show a bar until ``run`` has ended. An interrupt passes through; the run lives on.

    What the run prints appears above the bar. While the run is paused the bar waits.

    Args:
        file: where the bar is drawn, or a line now and then if it is no terminal; standard error
            by default.

    Raises `RunFailed` if the run failed.
    """
    file = sys.stderr if file is None else file
    if file is None:  # a program without a console, as pythonw runs it
        run.wait()
        return
    bar: Any = _Lines(file)
    if file.isatty():
        # Not tqdm.auto: its notebook bars are widgets, and this is for places without them.
        from tqdm import tqdm

        bar = tqdm(desc=run.name, file=file, ncols=_columns(file), bar_format=_format(LONGEST_BAR))
    watch = _Watch(run, bar, file)
    try:
        while run.live:
            watch.look()
            with suppress(TimeoutError, RunFailed):
                run.wait(timeout=INTERVAL)
        watch.look(last=True)
    finally:
        bar.close()
    file.write(ending(run) + "\n")
    file.flush()
    run.wait()  # it has ended; this raises if it failed


class Bar:
    """Shows runs in a script: as a bar, for as long as the script waits for them."""

    waits = True
    acts = False

    def show(self, run: Run) -> None:
        """The bar comes with the wait; a script that does not wait has its terminal to itself."""

    def show_past(self, history: History) -> None:
        """A line on how the run ended."""
        sys.stdout.write(ending_of(history) + "\n")

    def panel(self, run: Run) -> NoPanel:
        """There is no panel outside a notebook."""
        return NoPanel(run)

    def wait(self, run: Run) -> None:
        """Follow ``run`` to its end, without a word where it has no panel. An interrupt ends it
        between two steps, and goes on."""
        try:
            if run.spec.options["panel"]:
                follow(run)
            else:
                run.wait()
        except KeyboardInterrupt as interrupt:
            run.send(m.Stop(restore="last", early=False, sender="interrupt"))
            # Who is impatient presses it twice, and is not told of the second time.
            with suppress(TimeoutError, RunFailed, KeyboardInterrupt):
                run.wait(timeout=STOP_SECONDS)
            if sys.stderr is not None:
                sys.stderr.write(interrupted(run) + "\n")
            _show_calmly(interrupt)
            raise


class _Lines:
    """Stands in for a bar where nothing can be drawn over, as in a log file."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str, file: TextIO | None = None) -> None:
        """Write ``text`` as a line."""
        self._file.write(text + "\n")
        self._file.flush()

    def close(self) -> None:
        """Every line is written already."""


class _Watch:
    """Draws what of a run has not been shown yet."""

    def __init__(self, run: Run, bar: Any, file: TextIO) -> None:
        self._run, self._bar, self._file = run, bar, file
        self._plain = isinstance(bar, _Lines)
        self._interval = LOG_INTERVAL if self._plain else INTERVAL
        self._drawn = time.monotonic() if self._plain else -math.inf
        self._lines = 0
        self._told: set[str] = set()

    def look(self, *, last: bool = False) -> None:
        """Show new lines at once, and the bar where it is due."""
        history = self._run.history
        warned = [notice for notice in history.notices.values() if notice.level == "warning"]
        for text in (*history.notes, *(notice.text for notice in warned)):
            if text and text not in self._told:
                self._told.add(text)
                self._bar.write(f"{self._run.name}: {text}", file=self._file)
        # The last line may yet be replaced, so it waits for the next or for the end.
        total = history.log.total - (not last)
        for line in history.log.after(self._lines)[: max(0, total - self._lines)]:
            self._bar.write(line.text, file=self._file)
        self._lines = max(self._lines, total)
        if last or time.monotonic() - self._drawn >= self._interval:
            self._drawn = time.monotonic()
            if self._plain:
                planned = "?" if history.total_steps is None else history.total_steps
                begin = f"{self._run.name}: {history.step}/{planned}, "
                self._bar.write(begin + summary(self._run, LOG_COLUMNS - len(begin)))
                return
            self._bar.total = history.total_steps
            self._bar.n = history.step
            self._fit(_columns(self._file))
            self._bar.refresh()

    def _fit(self, columns: int) -> None:
        """Fill a line of so many columns with what fits whole, and the bar with the rest."""
        history = self._run.history
        total = "?" if history.total_steps is None else history.total_steps
        ends = f"{self._run.name}: 100%|| {history.step}/{total}, "
        told = summary(self._run, columns - len(ends) - SHORTEST_BAR)
        bar = columns - len(ends) - len(told)
        self._bar.ncols = columns
        self._bar.bar_format = _format(min(bar, LONGEST_BAR))
        self._bar.set_postfix_str(told, refresh=False)


def _format(bar: int) -> str:
    shown = f"{{percentage:3.0f}}%|{{bar:{bar}}}| " if bar >= SHORTEST_BAR else ""
    return f"{{desc}}: {shown}{{n_fmt}}/{{total_fmt}}{{postfix}}"


def _columns(file: TextIO) -> int:
    """The columns of the terminal ``file``."""
    try:
        columns = os.get_terminal_size(file.fileno()).columns
    except (AttributeError, OSError, ValueError):
        columns = 0  # a terminal that is none of the system's
    # Some terminals, as those of scripts that drive one, report a width of 0.
    return columns or COLUMNS


def beginning(run: Run) -> str:
    """What a terminal says of ``run``, which trains in the background."""
    if not run.live:
        return ending(run)
    return (
        f"{inferred(run)}\n{doing(run)}. %train wait {run.name} shows its progress, %train "
        "alone says how to steer it."
    ).lstrip()


def doing(run: Run) -> str:
    """What ``run`` is doing, such as ``digits trains in the background``."""
    if run.state == "paused":
        return f"{run.name} is paused at step {run.history.step}"
    if run.state == "queued" and run.history.behind is not None:
        return f"{run.name} waits for {run.history.behind}"
    if run.state in ("queued", "starting", "running"):
        return f"{run.name} trains in the background"
    return f"{run.name} is {run.state} at step {run.history.step}"


class NoPanel:
    """What stands for a run's panel outside a notebook: a line on where the run is."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"{doing(self._run)}. Its panel needs a notebook."


def inferred(run: Run) -> str:
    """What was inferred for ``run``, a line each."""
    return "\n".join(f"{run.name}: {note}" for note in run.notes)


def summary(run: Run, width: int | None = None) -> str:
    """Where ``run`` stands, such as ``epoch 3/30  512 steps/s  0:42 left  loss 0.12``.

    Of the metrics those that fit whole into ``width`` characters.
    """
    history = run.history
    parts = []
    if run.state != "running":
        parts.append(run.state)
    if history.epochs:
        parts.append(f"epoch {min(math.floor(history.epoch) + 1, history.epochs)}/{history.epochs}")
    speed = history.steps_per_second
    if run.state == "running" and speed > 0:
        parts.append(f"{speed:.0f} steps/s" if speed >= 10 else f"{speed:.2g} steps/s")
        if history.total_steps is not None:
            parts.append(f"{_clock((history.total_steps - history.step) / speed)} left")
    for name in history.names:
        if name in history.metrics and len(history[name]):
            parts.append(f"{name} {history[name][-1]:.4g}")
    text = ""
    for part in parts:
        longer = f"{text}  {part}" if text else part
        if width is None or len(longer) <= width:
            text = longer
    return text


def _clock(seconds: float) -> str:
    """``seconds`` as 0:42 or 1:02:03."""
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ending(run: Run) -> str:
    """One line on how ``run`` ended."""
    return ending_of(run.history)


def ending_of(history: History) -> str:
    """One line on how the run of this history ended."""
    text = f"{history.name}: {history.outcome or history.state} at step {history.step}"
    if history.reason and history.reason != history.outcome:
        text += f" ({history.reason})"
    if best_of(history) and history.best is not None:
        text += f"; best {best_of(history)} at step {history.best.step}"
    return text


def interrupted(run: Run) -> str:
    """One line on what became of ``run`` when its script was interrupted."""
    if run.live:
        return f"{run.name}: still in step {run.history.step + 1}, which takes long"
    text = f"{ending(run)}; the model keeps its weights"
    checkpoints = run.history.checkpoints
    if checkpoints and run.path is not None:
        text += f", which also lie in {run.path / checkpoints[-1].file}"
    return text


def _show_calmly(interrupt: KeyboardInterrupt) -> None:
    """Have Python end on ``interrupt`` without a traceback: the user knows where it came from."""
    shown = sys.excepthook
    # A mark on the error, because holding the error itself would hold what its frames hold.
    interrupt.told = True  # type: ignore[attr-defined]

    def excepthook(
        kind: type[BaseException], error: BaseException, frames: TracebackType | None
    ) -> None:
        sys.excepthook = shown
        if getattr(error, "told", False):
            if sys.stderr is not None:
                sys.stderr.write("KeyboardInterrupt\n")
        else:
            shown(kind, error, frames)

    sys.excepthook = excepthook


def best_of(history: History) -> str:
    """The best value of the metric that judges, such as ``val_loss 0.12``; or nothing."""
    best, name = history.best, history.judged_by
    return "" if best is None or name is None else f"{name} {best.metrics[name]:.4g}"
