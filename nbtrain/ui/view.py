"""What the panel shows besides curves and log: a history in words and small values.

The keys are those of docs/architecture.md, "Seam: panel and browser". A key is built again
only when what it is made of has changed, so a frame costs the same after a million steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from nbtrain import messages as m
from nbtrain import options, wire
from nbtrain.store.actions import Action
from nbtrain.store.history import History
from nbtrain.ui.charts import Chart

MOST_ACTIONS = 200
MOST_ANSWERS = 50
MOST_LAYERS = 40
REPLACES = "replaces:"
"""Topic of the notice that this run took the place of another; the run's id follows."""
QUEUE = "queue"
"""Topic of the notice that this run waits for one that is paused."""


class View:
    """The keys of the protocol's ``view``, and which of them changed.

    Args:
        history: the run's history, which another thread may be writing.
        live: whether a run takes commands.
    """

    def __init__(self, history: History, live: bool) -> None:
        self.history = history
        self.live = live
        self.charts: tuple[Chart, ...] = ()
        self.refused: tuple[m.Rejected, ...] = ()
        """Answers to commands that were refused before they reached the run."""
        self._made: dict[str, tuple[Any, Any]] = {}

    def whole(self) -> dict[str, Any]:
        """Every key."""
        self.changes()
        return {key: value for key, (_, value) in self._made.items()}

    def changes(self) -> dict[str, Any]:
        """The keys whose content changed since the last call."""
        changed: dict[str, Any] = {}
        for key, (token, build) in self._parts().items():
            made = self._made.get(key)
            if made is not None and made[0] == token:
                continue
            value = wire.plain(build())
            if made is None or made[1] != value:
                changed[key] = value
            self._made[key] = (token, value)
        return changed

    def _parts(self) -> dict[str, tuple[Any, Callable[[], Any]]]:
        """For each key what it is made of, to compare, and how it is made."""
        h = self.history
        actions, live = h.actions, self.live
        state = (h.state, h.outcome, h.reason, h.error, h.traceback, h.restored, _behind(h))
        return {
            "run": ((h.id, h.name, h.number), self._run),
            "state": (state, self._state),
            # Never equal, because it changes with every step.
            "progress": (object(), lambda: progress(h)),
            "charts": (self.charts, self._charts),
            "knobs": ((h.layers, h.unsupported, h.metrics, h.names), lambda: knobs(h)),
            "values": ((h.id, h.knobs, actions), lambda: values(h)),
            "actions": (actions, self._actions),
            "answers": ((h.answers.latest(1), len(h.answers), self.refused), self._answers),
            "best": (h.best, self._best),
            "horizon": ((h.state, h.knobs, _validations(h)), lambda: horizon(h)),
            "notices": (h.notices, self._notices),
            "notes": ((h.notes, h.names, self.charts), self._notes),
            "code": (h.id, self._code),
            "readonly": (live, lambda: not live),
        }

    def _run(self) -> dict[str, Any]:
        h = self.history
        return {"id": h.id, "name": h.name, "number": h.number}

    def _state(self) -> dict[str, Any]:
        names = ("state", "outcome", "reason", "error", "traceback")
        body = {name: getattr(self.history, name) for name in names}
        # No model of this kernel holds those weights, and no name leads to the best ones.
        restored = self.history.restored if self.live else None
        return body | {"restored": restored, "behind": _behind(self.history)}

    def _charts(self) -> list[dict[str, Any]]:
        return [
            {
                "id": chart.id,
                "title": chart.title,
                "series": [
                    {"name": s.name, "label": s.label, "role": s.role} for s in chart.series
                ],
            }
            for chart in self.charts
        ]

    def _actions(self) -> list[dict[str, Any]]:
        by_epoch = unit(self.history) == "epoch"
        return [
            {
                "id": action.id,
                "step": action.step,
                "epoch": round(action.epoch, 4) if by_epoch else None,
                "action": action.action,
                "knob": action.knob,
                "label": label(action),
                "sender": action.sender,
                "undone": action.undone,
            }
            for action in self.history.actions[-MOST_ACTIONS:]
        ]

    def _answers(self) -> list[dict[str, Any]]:
        answers = (*self.history.answers.latest(MOST_ANSWERS), *self.refused)
        return [_answer(answer) for answer in answers[-MOST_ANSWERS:]]

    def _best(self) -> dict[str, Any] | None:
        best = self.history.best
        if best is None:
            return None
        return {
            "step": best.step,
            "epoch": round(best.epoch, 4) if unit(self.history) == "epoch" else None,
            "metrics": dict(best.metrics),
            "monitor": self.history.judged_by,
        }

    def _notices(self) -> list[dict[str, Any]]:
        return [
            {
                "topic": n.topic,
                "step": n.step,
                "level": n.level,
                "text": n.text,
                "button": _button(n),
            }
            for n in self.history.notices.values()
            if n.text
        ]

    def _notes(self) -> list[str]:
        drawn = {series.name for chart in self.charts for series in chart.series} | {"lr"}
        more = sum(name not in drawn for name in self.history.names) if self.charts else 0
        said = f"{more} more series are not drawn; {self.history.name}.history holds them."
        return [*self.history.notes, *([said] if more else [])]

    def _code(self) -> dict[str, Any] | None:
        spec = self.history.spec
        if spec is None:
            return None
        return {
            "source": spec.source,
            "context": list(spec.context),
            "options": {name: spec.options.get(name) for name in spec.given},
        }


