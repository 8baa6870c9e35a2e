"""What completes on our lines, and only there."""

import types

import pytest
from IPython.core.completer import CompletionContext

from nbtrain import options
from nbtrain.ui import commands, completion


def complete(text, *, line=0):
    """What the text before the cursor becomes with each completion."""
    lines = text.split("\n")
    before = lines[line]
    token = before.split()[-1] if before and not before[-1].isspace() else ""
    context = CompletionContext(
        token=token.split("=")[-1],
        full_text=text,
        cursor_position=len(before),
        cursor_line=line,
        limit=500,
    )
    result = completion.complete(context)
    fragment = result.get("matched_fragment", "")
    stem = before[: len(before) - len(fragment)] if fragment else before
    return [stem + each.text for each in result["completions"]]


@pytest.fixture
def live(monkeypatch):
    run = types.SimpleNamespace(
        name="digits", history=types.SimpleNamespace(layers=("2", "hidden.5"))
    )
    monkeypatch.setattr(completion, "live", lambda: {"digits": run})
    return run


def test_option_names():
    early = ["%%train digits --early-mode", "%%train digits --early-stop"]
    assert sorted(complete("%%train digits --early")) == early
    every = complete("%%train digits ")
    for option in options.OPTIONS.values():
        assert f"%%train digits {option.flag}" in every
    assert "%%train digits --no-panel" in every


def test_options_that_are_given_are_not_offered_again():
    assert "%%train digits --lr 1 --lr" not in complete("%%train digits --lr 1 --l")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("%%train digits --optimizer ad", "adamw"),
        ("%%train digits --optimizer=ad", "adamw"),
        ("%%train digits --early-stop val_", "val_loss"),
        ("%%train digits --batch f", "full"),
        ("%%train digits --device c", "cuda"),
        ("%%train digits --dropout of", "off"),
    ],
)
def test_values(line, value):
    stem = line[: max(line.rfind(" "), line.rfind("=")) + 1]
    assert stem + value in complete(line)


def test_nothing_completes_below_the_magic_or_elsewhere(live):
    assert complete("%%train digits\n--ea", line=1) == []
    assert complete("x = 1\n%%train digits --ea", line=1) == []
    assert complete("train") == []
    assert complete("train ") == []
    assert complete("%%timeit --") == []


def test_commands_runs_and_knobs(live):
    assert complete("%train pa") == ["%train pause"]
    assert {c.split()[1] for c in complete("%train ")} == set(commands.VERBS)
    assert complete("%train pause ") == ["%train pause digits"]
    assert complete("%train set digits l") == [
        f"%train set digits {name}=" for name in ("lr", "l1", "l2", "label_smoothing")
    ]
    assert "%train set digits dropout.hidden.5=" in complete("%train set digits drop")
    assert complete("%train set digits batch_size=") == ["%train set digits batch_size=full"]
    assert "%train set digits dropout.2=off" in complete("%train set digits dropout.2=o")
    assert complete("%train pause digits ") == []
    assert "%train set digits schedule=hold" in complete("%train set digits schedule=")


def test_in_a_line_of_a_longer_cell(live):
    assert complete("x = 1\n%train pa", line=1) == ["%train pause"]
