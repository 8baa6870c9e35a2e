"""``%train COMMAND NAME``: the same commands as the panel's, typed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbtrain import messages as m
from nbtrain import options, spec
from nbtrain.errors import InvalidValue, UnknownName, UsageError
from nbtrain.ui import body, past

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbtrain.runs.run import Run

VERBS = {
    "pause": "wait after the current step",
    "resume": "go on",
    "step": "take one step, or as many as you say, then pause",
    "stop": "end the run as early stopping does; best or last says which weights stay",
    "early-stop": "end the run; the best weights come back",
    "set": "set knobs, as in %train set digits lr=1e-4 dropout=off schedule=hold",
    "evaluate": "compute the validation metrics now",
    "save": "write a checkpoint now",
    "undo": "put back the value that the last action replaced",
    "show": "show the panel again",
    "wait": "wait until the run ends; interrupting the wait leaves it alive",
}
"""What can be asked of a run, and what each word does."""


def live() -> dict[str, Run]:
    """The live runs, latest first, by name: by ``name@2`` where several share one.

    Imports nothing: before anything trains there is none, and training imports torch.
    """
    registry: Any = sys.modules.get("nbtrain.runs.registry")
    found: list[Run] = [] if registry is None else registry.live()[::-1]
    names = [run.name for run in found]
    return {
        run.name if names.count(run.name) == 1 else f"{run.name}@{run.number}": run for run in found
    }


def obey(line: str, shell: InteractiveShell) -> str:
    """Do what ``line`` says and tell what came of it.

    Raises `UsageError` naming the word that is wrong, or `CommandRejected` with the run's
    own reason.
    """
    words = spec.split(line)
    if not words or words[0][0] in ("help", "-h", "--help"):
        return help_text()
    verb = words[0][0].replace("_", "-")
    if verb not in VERBS:
        second = words[1][0].replace("_", "-") if len(words) > 1 else ""
        if second in VERBS and _in_memory(words[0][0]) is not None:
            rest = [second, words[0][0], *(word for word, _ in words[2:])]
            raise UsageError(f"The command comes first. Did you mean %train {' '.join(rest)}?")
        hint = f"To start a run, write %%train {words[0][0]}, with two %, at the top of its cell."
        near = UnknownName("command", verb, VERBS).nearest
        raise UnknownName("command", words[0][0], VERBS, "" if near else hint)
    named = [word for word, _ in words[1:]]
    if verb == "show" and len(named) == 1 and _show_past(named[0]):
        return ""
    run, rest = _run_named(named, verb)
    weights: m.Restore | None = None
    if verb == "stop" and rest and rest[0] in ("best", "last"):
        weights = "best" if rest[0] == "best" else "last"
        rest = rest[1:]
    if rest and verb not in ("set", "step"):
        raise UsageError(f"{rest[0]!r} is one word too many: %train {verb} takes a run's name.")
    if verb == "set":
        return "\n".join(_set(run, rest, shell))
    if verb == "step":
        return str(run.step(*_counts(rest)))
    if verb == "show":
        from nbtrain.runs import presenter

        presenter.current().show(run)
        return ""
    if verb == "wait":
        from nbtrain.ui import waiting

        waiting.wait(run)
        return ""
    if verb == "evaluate":
        metrics = run.evaluate()
        if not isinstance(metrics, dict):
            return str(metrics)
        return f"{run.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    asked: dict[str, Callable[[], object]] = {
        "pause": run.pause,
        "resume": run.resume,
        "stop": lambda: run.stop(weights),
        "early-stop": lambda: run.stop(restore="best"),
        "save": run.save,
        "undo": run.undo,
    }
    return str(asked[verb]())


def help_text() -> str:
    """What ``%train`` alone prints."""
    lines = ["%train COMMAND NAME", ""]
    lines += [f"  {verb:<11} {meaning}" for verb, meaning in VERBS.items()]
    lines += ["", "NAME may be left out while one run is live.", ""]
    found = live()
    lines += [f"  {ref} is {run.state} at step {run.history.step}" for ref, run in found.items()]
    if not found:
        lines += ["No run is live. %%train NAME at the top of a cell starts one; %runs lists all."]
    return "\n".join(lines)


def _in_memory(ref: str) -> Run | None:
    registry: Any = sys.modules.get("nbtrain.runs.registry")
    found: Run | None = None if registry is None else registry.find(ref)
    return found


def _show_past(ref: str) -> bool:
    """Show the run that only the store knows. False if there is none of this name."""
    record = past.find(ref) if _in_memory(ref) is None else None
    if record is None:
        return False
    from nbtrain.runs import presenter

    presenter.current().show_past(past.history_of(record))
    return True


def _run_named(words: list[str], verb: str) -> tuple[Run, list[str]]:
    """The run that ``words`` begin with, or the only live one; and what follows."""
    found = live()
    word = words[0] if words else ""
    if verb == "stop" and word in ("best", "last") and _in_memory(word) is None:
        word = ""  # which weights, not which run
    if word and "=" not in word and not word.isdigit():
        name, rest = words[0], words[1:]
        run = _in_memory(name)
        if run is None:
            record = past.find(name)
            if record is not None:
                raise past.not_here(record)
            hint = "" if found else f"Start it with %%train {name} at the top of a cell."
            raise UnknownName("run", name, found, hint)
        return run, rest
    if len(found) == 1:
        return next(iter(found.values())), words
    if not found:
        raise UsageError("No run is live. %%train NAME at the top of a cell starts one.")
    raise UsageError(
        f"Which run? {', '.join(found)} are live: write %train {verb} {next(iter(found))}."
    )


def _set(run: Run, words: list[str], shell: InteractiveShell) -> list[str]:
    """Set each ``knob=value`` of ``words``, once all of them are known to be right."""
    knobs: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(
                f"{word!r} is not a knob with a value. Write %train set {run.name} lr=1e-4."
            )
        if name == "schedule":
            more[name] = text
            continue
        knob = options.knob(name)
        key = name if name.startswith("dropout.") else knob.name
        if key in knobs:
            raise InvalidValue(f"{key} is given twice. Leave one of them out.")
        value: Any = text
        if text[:1] == "{" and text[-1:] == "}":
            value = body.evaluate(shell, text[1:-1].strip())
        knobs[key] = knob.check(value)
    if not knobs:
        raise UsageError(f"Set what? Write %train set {run.name} lr=1e-4.")
    return [str(run.set(**{name: value}, **more)) for name, value in knobs.items()]


def _counts(words: list[str]) -> list[Any]:
    """The number of steps, if there is one; what is no number is refused with the rest."""
    return [int(word) if word.isdecimal() else word for word in [" ".join(words)] if word]
