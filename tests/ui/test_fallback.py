"""Plain widgets steer the same run in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from nbtrain import messages as m
from nbtrain.errors import InvalidValue, UsageError
from nbtrain.ui import fallback
from nbtrain.ui.fallback import PlainPanel, needed
from nbtrain.ui.writer import Writer
from tests.ui.runs import RUN, applied, finish, started, step

WAIT = 10.0


class Plain:
    """A plain panel, what it shows and what it sent."""

    def __init__(self, writer: Writer, **given: Any) -> None:
        self.writer = writer
        self.history = started(**given)
        self.commands: list[m.Command] = []
        self.routed: list[tuple[str, m.Command]] = []
        self.panel = PlainPanel(
            self.history,
            self.send,
            route=lambda run, command: self.routed.append((run, command)),
            writer=writer,
        )

    def send(self, command: m.Command) -> str:
        if isinstance(command, m.Set) and (command.knob, command.value) == ("lr", 1.0):
            raise InvalidValue("lr cannot be 1.0.")
        self.commands.append(command)
        return command.id

    def draw(self) -> None:
        self.writer.wake()
        assert self.writer.flush(WAIT)

    def parts(self, kind: type) -> list[Any]:
        pending, found = [self.panel.widget], []
        while pending:
            part = pending.pop(0)
            if isinstance(part, kind):
                found.append(part)
            pending.extend(getattr(part, "children", ()))
        return found

    def row(self, label: str) -> Any:
        for box in self.parts(ipywidgets.HBox):
            if getattr(box.children[0], "description", "") == label:
                return box.children
        raise AssertionError(f"no control {label!r}")

    def press(self, text: str) -> None:
        (button,) = [b for b in self.parts(ipywidgets.Button) if b.description == text]
        button.click()

    @property
    def text(self) -> str:
        return "\n".join(part.value for part in self.parts(ipywidgets.HTML))


@pytest.fixture
def plain() -> Iterator[Plain]:
    writer = Writer(frame=0.01)
    yield Plain(writer, layers=("1",), knobs={"dropout": 0.2, "dropout.1": 0.2, "lr": 3e-3})
    writer.close()


def test_a_slider_starts_where_the_run_is_and_sends_what_it_is_set_to(plain: Plain) -> None:
    slider = plain.row("Learning rate")[0]
    assert isinstance(slider, ipywidgets.FloatLogSlider)
    assert slider.value == pytest.approx(3e-3)
    slider.value = 1e-3
    (command,) = plain.commands
    assert isinstance(command, m.Set)
    assert (command.knob, command.value) == ("lr", 1e-3)
    plain.draw()
    assert "sent, waiting" in plain.row("Learning rate")[-1].value


def test_what_took_effect_is_shown_with_its_step(plain: Plain) -> None:
    step(plain.history)
    plain.row("Learning rate")[0].value = 1e-3
    applied(plain.history, command=plain.commands[0].id, old=3e-3, new=1e-3)
    plain.draw()
    assert "3.0e-3 → 1.0e-3 at step 10" in plain.row("Learning rate")[-1].value


def test_a_knob_set_from_elsewhere_moves_the_slider_and_sends_nothing(plain: Plain) -> None:
    applied(plain.history, sender="run", old=3e-3, new=1e-4)
    plain.draw()
    assert plain.row("Learning rate")[0].value == pytest.approx(1e-4)
    assert plain.commands == []


def test_a_refusal_is_shown_and_the_slider_goes_back(plain: Plain) -> None:
    plain.row("Learning rate")[0].value = 1.0
    plain.draw()
    assert "lr cannot be 1.0." in plain.row("Learning rate")[-1].value
    assert plain.row("Learning rate")[0].value == pytest.approx(3e-3)
    assert plain.commands == []


def test_dropout_has_a_switch_that_remembers_the_rates(plain: Plain) -> None:
    _, switch, _ = plain.row("Dropout")
    switch.value = False
    applied(plain.history, knob="dropout", command=plain.commands[0].id, old=0.2, new=0.0)
    plain.draw()
    assert plain.row("Dropout")[0].value == 0.2
    switch.value = True
    assert [command.value for command in plain.commands] == ["off", "on"]  # type: ignore[union-attr]


def test_a_layer_has_a_control_of_its_own_and_what_cannot_be_obeyed_has_none(plain: Plain) -> None:
    plain.row("1")[0].value = 0.5
    (command,) = plain.commands
    assert isinstance(command, m.Set)
    assert command.knob == "dropout.1"
    with pytest.raises(AssertionError):
        plain.row("Momentum")


def test_early_stopping_chooses_its_metric_or_off(plain: Plain) -> None:
    choice = plain.row("Watch")[0]
    assert set(choice.options) == {"val_loss", "val_accuracy", "off"}
    choice.value = "off"
    assert plain.commands[0].value == "off"  # type: ignore[union-attr]


def test_a_batch_size_of_ones_own_is_among_the_choices(plain: Plain) -> None:
    applied(plain.history, knob="batch_size", sender="run", old=64, new=100)
    plain.draw()
    slider = plain.row("Batch size")[0]
    assert slider.value == 100
    slider.value = "full"
    assert plain.commands[0].value == "full"  # type: ignore[union-attr]


def test_the_buttons_are_commands(plain: Plain) -> None:
    for text in ("Pause", "One step", "Early stop", "Undo"):
        plain.press(text)
    assert [type(command).__name__ for command in plain.commands] == [
        "Pause", "OneStep", "Stop", "Undo",
    ]  # fmt: skip
    plain.history.apply(m.Paused(run=RUN))
    plain.draw()
    plain.press("Resume")
    assert isinstance(plain.commands[-1], m.Resume)


def test_a_replaced_run_can_go_on_beside_this_one(plain: Plain) -> None:
    plain.history.apply(m.Noticed(run=RUN, topic="replaces:abc", text="digits@1 was stopped."))
    plain.draw()
    assert "digits@1 was stopped." in plain.text
    plain.press("Keep both")
    ((run, command),) = plain.routed
    assert run == "abc"
    assert isinstance(command, m.Resume)


def test_a_replaced_run_that_is_gone_says_so(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(run: str, command: m.Command) -> None:
        raise UsageError("This run is no longer in memory. Run its cell again to train anew.")

    monkeypatch.setattr(plain.panel, "_route", gone)
    plain.history.apply(m.Noticed(run=RUN, topic="replaces:abc", text="digits@1 was stopped."))
    plain.press("Keep both")
    plain.draw()
    assert "no longer in memory" in plain.text


def test_picture_and_heading_follow_the_run(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "PICTURE_EVERY", 60.0)
    (image,) = plain.parts(ipywidgets.Image)
    assert not image.value
    step(plain.history)
    plain.draw()
    assert bytes(image.value).startswith(b"\x89PNG")
    assert "epoch 1/30 · step 10/300" in plain.text
    first = image.value
    for _ in range(3):
        step(plain.history)
        plain.draw()
    assert image.value is first
    finish(plain.history, "failed", reason="", error="ValueError: <b>no</b>")
    plain.draw()
    assert image.value is not first
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in plain.text


def test_a_switch_turned_on_begins_at_a_usual_value(plain: Plain) -> None:
    for label, usual in {"L2": 1e-4, "Clip gradients": 1.0, "Label smoothing": 0.1}.items():
        plain.row(label)[1].value = True
        command = plain.commands[-1]
        assert isinstance(command, m.Set)
        assert command.value == pytest.approx(usual)


def test_the_saved_notebook_shows_picture_and_table(plain: Plain) -> None:
    step(plain.history)
    plain.draw()
    bundle = plain.panel.display_bundle()
    assert set(bundle) == {
        "application/vnd.jupyter.widget-view+json", "image/png", "text/html", "text/plain",
    }  # fmt: skip


def test_it_is_needed_in_vs_code_and_colab_or_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VSCODE_PID", raising=False)
    monkeypatch.delenv("NBTRAIN_PANEL", raising=False)
    assert not needed({})
    assert needed({"__vsc_ipynb_file__": "a.ipynb"})
    monkeypatch.setenv("VSCODE_PID", "1")
    assert needed({})
    monkeypatch.setenv("NBTRAIN_PANEL", "full")
    assert not needed({})
    monkeypatch.setenv("NBTRAIN_PANEL", "plain")
    monkeypatch.delenv("VSCODE_PID")
    assert needed({})
