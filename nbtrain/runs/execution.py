"""One run on its trainer thread, from its start to its end and beyond."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import nn

from nbtrain import messages as m
from nbtrain import options
from nbtrain.engine import device as devices
from nbtrain.engine.checkpoint import Writer
from nbtrain.engine.commands import wrong
from nbtrain.engine.early import Weights
from nbtrain.engine.loop import Loop
from nbtrain.engine.ownership import Ownership
from nbtrain.engine.task import Task
from nbtrain.engine.training import Training
from nbtrain.errors import NbtrainError
from nbtrain.runs import failure, memory
from nbtrain.runs.access import Access
from nbtrain.runs.inbox import Inbox, NoCommands
from nbtrain.runs.interpreter import Contention
from nbtrain.runs.ledger import Ledger
from nbtrain.runs.output import capture
from nbtrain.runs.trainer import Trainer, broken_off
from nbtrain.spec import Spec
from nbtrain.states import LIVE
from nbtrain.store.catalog import RunFolder

if TYPE_CHECKING:
    from nbtrain.runs.run import Run

_BUSY = (
    "A cell keeps Python busy, so training gets fewer turns while that lasts. It gets them more "
    "often, which costs the cell about a fifth of its speed."
)
_OTHER_LAYERS = "The model has other parameters now than when its best weights were kept."
_PLAN = ("epochs", "steps")
"""The knobs that can make a finished run go on."""
_QUEUE = "queue"
"""Topic of the notice that a queued run waits for a run that is paused."""


class Execution:
    """Holds everything one run is made of, and does it.

    `launch` puts it in line for its device; everything from `_begin` on happens on the
    trainer thread. The trainer never prints, draws, or touches a widget: what happens goes
    into the ledger, and ``changed`` is told that there is something new; ``woke`` is when the
    finished run goes on, ``moved`` when the run begins, pauses or goes on, for those that wait
    for its device.
    """

    def __init__(
        self,
        spec: Spec,
        task: Task,
        device: torch.device,
        folder: RunFolder,
        trainer: Trainer,
        changed: Callable[[], None],
        woke: Callable[[Run], None],
        moved: Callable[[], None],
    ) -> None:
        self.spec, self.task, self.device = spec, task, device
        self.folder, self.trainer = folder, trainer
        self._aside = Trainer(f"{spec.name} aside")
        """Does what is asked of the finished run and needs no turn on the device."""
        self.woke, self.moved = woke, moved
        self.owner: Callable[[], Run | None] = lambda: None
        """The run, as long as anybody holds it."""
        self.training = Training(folder.id, task, device, frozenset(spec.given))
        self.ledger = Ledger(folder, lambda: self.training.place, changed)
        self.history = self.ledger.history
        self.inbox = Inbox(self._emit)
        self.access = Access(task, device, self.inbox, here=self.here, moving=self._moving)
        self.ownership = Ownership(task.model, spec.name, self.access.snapshot_for_call)
        self.ownership.notify = self._notify_once
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self.settled = threading.Event()
        """Set once the commands to the finished run have ended it again or woken it."""
        self._turn = threading.Lock()
        """Held while a job of this run is done: two trainers may each have one."""
        self._said: set[str] = set()
        self._contention = Contention(self._tell_busy)
        self._saver = Writer(folder.path / "checkpoints") if folder.path is not None else None
        self.behind: str | None = None
        """The run it stood in line behind."""
        self._modes: list[tuple[nn.Module, bool]] = []
        self._last: Weights | None = None
        """The weights at the end, where the model got its best ones back."""
        self._given_back = False

    # ── events out ────────────────────────────────────────────────────────────────────

    def _emit(self, event: m.Event) -> None:
        """Write ``event`` down. Raises ValueError if it cannot happen to this run now."""
        self.ledger.emit(event)
        if isinstance(event, m.Paused):
            self._contention.end()
            self.moved()
        elif isinstance(event, m.Resumed):
            self.moved()
        elif isinstance(event, m.Stepped):
            self._contention.look()

    def _tell_busy(self, busy: bool) -> None:
        self.ledger.say("interpreter", _BUSY if busy else "", "info")

    def _notify_once(self, text: str) -> None:
        """A call of the user's model went elsewhere: say so under the cell, once."""
        if text not in self._said:
            self._said.add(text)
            import warnings

            warnings.warn(text, stacklevel=3)

    # ── commands in ───────────────────────────────────────────────────────────────────

    def send(self, command: m.Command) -> None:
        """Leave ``command`` for the run, whatever state it is in."""
        if not self.inbox.send(command):
            return
        if self.history.state == "queued" and isinstance(command, m.Stop):
            if self.trainer.withdraw(self.folder.id):
                waiting = self.inbox.take().commands
                with self.ledger.writing:
                    self.waits("")
                    for other in waiting:
                        if other.id != command.id:
                            self.ledger.reject(other, "the run was stopped before it began")
                    self.ledger.applied(command)
                    self._finish("stopped", "stopped before it began", None)
        elif self.history.state == "finished":
            if isinstance(command, m.Resume) and command.share:
                self.trainer.withdraw(self.folder.id)
                self.trainer = Trainer(self.spec.name)
            self._call(self.may_wake(command))

    def may_wake(self, command: m.Command) -> bool:
        """Whether the finished run may go on by ``command``, for which it needs its device."""
        if self._barred() is not None:
            return False
        if isinstance(command, (m.Resume, m.OneStep)):
            return not self.training.complete
        if isinstance(command, m.Undo):
            return any(a.knob in _PLAN and not a.undone for a in self.history.actions)
        return isinstance(command, m.Set) and options.knob(command.knob).name in _PLAN

    def in_line(self, command: m.Command) -> bool:
        """Whether ``command`` acts only once another run has left the device."""
        if self.history.state == "queued":
            return self.behind is not None
        busy = self.trainer.current not in (None, self.folder.id)
        return busy and self.history.state == "finished" and self.may_wake(command)

    def here(self) -> bool:
        """Whether this is a thread that trains the run or does what is asked of it."""
        return self.trainer.here() or self._aside.here()

    def _call(self, wakes: bool) -> None:
        """Have the commands to the finished run obeyed: those that may wake it in turn."""
        if wakes:
            self._submit(self._attend)
        else:
            self._aside.submit(self.folder.id, self._attend_aside, keeps=self.owner())

    def _submit(self, job: Callable[[], None]) -> None:
        """Have ``job`` done in turn. It keeps the run, which whoever asked may let go of."""
        self.trainer.submit(self.folder.id, job, keeps=self.owner())

    def replaces(self, run: str, number: int) -> None:
        """Say that this run's cell stopped an older run, which may go on beside it."""
        text = f"This cell ran again, so {self.spec.name}@{number} was stopped."
        self.ledger.say(f"replaces:{run}", text, "info")

    def goes_on(self, older: str, ref: str) -> None:
        """Where this run took the place of ``older``, which is ``ref`` for people and goes on:
        say so, in place of the offer to have it go on."""
        if f"replaces:{older}" not in self.history.notices:
            return

        def tell() -> None:
            self.ledger.say(f"beside:{older}", f"{ref} goes on: %train show {ref}.", "info")
            self.ledger.say(f"replaces:{older}", "")

        def tell_after_the_end() -> None:
            with self._turn:
                try:
                    self.folder.take()
                except NbtrainError:
                    return  # another process writes the run now
                tell()
                if self.history.state == "finished":
                    self.folder.close()

        if self.history.state == "finished":
            self._aside.submit(self.folder.id, tell_after_the_end, keeps=self.owner())
        else:
            tell()

    def waits(self, why: str) -> None:
        """Say why the queued run will wait on if nobody does anything; empty where it won't."""
        with self.ledger.writing:
            said = self.history.notices.get(_QUEUE)
            if self.history.state == "queued" and why != ("" if said is None else said.text):
                self.ledger.say(_QUEUE, why)

    # ── on the trainer thread ─────────────────────────────────────────────────────────

    def launch(self, behind: str | None) -> None:
        """Get in line for the device. Called on the main thread.

        Raises `ModelError` if another live run trains the model.
        """
        self.ownership.take()
        self.behind = behind
        run = self.folder.id
        name, number = self.spec.name, self.folder.number
        self._emit(m.Created(run=run, name=name, number=number, spec=self.spec.to_json()))
        if self.folder.problem:
            self.ledger.say("store", self.folder.problem)
        if behind is not None:
            self._emit(m.Queued(run=run, device=str(self.device), behind=behind))
        self._submit(self._begin)

    def _begin(self) -> None:
        with self._turn:
            self._do()

    def _do(self) -> None:
        run, device = self.folder.id, self.device
        with capture(self.ledger.log), self.training.draws.here(), self.ownership.here():
            try:
                name = devices.name_of(device)
                with self.access.still:
                    self._emit(m.Starting(run=run, device=str(device), device_name=name))
                if _QUEUE in self.history.notices:
                    self.ledger.say(_QUEUE, "")
                self.moved()
                self._emit(self.training.start(self.inbox))
                self.task.data.notes.listener = lambda text: self.ledger.say("data", text, "info")
                self._train()
            except BaseException as error:  # noqa: BLE001 - whatever ends a run is told
                self._fail(error)

    def _train(self) -> None:
        loop = Loop(self.training, self.inbox, self._saver)
        try:
            loop.run()
        except BaseException:
            # The steps before the error belong to the record; a broken device may refuse
            # even to copy them, and must not hide what broke it.
            with suppress(Exception):
                loop.emit_block()
            raise
        finally:
            memory.untie(loop)
        self._conclude()

    def _conclude(self) -> None:
        """The plan is done, or something ended it: last checkpoint, best weights back."""
        t, request = self.training, self.training.request
        restored = t.progress.step
        if self._saver is not None and t.progress.step:
            self._saver.last(t, self._emit)
        if request.restore == "best" and t.best is not None and t.best.step != restored:
            if t.best.fits(self.task.model):
                self._last = Weights(self.task.model, restored)
                t.best.restore(self.task.model)
                restored = t.best.step
            else:
                self.ledger.say("best", f"{_OTHER_LAYERS} It keeps its last weights.")
        reason = request.stop or _planned(t)
        failed = request.outcome == "failed"
        if failed:
            self.error = NbtrainError(reason)
        self._finish(
            request.outcome or "completed", reason, restored, error=reason if failed else None
        )

    def _fail(self, error: BaseException) -> None:
        if broken_off(error):
            self._clean_up(self.task.data.close)
            self.folder.close()  # the store tells of an interrupted run, which this is
            return
        t = self.training
        if devices.is_out_of_memory(error):
            size = t.knobs.values["batch_size"] if t.started else self.task.options["batch_size"]
            explained = devices.out_of_memory(error, self.device, size)
            explained.__cause__ = error
            error = explained
        message, frames = failure.describe(error)
        self.error = error
        failure.let_go(error)
        if t.started:
            self._clean_up(t.optimizer.zero_grad)
        # A device that is broken refuses this too, and must not keep the run from ending.
        with suppress(RuntimeError):
            devices.release_memory(self.device)
        self._finish("failed", message.splitlines()[0], None, error=message, traceback=frames)

    def _finish(
        self,
        outcome: m.Outcome,
        reason: str,
        restored: int | None,
        error: str | None = None,
        traceback: str | None = None,
    ) -> None:
        self._contention.end()
        self._clean_up(self.task.data.close)
        self._clean_up(self._rest)
        if outcome == "failed" or not self.training.started:
            self._drop()  # it cannot go on
        try:
            self._emit(
                m.Finished(
                    outcome=outcome,
                    reason=reason,
                    restored=restored,
                    error=error,
                    traceback=traceback,
                    epoch=self.training.progress.epoch,
                    **self.training.place,
                )
            )
            self.folder.close()
        finally:
            self.ended.set()
        if self.inbox.waiting:
            # They came after the last control point, and before anyone could see the end.
            for wakes in {self.may_wake(command) for command in self.inbox.commands}:
                self._call(wakes)

    def _clean_up(self, function: Callable[[], object]) -> None:
        """``function()``, whose error must not keep the run from ending."""
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - told; it may be the user's own code
            message, _ = failure.describe(error)
            self.ledger.say("end", f"Cleaning up after the run failed: {message}")

    def _rest(self) -> None:
        """The model is the user's again, ready to be used."""
        self.ownership.release()
        self._modes = [(module, module.training) for module in self.task.model.modules()]
        self.task.model.eval()

    def give_back(self) -> bool:
        """Let go of data and optimizer, because the run ended long ago. It keeps its model and
        the best weights. False while it obeys a command or is about to."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            asked = self.trainer.has(self.folder.id) or self._aside.has(self.folder.id)
            if self.history.state != "finished" or asked:
                return False
            if self.training.started:
                self._drop()
                self._given_back = True
            return True
        finally:
            self._turn.release()

    def _drop(self) -> None:
        """Let go of what only training needs."""
        self._saver = self._last = None
        self.training = memory.untrainable(self.training)

    def let_go(self) -> None:
        """Nobody holds the run: free its model now, not when garbage is collected next.

        Called on whichever thread let go of it last, so it takes no lock.
        """
        memory.untie(self.training)
        vars(self).clear()

    def _attend(self) -> None:
        """Commands came after the end: obey what can be, and go on if one asks for it."""
        with self._turn:
            # An earlier job may have woken the run by now, which then takes them itself.
            if self.history.state == "finished":
                self._answer(self.inbox.take().commands)

    def _attend_aside(self) -> None:
        """The same for commands that cannot make it go on, whoever holds the device."""
        with self._turn:
            if self.history.state == "finished":
                self._answer(self.inbox.take(lambda c: not self.may_wake(c)).commands)
                if self.inbox.commands and not self.trainer.has(self.folder.id):
                    self._call(wakes=True)  # it may by now

    def _answer(self, commands: tuple[m.Command, ...]) -> None:
        self.settled.clear()
        try:
            refused = self._cannot_go_on() if commands else None
            if refused is not None:
                for command in commands:
                    self.ledger.reject(command, refused)
            elif commands:
                self._obey_after_the_end(commands)
        finally:
            self.folder.close()
            self.settled.set()

    def _obey_after_the_end(self, commands: tuple[m.Command, ...]) -> None:
        with capture(self.ledger.log), self.training.draws.here(), self.ownership.here():
            try:
                with self.access.still:
                    wakes = self._wakes(commands)
                if wakes:
                    self.settled.set()
                    self._train()
                else:
                    self._rest()
            except BaseException as error:  # noqa: BLE001 - as in _begin
                if self.history.state == "finished":
                    self._could_not(commands, error)
                else:
                    self._fail(error)

    def _could_not(self, commands: tuple[m.Command, ...], error: BaseException) -> None:
        """What a command asked of the finished run raised: the run stays as it ended."""
        if broken_off(error):
            return
        message, _ = failure.describe(error)
        failure.let_go(error)
        self._rest()
        self.ended.set()
        for command in commands:
            if self.history.answers.get(command.id) is None:
                self.ledger.reject(command, message.splitlines()[0])

    def _wakes(self, commands: tuple[m.Command, ...]) -> bool:
        """Obey ``commands``, and begin to go on if one asks for that. Returns whether it did."""
        t = self.training
        planned = (t.knobs.values["epochs"], t.knobs.values["steps"])
        for module, mode in self._modes:
            module.training = mode
        loop = Loop(t, NoCommands(self.inbox), self._saver)
        t.request = type(t.request)()
        try:
            resumed = self._obey(commands, loop)
        finally:
            memory.untie(loop)
        replanned = planned != (t.knobs.values["epochs"], t.knobs.values["steps"])
        extended = replanned and not t.complete
        if not (extended or resumed):
            return False
        t.early.waited = 0
        if self._last is not None and t.best is not None and t.best.is_in(self.task.model):
            # Training goes on from where it was, unless the user changed the best weights.
            self._last.restore(self.task.model)
        self._last = None
        place = self.training.place
        self.ended.clear()
        if extended:
            self._emit(m.Extended(epochs=t.knobs.values["epochs"], **place))
        else:
            self._emit(m.Resumed(**place))
        run = self.owner()
        assert run is not None  # the job keeps it
        self.woke(run)
        if t.request.steps:
            # The loop counts a step done at its first control point.
            t.request.steps += 1
        return True

    def _obey(self, commands: tuple[m.Command, ...], loop: Loop) -> bool:
        """Obey ``commands`` on the finished run. Returns whether one of them resumes it."""
        t = self.training
        resumed = False
        for command in commands:
            refused = wrong(command)
            if refused is not None:
                self.ledger.reject(command, refused)
            elif isinstance(command, (m.Resume, m.OneStep)):
                if t.complete:
                    self.ledger.reject(
                        command, "every planned step is done; set epochs higher to go on"
                    )
                else:
                    resumed = True
                    self.ledger.applied(command)
                    t.request.steps = command.count if isinstance(command, m.OneStep) else 0
            elif isinstance(command, m.Stop) and self._stays():
                self.ledger.applied(command)
            elif isinstance(command, (m.Pause, m.Stop)):
                self.ledger.reject(command, "the run has finished")
            else:
                loop.commands.obey([command])
        return resumed

    def _stays(self) -> bool:
        """Refuse what waits for the device to make the run go on. False if nothing does."""
        waiting = self.inbox.take(self.may_wake).commands
        for command in waiting:
            self.ledger.reject(command, "the run was stopped before it went on")
        self.trainer.withdraw(self.folder.id)
        return bool(waiting)

    def _barred(self) -> str | None:
        """Why a finished run takes no commands ever again; None if it may."""
        if self.history.outcome == "failed":
            return "the run failed; mend what its error says and run its cell again"
        if self._given_back:
            return (
                "it gave its data and optimizer back when later runs had ended; run its cell "
                "again, with its model to go on from these weights"
            )
        if not self.training.started:
            return "the run ended before it began; run its cell again"
        if self.ledger.lost:
            return "another process has taken the run over; run its cell again"
        return None

    def _cannot_go_on(self) -> str | None:
        """Why a finished run takes no commands; None if it is ready to."""
        barred = self._barred()
        if barred is not None:
            return barred
        try:
            self.ownership.take()
            self.folder.take()
        except NbtrainError as error:
            self.ownership.release()
            return str(error)
        return None

    # ── the model ─────────────────────────────────────────────────────────────────────

    def _moving(self) -> bool:
        """Whether a thread trains the model, or waits for a command to."""
        moves = self.history.state in ("running", "paused", "starting")
        return moves and self.trainer.has(self.folder.id)

    def model(self) -> nn.Module:
        """See `Run.model`."""
        return self.access.snapshot() if self.history.state in LIVE else self.task.model

    def best_model(self) -> nn.Module:
        """See `Run.best_model`."""
        return self.access.best_model(lambda: self.training.best)


def _planned(t: Training) -> str:
    epochs = t.progress.epoch
    if t.knobs.values["steps"] is not None and t.progress.step >= t.knobs.values["steps"]:
        return f"all {t.progress.step} steps done"
    return f"all {epochs} epochs done" if epochs != 1 else "the epoch is done"
