"""One knob as plain ipywidgets, made from its declaration."""

from __future__ import annotations

import html
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import ipywidgets

from nbtrain.messages import Value

Declaration: TypeAlias = Mapping[str, Any]
"""A knob as `view.knobs` describes it."""

_STYLE = {"description_width": "120px"}
_WIDE = {"width": "360px"}


def controls(
    knobs: Iterable[Declaration],
    values: Mapping[str, Mapping[str, Any]],
    set_knob: Callable[[str, Value], None],
) -> dict[str, Control]:
    """A control for each knob that the run can obey, by the knob's name."""
    return {
        knob["name"]: Control(knob, values[knob["name"]]["value"], set_knob)
        for knob in knobs
        if knob["reason"] is None and knob["name"] in values
    }


class Control:
    """A slider, or a choice of words, with a switch where the knob can be off.

    ``row`` is what to display. A value that the user sets is passed on once, when the slider
    is let go; one that the run reports is shown by `follow`.
    """

    def __init__(
        self, knob: Declaration, value: Value, set_knob: Callable[[str, Value], None]
    ) -> None:
        self.knob = knob
        self._set = set_knob
        self._following: int | None = None
        self._input = _input(knob)
        self._switch = None
        if knob["can_be_off"] and knob["slider"] is not None:
            self._switch = ipywidgets.Checkbox(
                description="on", indent=False, layout={"width": "60px"}
            )
            self._switch.observe(self._changed, names="value")
        self._note = ipywidgets.HTML()
        self.follow(value)
        self._input.observe(self._changed, names="value")
        parts = [self._input, self._switch, self._note]
        self.row = ipywidgets.HBox([part for part in parts if part is not None])

    def follow(self, value: Value) -> None:
        """Show the value that the run has, without setting it."""
        # Observers are called on the thread that writes, so this one's are told by it.
        self._following = threading.get_ident()
        try:
            off = self.knob["can_be_off"] and (value is None or value == self.knob["off"])
            if self._switch is not None and self._switch.value == off:
                self._switch.value = not off
            shown = _shown(self.knob, self._input, value)
            if shown is not None and not off and self._input.value != shown:
                self._input.value = shown
            if self._switch is None and off and self._input.value != "off":
                self._input.value = "off"
        finally:
            self._following = None

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Show ``text`` beside the control."""
        color = "#b3261e" if wrong else "#666666"
        said = f'<span style="color:{color}">{html.escape(text)}</span>'
        if self._note.value != said:
            self._note.value = said

    def _changed(self, change: Mapping[str, Any]) -> None:
        if self._following == threading.get_ident():
            return
        value: Value = self._input.value
        if self._switch is not None and not self._switch.value:
            if change["owner"] is self._input:
                return  # A slider moved while the knob is off sets nothing.
            value = "off"
        elif change["owner"] is self._switch and "on" in self.knob["words"]:
            value = "on"
        self._set(self.knob["name"], value)


def _input(knob: Declaration) -> Any:
    name = {"description": knob["label"], "style": _STYLE, "layout": _WIDE}
    tip = {"tooltip": knob["doc"], "continuous_update": False}
    if knob["slider"] is None:
        options = [*knob["words"], *(["off"] if knob["can_be_off"] else [])]
        return ipywidgets.Dropdown(options=options, **name)
    low, high = knob["slider"]
    if knob["scale"] == "log2":
        powers = range(round(math.log2(low)), round(math.log2(high)) + 1)
        options = [*(2**power for power in powers), *knob["words"]]
        return ipywidgets.SelectionSlider(options=options, **name, **tip)
    if knob["scale"] == "log" and knob["kind"] != "int":
        return ipywidgets.FloatLogSlider(
            value=_usual(knob),
            min=math.log10(low),
            max=math.log10(high),
            step=0.05,
            readout_format=".1e",
            **name,
            **tip,
        )
    if knob["kind"] == "int":
        return ipywidgets.BoundedIntText(
            value=round(_usual(knob)),
            min=int(knob["low"]),
            max=int(knob["high"]),
            **name,
            tooltip=knob["doc"],
        )
    return ipywidgets.FloatSlider(
        value=_usual(knob),
        min=low,
        max=high,
        step=knob["step"] or (high - low) / 100,
        **name,
        **tip,
    )


def _usual(knob: Declaration) -> float:
    """What a knob that was off begins at when it is switched on."""
    low, high = knob["slider"]
    return float(math.sqrt(low * high)) if knob["scale"] == "log" else low + (high - low) / 5


def _shown(knob: Declaration, widget: Any, value: Value) -> Any:
    """``value`` as ``widget`` can hold it, or None where it cannot."""
    if isinstance(widget, ipywidgets.SelectionSlider):
        # A batch size of the user's own may be no power of two.
        if value not in widget.options and isinstance(value, int):
            numbers = sorted({*(o for o in widget.options if isinstance(o, int)), value})
            widget.options = (*numbers, *knob["words"])
        return value if value in widget.options else None
    if isinstance(widget, ipywidgets.Dropdown):
        if isinstance(value, str) and value not in widget.options:
            widget.options = (value, *widget.options)
        return value
    if isinstance(value, dict):
        value = max(value.values(), default=0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(widget, ipywidgets.FloatLogSlider):
        return min(max(value, 10**widget.min), 10**widget.max)
    return min(max(value, widget.min), widget.max)
