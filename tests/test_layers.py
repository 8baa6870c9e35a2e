"""Every import in nbtrain goes the way docs/architecture.md says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nbtrain"
MODULES = sorted(PACKAGE.rglob("*.py"))

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# What a layer may import of others' packages, beside what the layers to its left may.
THIRD_PARTY: dict[str, set[str]] = {
    "vocabulary": set(),
    "store": {"numpy", "psutil"},
    "data": {"torch", "numpy", "sklearn"},
    "engine": {"torch", "safetensors", "pynvml"},
    "runs": set(),
    "ui": {"IPython", "ipywidgets", "traitlets", "bokeh", "matplotlib", "PIL", "tqdm"},
}
# Only inside a function, or for types alone, because not every user has them.
ON_DEMAND: dict[str, set[str]] = {
    "store": {"pandas"},
    "data": {"pandas", "datasets"},
    "ui": {"ipykernel"},
}


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, its line, whether loading the module loads it."""

    name: str
    line: int
    at_once: bool


def imports(source: str, package: str) -> Iterator[Import]:
    """Everything that ``source``, a module of ``package``, imports anywhere in it."""
    yield from _walk(ast.parse(source), package, at_once=True)


def _walk(node: ast.AST, package: str, *, at_once: bool) -> Iterator[Import]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
        isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ):
        at_once = False
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_once)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
        # What is imported may be a module, so that its own name tells the layer.
        yield from (Import(f"{base}.{a.name}", node.lineno, at_once) for a in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
        ("import_module", "__import__")
    ):
        for argument in node.args[:1]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield Import(argument.value, node.lineno, at_once)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, package, at_once=at_once)


def left_of() -> dict[str, set[str]]:
    """For each layer those it may import, read from the chain in docs/architecture.md."""
    chain = re.search(r"^`(vocabulary ←.*)`$", ARCHITECTURE, re.MULTILINE)
    assert chain is not None, "docs/architecture.md has lost its line of layers"
    allowed: dict[str, set[str]] = {}
    done: set[str] = set()
    for group in chain[1].split("←"):
        names = {name.strip() for name in group.split("|")}
        allowed |= {name: done | {name} for name in names}
        done = done | names
    return allowed


def vocabulary() -> set[str]:
    """The modules of the lowest layer, read from the table in docs/architecture.md."""
    row = re.search(r"^\| vocabulary: ([^|]*)\|", ARCHITECTURE, re.MULTILINE)
    assert row is not None, "docs/architecture.md has lost the row of the vocabulary"
    return set(re.findall(r"`(\w+)`", row[1]))


def layer(module: str) -> str | None:
    """The layer of a module of ours; None for the package itself, whose names load lazily."""
    part = module.split(".")[1] if "." in module else ""
    if part in ("", "__init__", "__version__"):
        return None
    return "vocabulary" if part in vocabulary() else part


def name_of(path: Path) -> str:
    """``nbtrain.engine.loop`` for nbtrain/engine/loop.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def violations(path: Path, source: str) -> Iterator[str]:
    module = name_of(path)
    mine = layer(module)
    allowed = left_of()
    for found in imports(source, module.rpartition(".")[0]):
        top = found.name.partition(".")[0]
        where = f"{module}:{found.line} imports {found.name}"
        if top in sys.stdlib_module_names or top == "__future__":
            continue
        if mine is None:
            continue  # nbtrain/__init__.py: tests/test_import_cost.py says what it loads
        if top == "nbtrain":
            other = layer(found.name)
            if other is not None and other not in allowed[mine]:
                yield f"{where}, which is not to the left of {mine}"
            continue
        packages = set().union(*(THIRD_PARTY[name] for name in allowed[mine]))
        on_demand = set().union(*(ON_DEMAND.get(name, set()) for name in allowed[mine]))
        if top in on_demand - packages and found.at_once:
            yield f"{where} at once, although not every user has it"
        elif top not in packages | on_demand:
            yield f"{where}, which {mine} may not use"


def test_every_layer_of_the_document_is_known_here() -> None:
    assert set(left_of()) == set(THIRD_PARTY)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_a_layer(path: Path) -> None:
    assert layer(name_of(path)) in {None, *left_of()}, "name its layer in docs/architecture.md"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_imports_only_what_stands_to_its_left(path: Path) -> None:
    assert list(violations(path, path.read_text(encoding="utf-8"))) == []


def test_messages_import_nothing_of_ours() -> None:
    source = (PACKAGE / "messages.py").read_text(encoding="utf-8")
    assert [i.name for i in imports(source, "nbtrain") if i.name.startswith("nbtrain")] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("store/journal.py", "import torch"),
        ("store/journal.py", "def read():\n    from torch import Tensor"),
        ("store/journal.py", "import pandas"),
        ("store/journal.py", "from nbtrain.data import splits"),
        ("store/journal.py", "from nbtrain import runs"),
        ("store/journal.py", "from ..engine import loop"),
        ("data/splits.py", "from nbtrain.store import journal"),
        ("engine/loop.py", "from IPython import get_ipython"),
        ("engine/loop.py", "import importlib\nimportlib.import_module('nbtrain.ui.panel')"),
        ("engine/loop.py", "if TYPE_CHECKING:\n    from nbtrain.runs.run import Run"),
        ("errors.py", "import numpy"),
    ],
)
def test_wrong_directions_are_found(module: str, source: str) -> None:
    assert len(list(violations(PACKAGE / module, source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("store/history.py", "def to_pandas():\n    import pandas as pd"),
        ("engine/loop.py", "from nbtrain import errors\nfrom nbtrain.store import Store"),
        ("ui/panel.py", "from nbtrain import __version__\nfrom bokeh.plotting import figure"),
    ],
)
def test_right_directions_pass(module: str, source: str) -> None:
    assert list(violations(PACKAGE / module, source)) == []
