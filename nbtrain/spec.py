"""From the text of a cell to the spec of a run.

A `Spec` is all it takes to make a run again. The functions here are pure: they read text
and return values, and know nothing of IPython or PyTorch.
"""

from __future__ import annotations

import builtins
import keyword
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from nbtrain import options
from nbtrain.errors import CorruptRecord, InvalidValue, UnknownName, UsageError, nearest
from nbtrain.names import names_of, parsed

_MAX_NAME: Final = 64


CELL_NAMES = (
    "model",
    "data",
    "train_data",
    "val_data",
    "loss",
    "metrics",
    "optimizer",
    "scheduler",
    "training_step",
    "validation_step",
)
"""The names a cell may leave for us, none of which can name a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All it takes to make a run again; equal specs make equal runs.

    ``source`` is the cell's body and ``context`` the earlier cells that bound the names it
    reads, oldest first. ``options`` holds the value of every option, ``given`` the names of
    those the user typed. ``data`` and ``weights`` are fingerprints of the training data and
    of the initial weights. ``environment`` holds what bit-equality hangs on: versions,
    processor, thread count, default dtype, deterministic flags.
    """

    name: str
    options: dict[str, Any]
    given: tuple[str, ...] = ()
    source: str = ""
    context: tuple[str, ...] = ()
    data: str = ""
    weights: str = ""
    environment: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The spec as the journal's first line holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Spec:
        """The spec that `to_json` wrote; what a later version added is left out.

        Raises `CorruptRecord`, naming the field, if the types are not those of a spec.
        """
        known = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        for name, value in known.items():
            if name in ("given", "context"):
                fits = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
                known[name] = tuple(value) if fits else value
            elif name in ("options", "environment"):
                fits = isinstance(value, dict)
            else:
                fits = isinstance(value, str)
            if not fits:
                raise CorruptRecord(f"A spec's {name} has the wrong type.")
        for name in ("name", "options"):
            if name not in known:
                raise CorruptRecord(f"A spec's {name} is missing.")
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was typed after ``%%train``: a name and options, each checked."""

    name: str | None
    options: dict[str, Any]
    help: bool = False


def check_name(name: str) -> str:
    """``name`` if it can name a run. Raises `UsageError`: it becomes a variable."""
    # Python reads every spelling of an identifier as this one.
    name = unicodedata.normalize("NFKC", name)
    if not name.isidentifier() or keyword.iskeyword(name):
        why = "because the name becomes a Python variable"
    elif hasattr(builtins, name):
        why = "because it would hide Python's own"
    elif name.startswith("_"):
        why = "because IPython keeps names that begin with an underscore for itself"
    elif len(name) > _MAX_NAME:
        why = f"because it has more than {_MAX_NAME} characters"
    else:
        return name
    raise UsageError(f"{name!r} cannot name a run, {why}. Try {_near(name)!r}.")


def _near(name: str) -> str:
    """A name like ``name`` that can name a run."""
    near = "".join(character if f"a{character}".isidentifier() else "_" for character in name)
    near = near[:_MAX_NAME].strip("_") or "run"
    if not near.isidentifier() or keyword.iskeyword(near) or hasattr(builtins, near):
        near = f"run_{near}"[:_MAX_NAME]
    return near


def parse(line: str, evaluate: Callable[[str], Any]) -> Line:
    """Read the line after ``%%train``.

    Args:
        line: ``NAME --option value --flag --no-flag --option=value --option {expression}``,
            and after a ``#`` whatever one likes.
        evaluate: gives the value of a braced Python expression.

    Raises:
        UsageError: naming the word that is wrong. Exceptions of ``evaluate`` pass through.
    """
    words = _words(line)
    name: str | None = None
    given: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word.quoted or not word.text.startswith("-"):
            if name is not None:
                raise UsageError(
                    f"{word.text!r} is one word too many after the run's name {name!r}. "
                    "An option begins with two dashes, and a value with a space needs quotes."
                )
            name = check_name(word.text)
            continue
        if word.text in ("-h", "--help", "-?"):
            return Line(name=name, options={}, help=True)
        if not word.text.startswith("--"):
            raise UnknownName("option", word.text, [o.flag for o in options.OPTIONS.values()])
        flag, equals, text = word.text[2:].partition("=")
        option, negated = _option(flag)
        value: Any
        if option.kind == "flag" and not equals:
            value = not negated
        elif negated:
            raise UsageError(f"--{flag} takes no value. Write --{flag} alone.")
        elif equals:
            braced = word.braced == len(word.text) - len(text)
            value = evaluate(text[1:-1].strip()) if braced else text
        elif position < len(words) and (
            words[position].quoted or not words[position].text.startswith("--")
        ):
            text, _, start = words[position]
            value = evaluate(text[1:-1].strip()) if start == 0 else text
            position += 1
        else:
            raise InvalidValue(f"--{flag} needs a value: {option.usage}.")
        key = flag if flag.startswith("dropout.") else option.name
        if key in given:
            raise InvalidValue(f"--{flag} is given twice. Leave one of them out.")
        given[key] = value
    return Line(name=name, options=options.check(given))


def _option(flag: str) -> tuple[options.Option, bool]:
    if flag.startswith("no-"):
        plain = options.OPTIONS.get(flag[3:].replace("-", "_"))
        if plain is not None and plain.kind == "flag":
            return plain, True
    try:
        return options.find(flag), False
    except UnknownName:
        every = options.OPTIONS.values()
        known = [word.replace("_", "-") for o in every for word in (o.name, *o.aliases)]
        known += [f"no-{o.flag[2:]}" for o in every if o.kind == "flag"]
        # Compared without their dashes, which make all short words seem alike.
        near = nearest(flag, known)
        hint = "" if near else "%%train --help lists them all."
        raise UnknownName("option", f"--{flag}", [f"--{near}"] if near else [], hint) from None


class _Word(NamedTuple):
    """A word of a magic's line.

    ``quoted`` says whether it was quoted as a whole. ``braced`` is where in ``text`` a
    braced expression begins that goes to its end, or None.
    """

    text: str
    quoted: bool
    braced: int | None


def split(line: str) -> list[tuple[str, bool]]:
    """The words of a magic's line, each with whether it was quoted as a whole.

    Quotes keep spaces together, and so do braces, with any Python between them.
    """
    return [(word.text, word.quoted) for word in _words(line)]


def _words(line: str) -> list[_Word]:
    words: list[_Word] = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        if line[position] == "#":
            break  # a comment, as in any line of Python
        start, text = position, ""
        groups: list[tuple[int, int]] = []
        while position < len(line) and not line[position].isspace():
            character = line[position]
            if character in "\"'":
                end = line.find(character, position + 1)
                if end < 0:
                    raise UsageError(f"A quote in {_cut(line[start:])} is never closed.")
                text += line[position + 1 : end]
            elif character == "{":
                end = _closing_brace(line, position, start)
                groups.append((len(text), len(text) + end + 1 - position))
                text += line[position : end + 1]
            else:
                end = position
                text += character
            position = end + 1
        quoted = line[start] in "\"'" and line[start] == line[position - 1]
        braced = groups[0][0] if len(groups) == 1 and groups[0][1] == len(text) else None
        words.append(_Word(text, quoted, braced))
    return words


def _closing_brace(line: str, brace: int, word: int) -> int:
    for end in (i for i in range(brace, len(line)) if line[i] == "}"):
        if parsed(line[brace + 1 : end].strip(), "eval") is not None:
            return end
    raise UsageError(
        f"The brace in {_cut(line[word:])} begins no Python expression. Write it as "
        "{expression}, or in quotes if it is no expression."
    )


def _cut(text: str) -> str:
    """``text`` as an error shows it."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


# ── which earlier cells a cell needs ─────────────────────────────────────────────────────


def names_bound(source: str) -> frozenset[str]:
    """The global names that running ``source`` binds, or may bind."""
    return names_of(source).bound


def names_read(source: str) -> frozenset[str]:
    """The global names, built-in ones included, that ``source`` reads, or may read, before it
    binds them, and those that its functions read, unless it binds these itself."""
    return names_of(source).read


def context(source: str, earlier: Sequence[str]) -> tuple[str, ...]:
    """The cells of ``earlier`` that ``source`` needs, oldest first.

    For each name that ``source`` reads, the latest earlier cell that bound it, those before
    it where that one may not have, and what these cells need in turn. Cells that are no
    Python are passed over.
    """
    names = [names_of(cell) for cell in earlier]
    needed: set[int] = set()
    pending = [(name, len(earlier)) for name in names_of(source).read]
    seen = set(pending)
    while pending:
        name, before = pending.pop()
        for index in range(before - 1, -1, -1):
            if name not in names[index].bound:
                continue
            needed.add(index)
            new = {(other, index) for other in names[index].read} - seen
            seen |= new
            pending.extend(new)
            if name in names[index].certain:
                break
    return tuple(earlier[index] for index in sorted(needed))
