"""The loop, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import NOT_YET
from nbtrain.engine import checkpoint, nonfinite
from nbtrain.engine.commands import Commands
from nbtrain.engine.control import GO, PATIENCE, Control, Decision
from nbtrain.engine.early import Weights
from nbtrain.engine.regularize import add_penalties, clip
from nbtrain.engine.training import Training, close
from nbtrain.engine.update import update_of
from nbtrain.engine.validate import validate
from nbtrain.errors import CommandRejected
from nbtrain.messages import Noticed

_TRIAL_STEPS = 256
_LONG_EPOCH = 8
_MOST_SKIPPED = 50
"""Updates in a row that fp16's loss scaling may skip, while it looks for its scale."""


class Loop:
    """Trains a `Training` until its plan is done or a command ends it.

    The world is reached through ``control`` alone: after each step it decides which commands
    act, and takes the events away. ``save`` writes checkpoints; None keeps none.
    """

    def __init__(
        self, training: Training, control: Control, save: checkpoint.Writer | None = None
    ) -> None:
        self.training = training
        self.control = control
        self.save = save
        self.commands = Commands(training, self.emit_block, control, self.evaluate, self.checkpoint)
        self._paced = 0.0
        self._not_measured: str | None = None
        self._validates_badly = False
        self._buffers = nonfinite.Buffers(training.task.model)

    def run(self) -> None:
        """Train to the end. What ended it is in ``training.request``.

        Raises what the user's own code raises.
        """
        try:
            self._run()
        except Exception as error:
            explained = self.training.trained.explained(error)
            if explained is error:
                raise
            raise explained from error

    def _run(self) -> None:
        t, control = self.training, self.control
        p, task = t.progress, t.task
        optimizer, parameters = t.optimizer, t.parameters
        values, schedule, recorder = t.knobs.values, t.schedule, t.recorder
        draws, finite, scaler, buffers = t.draws, t.finite, t.scaler, self._buffers
        update, trained = update_of(optimizer), t.trained
        trial = first = p.step
        t.flags.hold()
        trained.gather()
        t.tick()
        self.look_for_monitor()
        self.point(control.decide(p.step))
        while t.request.stop is None and not t.complete:
            t.rebatch = False
            # The first step of an epoch finds out whether something but nn.Dropout draws, at
            # twice the cost of a small step: so not of every epoch, where epochs are short.
            steps = task.data.train.steps(t.batch_size)
            if p.step >= trial or steps is None or steps >= _LONG_EPOCH:
                late = p.step + 1 if p.step > first and not draws.unsure else None
                draws.unsure = False
                mode: Any = draws.trial(late)
                trial = p.step + _TRIAL_STEPS
            else:
                mode = draws.mode()
            batches = task.data.train.epoch(
                p.epoch, batch_size=t.batch_size, start=p.position, patience=PATIENCE
            )
            for batch, size in batches:
                if batch is NOT_YET:  # only pausing and stopping act before it is there
                    if self.wait():
                        continue
                    break
                with mode:
                    loss, outputs, targets, extras = t.compute(batch)
                    if scaler is None:
                        loss.backward()
                    else:
                        scaler.scale(loss).backward()
                        scaler.unscale_(optimizer)

                if trained.look():
                    update = update_of(optimizer)
                gradients = [w.grad for w in parameters if w.grad is not None]
                if scaler is not None:
                    t.overflows.check(gradients)
                if values["l1"] or values["l2"]:
                    add_penalties(parameters, values["l1"], values["l2"])
                if values["clip_grad_norm"] is not None:
                    clip(parameters, values["clip_grad_norm"])

                # On a CPU a number costs nothing to look at. On an accelerator the flag skips
                # the update there, and is looked at once a frame.
                value: float | Tensor = loss.item() if t.on_cpu else loss.detach()
                bad = False
                if scaler is not None:
                    if not t.on_cpu:
                        finite.check_loss(loss.detach())
                        finite.count()
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    finite.check(gradients)
                    if t.by_flag:
                        finite.count()
                        update()
                    else:
                        bad = finite.found.item() != 0
                        if not bad and (not t.on_cpu or math.isfinite(value)):
                            update()
                trained.clear()
                if draws.news:
                    self.control.emit(Noticed(topic="draws", text=draws.told(), **t.place))
                if t.on_cpu and not math.isfinite(value):
                    bad = True

                p.step += 1
                p.position += size
                p.samples += size
                if not bad or scaler is not None:  # those it skipped are taken off at a frame
                    p.updates += 1
                lr = schedule.lr if schedule.constant else _advance(t)
                recorder.add(value, p.samples, lr, outputs, targets, extras)
                if bad:
                    self.not_finite(batch, p.position - size)
                elif t.on_cpu and buffers:
                    buffers.keep()

                decision = control.decide(p.step)
                now = time.perf_counter()
                waiting = decision is not GO or self.commands.waiting
                busy = waiting or t.request.steps or values["pace"] or bad
                if busy or now > recorder.due:
                    self.point(decision)
                if t.rebatch or t.request.stop is not None or p.step == t.total_steps:
                    break
                mode = draws.mode()
            else:
                if p.position == 0:
                    raise t.empty_epoch()
                self.end_epoch()
                continue
            close(batches)
            if t.request.stop is None and task.data.train.samples == p.position:
                self.end_epoch()
            elif t.request.stop is None and t.complete:  # the plan ended inside an epoch
                self.evaluate()
                self.attend()
        self.emit_block()
        self.commands.refuse("the run ended before its next step")
        t.hold_clock()

    # ── between two steps ─────────────────────────────────────────────────────────────

    def point(self, decision: Decision) -> None:
        """The control point: obey, keep the pace, wait while paused, send a frame."""
        t = self.training
        if t.request.steps:
            t.request.steps -= 1
            if t.request.steps == 0:
                self.commands.pause()
        self.attend(decision)

    def wait(self) -> bool:
        """The control point while the next batch is not there. Returns whether to go on
        waiting for it."""
        t = self.training
        if time.perf_counter() > t.recorder.due:
            self.emit_block()
            if t.request.paused:  # the device's flag was up
                self.attend()
        return self.commands.between_batches() and not t.rebatch

    def attend(self, decision: Decision = GO) -> None:
        """Obey what waits, and return when the next step may begin."""
        t = self.training
        recorder = t.recorder
        while True:
            if decision.commands or self.commands.waiting:
                self.emit_block()
                self.commands.obey(decision.commands)
            if t.request.stop is not None:
                return
            if t.request.paused:
                t.hold_clock()
                decision = self.control.decide(t.progress.step, None)
                t.tick()
                continue
            wait = self._until_next()
            if time.perf_counter() > recorder.due or wait > 0.05:
                self.emit_block()
                if t.request.paused:  # the device's flag was up
                    continue
            if wait <= 0:
                return
            decision = self.control.decide(t.progress.step, wait)

    def _until_next(self) -> float:
        """Seconds until the next step may begin, at the pace that was asked for."""
        pace: float | None = self.training.knobs.values["pace"]
        now = time.perf_counter()
        if not pace:
            self._paced = now
            return 0.0
        due = self._paced + 1.0 / pace
        if now >= due:
            # A step that was late does not make all the next ones hurry.
            self._paced = max(due, now - 1.0 / pace)
            return 0.0
        return due - now

    def emit_block(self) -> None:
        """Send the steps since the last frame, and look at the device's flag."""
        t = self.training
        p = t.progress
        before = p.seconds
        if t.clock is not None:
            t.tick()
        if t.scaler is not None and len(t.recorder):
            self._look_at_scaler()
        elif t.by_flag and len(t.recorder):
            if t.finite.found.item() != 0:
                self._found_by_flag()
            t.finite.reset()
        block = t.recorder.block(
            p.step, p.updates, p.epoch, p.branch, (before, p.seconds), t.total_steps, t.gauges()
        )
        if block is not None:
            self.control.emit(block)
            self._buffers.keep()
        if text := t.flags.changed(p.step):
            self.control.emit(Noticed(topic="flags", text=text, level="warning", **t.place))

    # ── at the end of an epoch ────────────────────────────────────────────────────────

    def end_epoch(self) -> None:
        """Validate, look for the best weights, stop early, save."""
        t = self.training
        judged = t.task.data.val is not None or t.early.active or not t.schedule.constant
        # Where nobody waits for the epoch's figures, its steps leave with the next frame; where
        # an epoch's length is unknown, a block must tell in which one its steps were.
        if judged or t.task.data.train.samples is None:
            self.emit_block()
        t.progress.epoch += 1
        t.progress.position = 0
        metrics = self.evaluate(end_of_epoch=True) if judged else {}
        t.recorder.begin_epoch()
        for metric in t.task.metrics.values():  # what gathers, gathers over one epoch
            if callable(reset := getattr(metric, "reset", None)):
                reset()
        t.schedule.after_epoch(metrics.get(t.early.monitor))
        t.knobs.values["lr"] = t.schedule.lr
        if t.request.stop is None and t.early.ended:
            number = math.isfinite(metrics.get(t.early.monitor, math.nan))
            t.request.stop = (
                f"{t.early.monitor} {'' if number else 'is not a finite number, so it '}did not "
                f"improve for {t.early.patience} validation{'s' if t.early.patience > 1 else ''}"
            )
            t.request.outcome = "early-stopped"
            t.request.restore = "best" if t.task.options["restore_best"] else "last"
        every = t.task.options["checkpoint_every"]
        if every is not None and t.progress.epoch % every == 0 and self.save is not None:
            self.save.interval(t, self.control.emit)
        if self.commands.waiting or t.request.paused:
            self.attend()

    def evaluate(self, end_of_epoch: bool = False) -> dict[str, float]:
        """Measure the validation data and send the metrics."""
        t = self.training
        self.emit_block()
        means = t.recorder.epoch_means() if end_of_epoch else {}
        metrics: dict[str, float] = {}
        if t.task.data.val is not None:
            measured = validate(t, self.commands.between_batches)
            if measured is None:  # stopped in the middle
                return {}
            metrics = measured
            self._look_at_validation(metrics)
        judged = metrics if t.early.monitor.startswith("val_") else means
        if not metrics and not t.early.active:
            judged = {}  # without validation there is no best, unless somebody watches for it
        best = False
        if end_of_epoch or t.early.monitor.startswith("val_"):
            if judged and t.early.active and t.early.monitor not in judged:
                self.no_monitor({**means, **metrics})
            elif judged:
                best = t.early.update(judged, counts=end_of_epoch)
        if best:
            t.best = Weights(t.task.model, t.progress.step)
            t.best_metrics = {**means, **metrics}
        if metrics or best:
            self.control.emit(t.validated(metrics, best))
        return {**means, **metrics}

    def _look_at_validation(self, metrics: dict[str, float]) -> None:
        """Tell where validation gives no number, when it begins to."""
        t = self.training
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad and not self._validates_badly:
            text = nonfinite.explain_validation(t, metrics, self.commands.between_batches)
            if t.early.active and t.early.monitor in bad:
                text += " It counts as no improvement."
            self.control.emit(Noticed(topic="validation", text=text, level="warning", **t.place))
        self._validates_badly = bool(bad)

    def look_for_monitor(self) -> None:
        """Find out before the first step whether the user's own step measures what early
        stopping watches, by one batch of the validation data."""
        t = self.training
        watched = t.early.monitor
        if not t.early.active or watched in t.measured or not watched.startswith("val_"):
            return
        names = validate(t, self.commands.between_batches, most=1)
        if names is not None and watched not in names:
            self.no_monitor(names)

    def no_monitor(self, measured: Iterable[str]) -> None:
        """Nobody measures what early stopping watches: say so once, and pause or end."""
        t = self.training
        if self._not_measured == t.early.monitor:
            return
        self._not_measured = t.early.monitor
        t.will_measure(measured)
        error = t.no_such_monitor(measured)
        if not t.task.attended:
            raise error
        text = (
            f"{error} Nothing stops the run early unless early_stop is set to what is measured: "
            f"{', '.join(measured)}. Set it or not, then resume."
        )
        self.control.emit(Noticed(topic="monitor", text=text, level="warning", **t.place))
        self.commands.pause()

    def checkpoint(self) -> None:
        """Write a checkpoint because someone asked. Raises `CommandRejected`."""
        if self.save is None:
            raise CommandRejected("the run lives in memory; run.save(path) writes its weights")
        if not self.save.asked(self.training, self.control.emit):
            raise CommandRejected("the checkpoint could not be written; the notice says why")

    # ── what goes wrong ───────────────────────────────────────────────────────────────

    def not_finite(self, batch: Any, start: int) -> None:
        """The update was skipped: say where it began, and pause or end the run."""
        t = self.training
        self._buffers.restore()
        t.finite.reset()
        found = nonfinite.explain(t, batch, start)
        self.emit_block()
        self.commands.not_finite(*found)

    def _found_by_flag(self) -> None:
        """A step since the last frame was not finite, and no update was made since."""
        t = self.training
        good = int(t.finite.good.item())
        self._buffers.restore()
        t.finite.reset()
        t.progress.updates -= len(t.recorder) - good
        self.commands.not_finite(*nonfinite.explain(t, *t.batch_of(good)))

    def _look_at_scaler(self) -> None:
        """Count what fp16's loss scaling skipped, and find out whether it still helps."""
        t = self.training
        over, finite = t.overflows, t.finite
        read = torch.stack([over.skipped, over.row, finite.found, finite.good])
        skipped, row, bad, good = map(int, read.tolist())
        over.skipped.zero_()
        finite.reset()
        t.progress.updates -= skipped
        if bad:
            self._buffers.restore()
            self.commands.not_finite(*nonfinite.explain(t, *t.batch_of(good)))
        elif row >= _MOST_SKIPPED:
            over.row.zero_()
            self.commands.not_finite(
                f"The last {row} updates were skipped, because their gradients are not finite in "
                "fp16, at a smaller and smaller loss scale. Take --precision bf16 or fp32, or "
                "lower the learning rate."
            )


def _advance(t: Training) -> float:
    """The learning rate this step was taken with; then the schedule moves on."""
    lr = t.schedule.lr
    t.schedule.after_step(t.progress.step)
    t.knobs.values["lr"] = t.schedule.lr
    return lr
