"""Real plug-ins for one test: a distribution with an entry point in a folder of its own, which PYTHONPATH names."""

from __future__ import annotations

import os
from pathlib import Path

from backends.pool.environments import ROOT
from backends.registry import ENTRY_POINT_GROUP


def plug(folder: Path, name: str, target: str, source: str | None = None) -> dict[str, str]:
    """Install the entry point ``name = target`` into ``folder``, with the module ``target`` names where its source is
    given; the environment variables of a process that sees it.
    """
    information = folder / f"birnn_{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: birnn-{name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {target}\n")
    if source is not None:
        (folder / f"{target.partition(':')[0]}.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