def _behind(history: History) -> str | None:
    """The run that ``history``'s waits for; None where a notice says so, and what to do."""
    return None if QUEUE in history.notices else history.behind


def unit(history: History) -> Literal["epoch", "step"]:
    """What the curves' x counts: epochs where an epoch's length is known, else steps."""
    return "epoch" if history.epoch_samples else "step"


def progress(history: History) -> dict[str, Any]:
    """How far the run is; ``seconds_left`` while it runs and its end is known."""
    h = history
    step, total = h.step, h.total_steps
    # Before the run starts its plan is what was asked for.
    epochs = h.epochs if h.knobs else requested(h).get("epochs")
    fraction = seconds_left = None
    if total:
        fraction = min(step / total, 1.0)
    elif h.epochs:
        fraction = min(h.epoch / h.epochs, 1.0)
    rate = h.steps_per_second
    if total and rate and h.state == "running":
        seconds_left = max(total - step, 0) / rate
    return {
        "step": step,
        "total_steps": total,
        "epoch": _rounded(h.epoch, 4),
        "epochs": epochs,
        "fraction": _rounded(fraction, 4),
        "steps_per_second": _rounded(rate, 1),
        "seconds": _rounded(h.seconds, 1),
        "seconds_left": _rounded(seconds_left, 1),
        "device": h.device or None,
        "device_name": h.device_name or None,
        "memory": h.gauges.get("memory"),
    }


def knobs(history: History) -> list[dict[str, Any]]:
    """Every knob's declaration, each dropout layer's after that of all layers."""
    declared = []
    for knob in options.KNOBS:
        reason = history.unsupported.get(knob.name)
        body = _declaration(knob, reason)
        if knob.name == "early_stop":
            known = dict.fromkeys((*history.metrics, *history.names))
            body["words"] = [name for name in known if name.startswith("val_")]
        declared.append(body)
        if knob.name == "dropout":
            for layer in history.layers[:MOST_LAYERS]:
                name = f"dropout.{layer}"
                own = _declaration(knob, history.unsupported.get(name, reason))
                declared.append(
                    own
                    | {"name": name, "label": layer, "layer": layer, "kind": "float", "words": ()}
                    | {"doc": f"Rate of the dropout layer {layer}."}
                )
    return declared


def _declaration(knob: options.Knob, reason: str | None) -> dict[str, Any]:
    names = ("name", "label", "group", "kind", "unit", "scale", "slider", "step", "low", "high",
             "words", "can_be_off", "off", "doc", "range")  # fmt: skip
    return {name: getattr(knob, name) for name in names} | {"reason": reason, "layer": None}


def values(history: History) -> dict[str, Any]:
    """Every knob's value, and the action that set it last."""
    actions = history.actions
    last = {action.knob: at for at, action in enumerate(actions) if action.knob}
    current: dict[str, Any] = dict(history.knobs) or requested(history)
    rates = current.get("dropout")
    for layer in history.layers[:MOST_LAYERS]:
        name = f"dropout.{layer}"
        if name not in current:
            current[name] = rates.get(layer) if isinstance(rates, dict) else rates
    shown = {}
    for name, value in current.items():
        at = max((last[knob] for knob in _family(name, last)), default=None)
        action = None if at is None else actions[at]
        shown[name] = {
            "value": value,
            "old": _before(action, name, value) if action else None,
            # What was set: under a scheduler the value has moved on since.
            "new": action.new if action and action.knob == name else value,
            "step": action.step if action else None,
            "note": action.note if action else None,
            "command": action.id if action else None,
        }
    return shown


