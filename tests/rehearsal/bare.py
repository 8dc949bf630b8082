"""A bare environment made without any registry: an interpreter with torch and jax, and little else.

It stands in for an image that has both: its packages are links to those of the tox environments ``torch`` and ``jax``,
but for what a kit is known to have to bring along. And wheels for a kit, made from packages that are installed here.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.maintain.gpu_kit import LACKING

THERE = ("torch", "jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "ml-dtypes", "rich", "typer", "pytest")


def make(folder: Path, interpreters: Iterable[Path]) -> Path:
    """Make the environment from the ``interpreters``, whose packages it links to; its own interpreter."""
    known: dict[str, Distribution] = {}
    base = ""
    for interpreter in interpreters:
        asked = "import sys, sysconfig; print(sys._base_executable); print(sysconfig.get_paths()['platlib'])"
        base, place = subprocess.run(
            [interpreter, "-c", asked], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        for distribution in distributions(path=[place]):
            known.setdefault(canonicalize_name(distribution.metadata["Name"]), distribution)
    subprocess.run([base, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in closure(THERE, known):
        for entry in top_level(known[name]):
            link = packages / entry
            if not link.exists():
                link.symlink_to(Path(str(known[name].locate_file(entry))))
    return folder / "bin" / "python"


def closure(names: Iterable[str], known: dict[str, Distribution]) -> set[str]:
    """The packages and all that they need, but for what a kit brings along."""
    packages: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in packages or name in LACKING or name not in known:
            continue
        packages.add(name)
        for text in known[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return packages


def top_level(distribution: Distribution) -> set[str]:
    """The files and folders that a package has in site-packages, the highest alone."""
    files = distribution.files or []
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}


def pack(name: str, target: Path) -> Path:
    """Make a wheel of a package that is installed in this environment, as it was before pip or uv unpacked it."""
    distribution = Distribution.from_name(name)
    tags = re.findall(r"^Tag: (\S+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
    first, platforms = tags[0].rpartition("-")[0], ".".join(tag.rpartition("-")[2] for tag in tags)
    if first.startswith("py2"):
        first = first.replace("py2-", "py2.py3-")
    wheel = target / f"{distribution.metadata['Name'].replace('-', '_')}-{distribution.version}-{first}-{platforms}.whl"
    files = [file for file in distribution.files or [] if ".." not in file.parts and file.suffix != ".pyc"]
    made_here = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json")
    kept = [file for file in files if not (file.parts[0].endswith(".dist-info") and file.name in made_here)]
    (info,) = {file.parts[0] for file in kept if file.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in kept:
            archive.write(str(distribution.locate_file(file)), str(file))
        names = [*map(str, kept), f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return wheel
