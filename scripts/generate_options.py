"""Writes docs/options.md from the declarations in nbtrain/options.py.

python scripts/generate_options.py
"""

from __future__ import annotations

from pathlib import Path

from nbtrain import options

PAGE = Path(__file__).parent.parent / "docs" / "options.md"

HEAD = """# Options

Of `%%train NAME`, of `nbtrain.train`, and, where marked ●, of `Run.set` and `%train set` while
the run trains. This page is written from the declarations that the panel, the magics and the
checks use: `python scripts/generate_options.py`.

A value of `%%train` may be a Python expression in braces: `--lr {base_lr / 2}`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    groups: dict[str, list[options.Option]] = {}
    for option in options.OPTIONS.values():
        groups.setdefault(option.group, []).append(option)
    parts = [HEAD]
    for group, members in groups.items():
        rows = [
            f"\n## {group}\n",
            "| option | | takes | default | meaning |",
            "|---|---|---|---|---|",
        ]
        for option in members:
            live = "●" if isinstance(option, options.Knob) else ""
            flag = option.flag if option.kind != "flag" else f"--[no-]{option.flag[2:]}"
            also = "".join(f"<br>`--{a.replace('_', '-')}`" for a in option.aliases)
            default = "" if option.default is None else f"`{option.default}`"
            unit = f" ({option.unit})" if option.unit else ""
            cells = (f"`{flag}`{also}", live, option.range + unit, default, option.doc)
            rows.append("| " + " | ".join(c.replace("|w|", "\\|w\\|") for c in cells) + " |")
        parts.append("\n".join(rows) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