def _family(name: str, knobs: Iterable[str]) -> list[str]:
    """Those of ``knobs`` that set ``name``: a layer's rate is set with the rate of all, too."""
    return [
        knob
        for knob in knobs
        if knob == name or name.startswith(f"{knob}.") or knob.startswith(f"{name}.")
    ]


def _before(action: Action, name: str, value: m.Value) -> m.Value:
    """The value of ``name`` that ``action`` replaced; ``value`` where it does not tell."""
    if action.knob == name:
        return action.old
    if not name.startswith(f"{action.knob}."):
        return value
    return action.old.get(name.partition(".")[2]) if isinstance(action.old, dict) else action.old


def requested(history: History) -> dict[str, Any]:
    """The knobs' values as the cell asked for them; what it left open is not among them."""
    if history.spec is None:
        return {}
    asked = {knob.name: history.spec.options.get(knob.name) for knob in options.KNOBS}
    return {name: value for name, value in asked.items() if value is not None}


def horizon(history: History) -> dict[str, float] | None:
    """From the best validation to the one where early stopping acts if none is better.

    In epochs; None while early stopping is off or nothing was validated yet.
    """
    h = history
    watched, patience = h.knobs.get("early_stop"), h.knobs.get("patience")
    if h.state not in ("running", "paused") or unit(h) == "step" or not _validations(h):
        return None
    assert isinstance(watched, str)
    if not isinstance(patience, int) or "patience" in h.unsupported:
        return None
    curve = h.curve(watched)
    mode = h.knobs.get("early_mode")  # not in journals of before there was one
    better = mode if mode in ("min", "max") else h.metrics.get(watched)
    sign = -1.0 if better == "max" else 1.0
    delta = h.knobs.get("min_delta")
    last = _last_improvement(sign * curve.values, delta if isinstance(delta, float) else 0.0)
    count, now = len(curve.values), float(curve.epochs[-1])
    left = max(patience - (count - 1 - last), 0)
    return {"from": round(float(curve.epochs[last]), 4), "to": round(now + left * now / count, 4)}


def _validations(history: History) -> int:
    """How often the metric that early stopping watches was measured."""
    watched = history.knobs.get("early_stop")
    if isinstance(watched, str) and watched.startswith("val_") and watched in history:
        return len(history[watched])
    return 0


def _last_improvement(losses: np.ndarray[Any, Any], delta: float) -> int:
    """The index of the last value that is smaller than the best before it by over ``delta``."""
    last, best = 0, math.inf
    for index, value in enumerate(losses.tolist()):
        if math.isfinite(value) and best - value > delta:
            last, best = index, value
    return last


def label(action: Action) -> str:
    """An action in a few characters, as it stands beside its mark on the curves."""
    if action.knob is None:
        return {"onestep": "one step"}.get(action.action.lower(), action.action.lower())
    text = f"{action.knob} {_change(action.knob, action.new)}"
    return f"undo: {text}" if action.action == "Undo" else text


def _change(name: str, value: m.Value) -> str:
    knob = options.knob(name)
    rates = list(value.values()) if isinstance(value, dict) else [value]
    if knob.can_be_off and all(rate is None or rate == knob.off for rate in rates):
        return "off"
    if value == "on":
        return "on"
    if len(set(rates)) != 1:
        return "per layer"
    return f"→ {short(rates[0])}"


def short(value: Any) -> str:
    """A value in few characters: 1.0e-3, 0.25, 64, full."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "off" if value is None else str(value)
    if value and not 0.01 <= abs(value) < 100_000:
        mantissa, exponent = f"{value:.1e}".split("e") if math.isfinite(value) else (value, 0)
        return f"{mantissa}e{int(exponent)}" if math.isfinite(value) else str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _answer(answer: m.Applied | m.Rejected) -> dict[str, Any]:
    ok = isinstance(answer, m.Applied)
    return {
        "id": answer.command,
        "ok": ok,
        "step": answer.step,
        "reason": answer.reason if isinstance(answer, m.Rejected) else None,
        "note": answer.note if isinstance(answer, m.Applied) else None,
    }


def _button(notice: m.Noticed) -> dict[str, Any] | None:
    if notice.topic.startswith(REPLACES):
        command = wire.to_json(m.Resume(sender="panel", share=True))
        # Each click is a command of its own, so the browser gives the id.
        del command["id"]
        return {
            "label": "Keep both",
            "run": notice.topic.removeprefix(REPLACES),
            "command": command,
        }
    return None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)
