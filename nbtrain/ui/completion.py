"""Completion of ``%%train``, ``%train`` and ``%runs`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from IPython.core.completer import SimpleCompletion, context_matcher

from nbtrain import options
from nbtrain.ui.commands import VERBS, live

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

# Metrics that most runs have, for options that name one.
_METRICS = ("val_loss", "val_accuracy", "loss", "accuracy")
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


@context_matcher()  # type: ignore[untyped-decorator]
def complete(context: CompletionContext) -> SimpleMatcherResult:
    """What may stand at the cursor of one of our lines; nothing anywhere else."""
    line = context.text_until_cursor.lstrip()
    above = context.full_text.split("\n")[: context.cursor_line]
    if re.match(r"%%train\s", line) and not "".join(above).strip():
        words = _option_words(line)
    elif re.match(r"%train\s", line):
        words = _command_words(line)
    else:
        return {"completions": []}
    fragment = re.split(r"[\s=]", line)[-1]
    found = [(word, kind) for word, kind in words if word.startswith(fragment)]
    # The token is IPython's own idea of the word under the cursor; what we replace must be
    # an end of it, and it may have cut our word at a sign it takes for an operator.
    token = context.token
    if not fragment.endswith(token):
        token = fragment
    cut = len(fragment) - len(token)
    return {
        "completions": [SimpleCompletion(word[cut:], type=kind) for word, kind in found],
        "matched_fragment": token,
        "suppress": bool(found),
        "ordered": True,
    }


# ── %%train ──────────────────────────────────────────────────────────────────────────────


def _option_words(line: str) -> list[tuple[str, str]]:
    words = line.split()
    if not line[-1].isspace() and "=" not in words[-1]:
        words.pop()
    option = _named(words[-1])
    if option is not None and option.kind != "flag":
        return [(value, "value") for value in _values(option)]
    given = {name for word in words if (name := _name(word)) is not None}
    flags = []
    for option in options.OPTIONS.values():
        if option.name in given:
            continue
        flags.append((option.flag, "option"))
        if option.kind == "flag":
            flags.append((f"--no-{option.flag[2:]}", "option"))
    if len(words) == 1:
        names = dict.fromkeys(run.name for run in live().values())
        return [*((name, "run") for name in names), *flags]
    return [*flags, ("--help", "option")]


def _name(word: str) -> str | None:
    option = _named(word)
    return None if option is None else option.name


def _named(word: str) -> options.Option | None:
    """The option that ``word`` is the flag of, with or without ``=value``."""
    if not word.startswith("--"):
        return None
    known = {o.flag: o for o in options.OPTIONS.values()}
    for option in options.OPTIONS.values():
        known.update(("--" + alias.replace("_", "-"), option) for alias in option.aliases)
    flag = word.partition("=")[0].replace("_", "-")
    return known.get(flag) or known.get("--" + flag.removeprefix("--no-"))


def _values(option: options.Option) -> Iterable[str]:
    if option.name == "early_stop":
        yield from _METRICS
    if option.name == "device":
        yield from _DEVICES
    if option.kind == "flag":
        yield from ("true", "false")
    yield from option.words
    if option.can_be_off:
        yield options.OFF


# ── %train ───────────────────────────────────────────────────────────────────────────────


def _command_words(line: str) -> list[tuple[str, str]]:
    words = line.split()[1:]
    value_of = None
    if words and not line[-1].isspace():
        name, equals, _ = words.pop().partition("=")
        value_of = name if equals else None
    if not words:
        return [(verb, "command") for verb in VERBS]
    if words[0] not in VERBS:
        return []
    if words[0] != "set":
        return [(name, "run") for name in live()] if len(words) == 1 else []
    known = live()
    if value_of == "schedule":
        return [("rebase", "value"), ("hold", "value")]
    if value_of is not None:
        known_knobs = {knob.name: knob for knob in options.KNOBS}
        knob = known_knobs.get("dropout" if value_of.startswith("dropout.") else value_of)
        return [] if knob is None else [(value, "value") for value in _values(knob)]
    # A name that several live runs share means the latest, which stands first.
    named = (run for ref, run in known.items() if len(words) == 1 or words[1] in (ref, run.name))
    run = next(named, None)
    layers = () if run is None else run.history.layers
    names = [*(f"{knob.name}=" for knob in options.KNOBS), "schedule="]
    names += [f"dropout.{layer}=" for layer in layers]
    names = [name for name in names if not any(word.startswith(name) for word in words)]
    return [*((name, "run") for name in known if len(words) == 1), *((n, "knob") for n in names)]
