from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nbtrain import options, spec
from nbtrain.errors import CorruptRecord, InvalidValue, UnknownName, UsageError
from tests.vocabulary.strategies import JSON


class NotEvaluated(Exception):
    """The test's own: what evaluating an expression raised."""


def evaluate(expression: str) -> Any:
    """Numbers and strings alone; anything else fails as a user's expression may."""
    try:
        return ast.literal_eval(expression)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise NotEvaluated(expression) from error


# ── a line with options that are right ───────────────────────────────────────────────────

EVERY = list(options.OPTIONS.values())


def right_values(option: options.Option) -> st.SearchStrategy[Any]:
    """Values in the range of ``option``."""
    words = list(option.words) + ([options.OFF] if option.can_be_off else [])
    kinds: list[st.SearchStrategy[Any]] = [st.sampled_from(words)] if words else []
    low, high = max(option.low, -1e12), min(option.high, 2.0**62)
    if option.kind == "int":
        kinds.append(st.integers(int(low), int(high)))
    elif option.kind in ("float", "rates"):
        kinds.append(
            st.floats(low, high, exclude_min=option.open_low, exclude_max=option.open_high)
        )
    elif option.kind == "text":
        kinds.append(st.from_regex(r"[a-z_]+(:\d)?", fullmatch=True))
    return st.one_of(kinds)


@st.composite
def typed_options(draw: st.DrawFn) -> tuple[list[str], dict[str, Any]]:
    """Words as someone may type them, and what they mean."""
    words: list[str] = []
    meant: dict[str, Any] = {}
    for option in draw(st.lists(st.sampled_from(EVERY), unique_by=lambda option: option.name)):
        name = draw(st.sampled_from([option.name, *option.aliases]))
        layer = option.name == "dropout" and draw(st.booleans())
        key = "dropout." + draw(st.from_regex(r"[a-z0-9_.]+", fullmatch=True)) if layer else ""
        flag = "--" + (key or (name.replace("_", "-") if draw(st.booleans()) else name))
        if option.kind == "flag":
            wanted = draw(st.booleans())
            long = draw(st.booleans())
            no = flag if wanted else f"--no-{flag[2:]}"
            words.append(f"{flag}={str(wanted).lower()}" if long else no)
            meant[option.name] = wanted
            continue
        value = draw(right_values(option))
        text = str(value) if draw(st.booleans()) else f"{{{value!r}}}"
        if not text.startswith("{") and draw(st.booleans()):
            text = f'"{text}"'
        words.append(f"{flag}={text}" if draw(st.booleans()) else f"{flag} {text}")
        meant[key or option.name] = option.check(value)
    return words, meant


@given(typed_options(), st.none() | st.sampled_from(["digits", "mnist_2"]), st.data())
@settings(max_examples=300)
def test_right_options_are_read_exactly(
    typed: tuple[list[str], dict[str, Any]], name: str | None, data: st.DataObject
) -> None:
    words, meant = typed
    place = data.draw(st.integers(0, len(words)))
    words = [*words[:place], *([name] if name else []), *words[place:]]
    space = data.draw(st.sampled_from([" ", "  ", "\t", " \n "]))
    line = spec.parse(space.join(words), evaluate)
    assert line == spec.Line(name=name, options=meant)
    assert list(map(type, line.options.values())) == list(map(type, meant.values()))


def test_a_comment_ends_the_line() -> None:
    line = spec.parse("digits --lr 1e-2 # --epochs 3, it's too few", evaluate)
    assert line == spec.Line(name="digits", options={"lr": 0.01})
    assert spec.parse("# only this", evaluate) == spec.Line(name=None, options={})
    assert spec.parse("d --early-stop '#mine'", evaluate).options == {"early_stop": "#mine"}


# ── any line ─────────────────────────────────────────────────────────────────────────────

_NAMES = {word for option in EVERY for word in (option.name, *option.aliases)}
_FLAGS = [option.flag for option in EVERY] + ["--no-wait", "--dropout.fc", "--help", "-h"]
_WORDS = st.one_of(
    st.sampled_from(_FLAGS),
    st.sampled_from(_FLAGS).flatmap(
        lambda flag: st.text("abcdegilmnoprstu-=_.0{}'\"", max_size=3).map(lambda t: flag + t)
    ),
    st.sampled_from(
        ["digits", "0.1", "-1", "1e-3", "off", "full", "adam", "nan", "{1/2}", "{0.5}"]
    ),
    st.sampled_from(
        ["lambda", "print", "_x", "--", "-", "=", "{", "}", "{}", "'", '""', "{'a b'}"]
    ),
    st.text("abcxyz019-_.={}'\"\\ é²", min_size=1, max_size=8),
    st.text(min_size=1, max_size=6),
)


_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


