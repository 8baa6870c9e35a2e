"""What each command does to a run, and the answer it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain import messages as m
from nbtrain import options, wire
from nbtrain.engine.control import Control
from nbtrain.engine.knobs import DropoutState
from nbtrain.engine.training import Training
from nbtrain.errors import CommandRejected


@dataclass(slots=True)
class Action:
    """One change of a knob that can be undone: a whole drag is one action."""

    id: str
    knob: str
    old: m.Value
    dropout: DropoutState
    undone: bool = False


def wrong(command: m.Command) -> str | None:
    """What of ``command`` cannot be, whoever sent it and whatever the run does; or None."""
    try:
        wire.check(command)
    except wire.InvalidMessage as error:
        return str(error)
    if isinstance(command, m.OneStep) and command.count < 1:
        return f"{command.count} steps cannot be taken; ask for 1 or more"
    return None


class Commands:
    """Obeys commands between two steps and answers each by its id, once it has acted.

    Args:
        training: what they act on.
        flush: sends the steps done so far, so that an answer stands after them.
        control: takes the answers.
        evaluate: measures the validation data.
        checkpoint: writes a checkpoint, or raises `CommandRejected`.
    """

    def __init__(
        self,
        training: Training,
        flush: Callable[[], None],
        control: Control,
        evaluate: Callable[[], object],
        checkpoint: Callable[[], None],
    ) -> None:
        self.training = training
        self.flush = flush
        self.control = control
        self.evaluate = evaluate
        self.checkpoint = checkpoint
        self._deferred: list[m.Command] = []
        self._told_of_data = False

    @property
    def waiting(self) -> bool:
        """Whether commands wait for the end of a validation, or for the next step."""
        return bool(self._deferred)

    def obey(self, commands: Sequence[m.Command] = ()) -> None:
        """Let every command act, in order: those first that waited for a validation's end."""
        waiting = [*self._deferred, *commands]
        while waiting:
            self._deferred = []
            for command in waiting:
                self._act(command)
            waiting = self._deferred

    def refuse(self, reason: str) -> None:
        """Answer what still waits when the run ends."""
        waiting, self._deferred = self._deferred, []
        for command in waiting:
            self.reject(command, reason)

    def _act(self, command: m.Command) -> None:
        refused = wrong(command)
        if refused is not None:
            self.reject(command, refused)
            return
        try:
            getattr(self, f"_{type(command).__name__.lower()}")(command)
        except CommandRejected as error:
            self.reject(command, str(error))

    def between_batches(self) -> bool:
        """Between two validation batches, and while the next batch of any kind is not there
        yet: only pausing and stopping act.

        Returns whether to go on.
        """
        if self._stopped():
            return False
        request = self.training.request
        # A validation that is asked for during a pause does not wait for the pause's end.
        asked_in_pause = request.paused
        decision = self.control.decide(self.training.progress.step)
        while True:
            if decision.commands:
                self.flush()
            for command in decision.commands:
                if isinstance(command, (m.Pause, m.Resume, m.OneStep, m.Stop)):
                    self._act(command)
                    asked_in_pause = asked_in_pause and request.paused
                else:
                    self._deferred.append(command)
            if self._stopped():
                return False
            if asked_in_pause or not request.paused:
                return True
            self.training.hold_clock()
            decision = self.control.decide(self.training.progress.step, None)
            self.training.tick()

    def _stopped(self) -> bool:
        return self.training.request.stop is not None

    def pause(self) -> None:
        """Wait after this step."""
        if not self.training.request.paused:
            self.training.request.paused = True
            self.flush()
            self.control.emit(m.Paused(**self.training.place))

    def resume(self) -> None:
        """Go on."""
        if self.training.request.paused:
            self.training.request.paused = False
            self.control.emit(m.Resumed(**self.training.place))

    def not_finite(self, text: str, in_data: bool = False, ruined: bool = False) -> None:
        """Pause where somebody watches, else end the run; the weights are those before.

        Where the data itself is to blame, once: who then resumes does without such batches.
        Where the weights are ``ruined``, nothing is offered but to begin anew or go back.
        """
        t = self.training
        if t.task.attended and in_data:
            if self._told_of_data:
                return
            self._told_of_data = True
            notice = (
                f"{text} The update with this batch was left out. Resume to leave out every such "
                "batch from here on; or stop, and take such samples out of the data or fill them."
            )
            self.control.emit(
                m.Noticed(topic="not-finite-data", text=notice, level="warning", **t.place)
            )
            self.pause()
        elif t.task.attended and ruined:
            again = "run the cell again with a lower learning rate."
            notice = f"{text} {again[0].upper()}{again[1:]}"
            if t.best is not None:
                notice = (
                    f"{text} Stop early, which brings back the best weights, of step "
                    f"{t.best.step:,}; or {again}"
                )
            # The topic under which the panel offers no other settings.
            self.control.emit(
                m.Noticed(topic="not-finite-data", text=notice, level="warning", **t.place)
            )
            self.pause()
        elif t.task.attended:
            notice = (
                f"{text} The weights are those of the step before. Change something, then resume"
            )
            if t.best is None:
                notice += "."
            else:
                notice += (
                    f"; or stop early, which brings back the best weights, of step {t.best.step:,}."
                )
            self.control.emit(
                m.Noticed(topic="not-finite", text=notice, level="warning", **t.place)
            )
            self.pause()
        else:
            t.request.stop, t.request.outcome, t.request.restore = text, "failed", "last"

    def reject(self, command: m.Command, reason: str) -> None:
        """Answer that the command was not obeyed."""
        knob = getattr(command, "knob", None)
        self.control.emit(
            m.Rejected(
                command=command.id,
                action=type(command).__name__,
                sender=command.sender,
                reason=reason,
                knob=knob if isinstance(knob, str) else None,
                **self.training.place,
            )
        )

    def _applied(self, command: m.Command, **more: Any) -> None:
        self.control.emit(
            m.Applied(
                command=command.id,
                action=type(command).__name__,
                sender=command.sender,
                **more,
                **self.training.place,
            )
        )

    # ── one method a command ──────────────────────────────────────────────────────────

    def _set(self, command: m.Set) -> None:
        t = self.training
        if command.sequence:
            key = (command.sender, command.knob)
            if command.sequence < t.newest.get(key, 0):
                raise CommandRejected("superseded: a newer value from the same place acted already")
            t.newest[key] = command.sequence
        dropout = t.knobs.dropout.state
        old, new, note = t.knobs.set(command.knob, command.value, command.schedule)
        action_id = command.drag or command.id
        if not any(action.id == action_id for action in t.actions):
            t.actions.append(Action(action_id, _full_name(command.knob), old, dropout))
        self._applied(
            command,
            knob=_full_name(command.knob),
            old=old,
            new=new,
            drag=command.drag,
            note=note,
            knobs=t.knobs.moved,
            total_steps=t.total_steps,
        )

    def _undo(self, command: m.Undo) -> None:
        actions = self.training.actions
        if command.action is None:
            action = next((a for a in reversed(actions) if not a.undone), None)
            if action is None:
                raise CommandRejected("there is nothing to undo: no knob was changed")
        else:
            action = next((a for a in actions if a.id == command.action), None)
            if action is None:
                raise CommandRejected("that action is not one that can be undone")
            if action.undone:
                raise CommandRejected("that action was undone already")
        knobs = self.training.knobs
        old, new, note = knobs.undo(action.knob, action.old, action.dropout)
        action.undone = True
        # What was set after it is gone as well, and no undo may bring it back.
        for later in actions[actions.index(action) + 1 :]:
            later.undone = later.undone or options.goes_with(action.knob, later.knob)
        self._applied(
            command,
            knob=action.knob,
            old=old,
            new=new,
            undoes=action.id,
            note=note,
            knobs=knobs.moved,
            total_steps=self.training.total_steps,
        )

    def _pause(self, command: m.Pause) -> None:
        if self.training.request.paused:
            raise CommandRejected("the run is paused already")
        self.pause()
        self._applied(command)

    def _resume(self, command: m.Resume) -> None:
        request = self.training.request
        if not request.paused and not request.steps:
            raise CommandRejected("the run is not paused")
        request.steps = 0
        self.resume()
        self._applied(command)

    def _onestep(self, command: m.OneStep) -> None:
        self.training.request.steps = command.count
        self.resume()
        self._applied(command)

    def _stop(self, command: m.Stop) -> None:
        request = self.training.request
        self._applied(command, note=self._kept(command.restore))
        request.stop = "stopped by hand" if command.early else "stopped"
        request.outcome = "early-stopped" if command.early else "stopped"
        request.restore = command.restore

    def _kept(self, restore: m.Restore) -> str:
        """Which weights the model has after a stop."""
        best = self.training.best
        if restore == "last":
            return "with the last weights"
        if best is None:
            return "with the last weights, because no validation has chosen best ones"
        return f"with the best weights, of step {best.step:,}"

    def _evaluate(self, command: m.Evaluate) -> None:
        if self.training.task.data.val is None:
            raise CommandRejected("there is no validation data: give val_data, or --val-split")
        # The answer comes when the metrics are there.
        self.evaluate()
        self._applied(command)

    def _save(self, command: m.Save) -> None:
        self.checkpoint()
        self._applied(command)


def _full_name(knob: str) -> str:
    return knob if knob.startswith("dropout.") else options.knob(knob).name
