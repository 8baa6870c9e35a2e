"""What an option is: one setting of a run, its range and its meaning."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from nbtrain.errors import InvalidValue, UnknownName

Kind: TypeAlias = Literal["float", "int", "choice", "text", "flag", "rates"]
Group: TypeAlias = Literal["Optimization", "Regularization", "Early stopping", "Data", "Run"]

OFF: Final = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting: its name, range and meaning.

    ``low`` and ``high`` bound a number, ends included unless ``open_low`` or ``open_high``.
    ``words`` are values that are words rather than numbers; ``off`` is the value that
    the word ``off`` stands for, where the setting can be switched off. ``text`` says what the
    words of a text name.
    """

    name: str
    label: str
    kind: Kind
    group: Group
    doc: str
    default: Any = None
    aliases: tuple[str, ...] = ()
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    words: tuple[str, ...] = ()
    can_be_off: bool = False
    off: Any = None
    text: str = "a word"

    @property
    def flag(self) -> str:
        """The option as typed after ``%%train``."""
        return "--" + self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """The values that are allowed, in words."""
        allowed = []
        if self.kind in ("float", "int", "rates"):
            what = "a whole number" if self.kind == "int" else "a number"
            low = f"{'above' if self.open_low else 'from'} {short(self.low)}"
            high = f"{'below' if self.open_high else 'up to'} {short(self.high)}"
            if self.low > -math.inf and self.high < math.inf:
                joined = " and " if self.open_low else " to " if self.open_high else " "
                what += f" {low}{joined}{high}"
            elif self.low > -math.inf:
                what += f" {low}" + ("" if self.open_low else " up")
            allowed.append(what)
        elif self.kind == "flag":
            allowed.append("true or false")
        elif self.kind == "text":
            allowed.append(self.text)
        allowed.extend(self.words)
        if self.can_be_off:
            allowed.append(OFF)
        return ", ".join(allowed[:-1]) + " or " + allowed[-1] if len(allowed) > 1 else allowed[0]

    @property
    def usage(self) -> str:
        """The values that are allowed, and an example."""
        return f"{self.range}, such as {self._example()}"

    def check(self, value: Any) -> Any:
        """``value`` in the type this setting has. Raises `InvalidValue`, naming the range."""
        # An array compared with a word is an array: only words are compared with words.
        word = value if isinstance(value, str) else None
        if self.can_be_off and (value is None or value is False or word in (OFF, "none", "None")):
            return self.off
        if word in self.words:
            return word
        checked = getattr(self, f"_check_{self.kind}")(value)
        if checked is None:
            raise InvalidValue(f"{self.name} cannot be {_shown(value)}: it takes {self.usage}.")
        return checked

    def _number(self, value: Any) -> float | None:
        if isinstance(value, (bool, bytes, bytearray)):
            return None
        try:
            number = float(value)
        # RuntimeError is what a tensor of many values raises.
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return None
        return number if math.isfinite(number) and self._inside(number) else None

    def _inside(self, number: float) -> bool:
        return (self.low < number or (number == self.low and not self.open_low)) and (
            number < self.high or (number == self.high and not self.open_high)
        )

    def _check_float(self, value: Any) -> float | None:
        return self._number(value)

    def _check_int(self, value: Any) -> int | None:
        # A float holds no more than 53 bits of a seed, so whole numbers never become one.
        whole: int | None = None
        if not isinstance(value, bool):
            with suppress(TypeError, ValueError):
                whole = int(value) if isinstance(value, str) else operator.index(value)
        if whole is None:
            number = self._number(value)
            whole = int(number) if number is not None and number == int(number) else None
        return whole if whole is not None and self._inside(whole) else None

    def _check_rates(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            rates = {str(layer): self._number(rate) for layer, rate in value.items()}
            return None if None in rates.values() else rates
        return self._number(value)

    def _check_choice(self, value: Any) -> str | None:
        if isinstance(value, str) and value not in self.words:
            raise UnknownName(self.label.lower(), value, self.words)
        return None

    def _check_text(self, value: Any) -> str | None:
        return value if isinstance(value, str) and value else None

    def _check_flag(self, value: Any) -> bool | None:
        if isinstance(value, str):
            value = {"true": True, "false": False, "on": True, "off": False}.get(value.lower())
        return value if isinstance(value, bool) else None

    def _example(self) -> str:
        if self.default not in (None, ""):
            return short(self.default)
        if self.words:
            return self.words[0]
        if self.kind == "text":
            return "val_loss"
        return short(self.low) if self.low > -math.inf and not self.open_low else "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob(Option):
    """A setting that can be changed while the run trains.

    ``scale`` and ``slider`` say how a slider runs: its ends are the values in common use,
    inside the range that is allowed. ``step`` is the distance of two linear positions.
    """

    scale: Literal["linear", "log", "log2"] = "linear"
    slider: tuple[float, float] | None = None
    step: float | None = None

    def _example(self) -> str:
        if self.default is not None or self.slider is None:
            return Option._example(self)
        low, high = self.slider
        value = high if self.scale == "linear" else math.sqrt(low * high)
        return short(round(value) if self.kind == "int" else value)


def short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}" if abs(value) < 1e6 else f"{int(value):,}"
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
