"""The TypeScript types of the messages are those of `nbtrain.messages`."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from nbtrain import messages as m

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_types", ROOT / "scripts" / "generate_types.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_up_to_date(generator: ModuleType) -> None:
    assert generator.TARGET.read_text(encoding="utf-8") == generator.generate(), (
        "run python scripts/generate_types.py"
    )


@pytest.mark.parametrize("kind", [*m.COMMANDS, *m.EVENTS], ids=lambda kind: kind.__name__)
def test_every_field_of_every_message_is_there(generator: ModuleType, kind: type) -> None:
    text = generator.generate()
    base = m.Ask if issubclass(kind, m.Ask) else m.Happened
    own = text.split(f"export interface {kind.__name__} ")[1].split("\n}")[0]
    shared = text.split(f"export interface {base.__name__} ")[1].split("\n}")[0]
    assert f"  kind: '{kind.__name__}';" in own
    for field in dataclasses.fields(kind):
        place = shared if field.name in {f.name for f in dataclasses.fields(base)} else own
        assert f"  {field.name}: " in place or f"  {field.name}?: " in place


def test_no_field_hides_the_kind_of_its_message() -> None:
    for kind in (*m.COMMANDS, *m.EVENTS):
        assert not hasattr(kind, "kind"), kind