def plain(text: str) -> str:
    """``text`` without what `parse` takes off words, or changes in names of options."""
    return unicodedata.normalize("NFKC", re.sub(r"['\"]", "", text)).replace("_", "-")


def names_a_word(message: str, line: str) -> bool:
    """Whether what ``message`` quotes first, or the option it begins with, is in ``line``."""
    found = _LITERAL.search(message)
    quoted = ast.literal_eval(found[0]).rstrip("….") if found else ""
    option = message.partition(" ")[0]
    aliases = options.find(option.lstrip("-")).aliases if option.lstrip("-") in _NAMES else ()
    return (found is not None and plain(quoted) in plain(line)) or any(
        plain(word) in plain(line) for word in (option, *aliases)
    )


@given(st.lists(_WORDS, max_size=7))
@settings(max_examples=2000)
def test_any_line_is_read_or_refused_naming_the_word(words: list[str]) -> None:
    text = " ".join(words)
    try:
        line = spec.parse(text, evaluate)
    except UsageError as error:
        assert names_a_word(str(error), text), str(error)  # noqa: PT017
    except NotEvaluated:
        assert "{" in text
    else:
        if line.help:
            assert re.search(r"--help|-h|-\?", text)
            return
        assert line.name is None or (line.name.isidentifier() and not keyword.iskeyword(line.name))
        for name, value in line.options.items():
            assert repr(options.check({name: value})[name]) == repr(value)
            assert any(plain(word) in plain(text) for word in (name, *options.find(name).aliases))


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("digits --lrr 1", UnknownName, "'--lrr'. Did you mean '--lr'"),
        ("digits --zzz 1", UnknownName, "%%train --help lists them all"),
        ("digits -lr 1", UnknownName, "'-lr'. Did you mean '--lr'"),
        ("digits --lr", InvalidValue, "--lr needs a value: a number from 0 up to 1000"),
        ("digits --lr --wait", InvalidValue, "--lr needs a value"),
        ("digits --lr fast", InvalidValue, "lr cannot be 'fast'"),
        ("digits --lr -1", InvalidValue, "lr cannot be '-1'"),
        ("digits --lr nan", InvalidValue, "lr cannot be 'nan'"),
        ("digits --lr 1 --learning-rate 2", InvalidValue, "--learning-rate is given twice"),
        ("digits --optimizer adm", UnknownName, "'adm'. Did you mean 'adam'"),
        ("digits --optimizer adma", UnknownName, "'adma'. Did you mean 'adam'"),
        ("digits --early-stop", InvalidValue, "a metric, such as val_loss or val_accuracy, or off"),
        ("digits --no-wait=true", UsageError, "--no-wait takes no value"),
        ("digits mnist", UsageError, "'mnist' is one word too many"),
        ("digits --wait true", UsageError, "'true' is one word too many"),
        ("digits --early-stop 'val_loss", UsageError, 'A quote in "\'val_loss" is never closed'),
        ("digits --lr {(1}", UsageError, "brace in '{(1}' begins no Python expression"),
        ("digits --lr {1}{2}", InvalidValue, "lr cannot be '{1}{2}'"),
        ("my-digits", UsageError, "'my-digits' cannot name a run.*Try 'my_digits'"),
        ("2nd", UsageError, "Try 'run_2nd'"),
        ("class", UsageError, "Try 'run_class'"),
        ("print", UsageError, "hide Python's own. Try 'run_print'"),
        ("_x", UsageError, "underscore for itself. Try 'x'"),
        ("a" * 65, UsageError, "more than 64 characters"),
    ],
)
def test_what_is_wrong_is_said(line: str, error: type[UsageError], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(").replace("{", r"\{")):
        spec.parse(line, evaluate)


def test_an_expression_is_python_and_a_quoted_one_is_text() -> None:
    values = {"rate / 2": 0.5, '{"a": "}"}["a"]': "val_loss"}
    line = """digits --lr {rate / 2} --early-stop={ {"a": "}"}["a"] } --device "{x}" """
    assert spec.parse(line, values.__getitem__).options == {
        "lr": 0.5,
        "early_stop": "val_loss",
        "device": "{x}",
    }


def test_what_an_expression_raises_reaches_the_user() -> None:
    with pytest.raises(NotEvaluated):
        spec.parse("digits --lr {base}", evaluate)


@given(st.text(max_size=80))
def test_a_name_that_is_refused_comes_with_one_that_is_not(name: str) -> None:
    try:
        checked = spec.check_name(name)
    except UsageError as error:
        suggested = re.search(r"Try '([^']*)'\.$", str(error))
        assert suggested is not None
        assert spec.check_name(suggested[1]) == suggested[1]
    else:
        assert checked.isidentifier()
        assert not hasattr(builtins, checked)
        assert spec.check_name(checked) == checked


def test_a_name_is_spelled_as_python_reads_it() -> None:
    assert spec.check_name("ﬁt") == "fit"


# ── the spec as JSON ─────────────────────────────────────────────────────────────────────


def test_a_spec_survives_json() -> None:
    whole = spec.Spec(
        name="digits",
        options={"lr": 0.1, "dropout": {"1": 0.5}, "early_stop": None},
        given=("lr",),
        source="model = …",
        context=("import torch",),
        data="abc",
        weights="def",
        environment={"threads": 2},
    )
    assert spec.Spec.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert spec.Spec.from_json({**whole.to_json(), "later": 1}) == whole


@given(st.dictionaries(st.sampled_from(sorted(spec.Spec.__dataclass_fields__)), JSON))
def test_a_damaged_spec_is_refused_by_field(body: dict[str, Any]) -> None:
    try:
        spec.Spec.from_json(body)
    except CorruptRecord as error:
        assert re.match(r"A spec's \w+ (is missing|has the wrong type)", str(error))  # noqa: PT017


# ── which earlier cells a cell needs ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "read", "bound"),
    [
        ("x = y", {"y"}, {"x"}),
        ("x = 1\nx", set(), {"x"}),
        ("x += 1", {"x"}, {"x"}),
        ("import a.b, c as d\nfrom e import f", set(), {"a", "d", "f"}),
        ("def f(x, y=z):\n    w = x\n    return g(w)", {"z", "g"}, {"f"}),
        ("def f():\n    return g()\ndef g():\n    return 1", set(), {"f", "g"}),
        ("def f():\n    global n\n    n = 1", set(), {"f", "n"}),
        (
            "class A(B):\n    x = 1\n    y = x + z\n    def m(self):\n        return w",
            {*"Bzw"},
            {"A"},
        ),
        ("[i * k for i in items]", {"k", "items"}, set()),
        ("f = lambda a: a + b", {"b"}, {"f"}),
        ("for i in items:\n    y = i\nprint(y)", {"items", "print"}, {"i", "y"}),
        ("if c:\n    x = 1\nx", {"c", "x"}, {"x"}),
        ("if c:\n    x = 1\nelse:\n    x = 2\nx", {"c"}, {"x"}),
        ("if c:\n    x = 1\nelse:\n    raise E\nx", {"c", "E"}, {"x"}),
        ("try:\n    import q\nexcept E as e:\n    q = e\nq", {"E"}, {"q"}),
        ("with open(p) as f:\n    t = f.read()\nt", {"open", "p"}, {"f", "t"}),
        (
            "match s:\n    case [a, b]:\n        x = a\n    case _:\n        x = t",
            {"s", "t"},
            {*"abx"},
        ),
        ("a, *b = c\n(d := e)\nfor f.g in h: pass", {*"cefh"}, {*"abd"}),
        ("x = 1\ndel x", set(), set()),
        ("x: int = y", {"int", "y"}, {"x"}),
        ("await x\nasync with y as z: pass\nasync for w in z: pass", {*"xy"}, {*"zw"}),
        ('"""Text."""', set(), set()),
        ("def f(:", set(), set()),
        ("return x", set(), set()),
        ("x = '\\d'", set(), {"x"}),
        ("-" * 100_000 + "x", set(), set()),
    ],
)
def test_the_names_a_cell_reads_and_binds(source: str, read: set[str], bound: set[str]) -> None:
    assert spec.names_read(source) == read
    assert spec.names_bound(source) == bound


def test_a_cell_needs_those_that_bound_its_names_and_what_they_need() -> None:
    cells = [
        "import torch",
        "other = 1",
        "width = 8",
        "def net():\n    return torch.nn.Linear(width, 1)",
        "width = 16",
        "%time x",
        "data = load()",
    ]
    assert spec.context("model = net()", cells) == tuple(cells[i] for i in (0, 2, 3))
    assert spec.context("model = width", cells) == (cells[4],)
    assert spec.context("x = 1", cells) == ()


def test_a_cell_that_may_not_have_bound_a_name_does_not_hide_the_one_before() -> None:
    cells = ["device = 'cpu'", "device = 'cpu'", "fast = True", "if fast:\n    device = 'cuda'"]
    assert spec.context("device", cells) == (cells[1], cells[2], cells[3])


def test_a_name_python_has_too_may_be_a_cell_s() -> None:
    assert spec.context("print(input)", ["input = 3", "x = 1"]) == ("input = 3",)


@given(st.lists(st.sampled_from(["a = b", "b = a", "c = a + b", "a = 1", "def a():\n    c", "x"])))
def test_needed_cells_are_earlier_ones_in_their_order(cells: list[str]) -> None:
    assume(cells)
    found = spec.context("c", cells)
    rest = iter(cells)
    assert all(cell in rest for cell in found)
