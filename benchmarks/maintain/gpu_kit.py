"""Fill a folder with all that measuring on a machine with a GPU and without a network takes; docs/gpu.md tells how.

    python -m benchmarks.maintain.gpu_kit DIR          here
    bash DIR/run.sh                                    there

The folder gets the tracked sources, the wheels that such a machine lacks, and ``run.sh``, together at most 48 MiB.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from benchmarks.measure.runs import COMMIT_FILE, commit_of_suite
from common.errors import InputError, shown

LARGEST = 48 * 2**20
"""Bytes that all files together may have."""
KIND = "birnn GPU kit"
"""What the kit calls itself in its files."""
DESCRIPTION = "kit.json"
"""The file by which a folder is known for a kit."""
SOURCES, WHEELS, SCRIPT = "sources.tar.gz", "wheels", "run.sh"
"""The names of what is in the kit."""
LACKING = (
    "annotated-types",
    "duckdb",
    "g2pm",
    "pydantic",
    "pydantic-core",
    "typing-inspection",
)
"""What an image with torch, jax, flax, optax, numpy, safetensors, ml-dtypes, rich, typer and pytest lacks."""
GLIBC = range(5, 29)
"""Minor versions of the glibc 2 that wheels may need: 28 is that of 2018. pip matches each one exactly."""


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier kit.")],
    python: Annotated[str, typer.Option(metavar="X.Y", help="The Python that is there.")] = "3.12",
    with_package: Annotated[
        list[str], typer.Option("--with", metavar="NAME", help="Another package that is missing there; repeatable.")
    ] = [],  # noqa: B006
    wheels: Annotated[
        Path | None, typer.Option("--wheels", metavar="FOLDER", help="Take the wheels from there, not from a registry.")
    ] = None,
) -> None:
    """Make the kit; exit 2, with one sentence, where that cannot be."""
    if not re.fullmatch(r"3\.\d+", python):
        raise InputError(f"--python must be a version such as 3.12; got {shown(python)}")
    check_folder(folder)
    names = sorted({*LACKING, *(name.lower() for name in with_package)})
    # Beside it, so that the files are moved and not copied when they are whole.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        part = Path(name)
        pack_sources(part / SOURCES)
        download(pins(names), python, part / WHEELS, wheels)
        shutil.copy(Path(__file__).parent / "gpu" / "run.sh", part / SCRIPT)
        files = sorted(path.name for path in (part / WHEELS).iterdir())
        digest = hashlib.sha256((part / SOURCES).read_bytes()).hexdigest()
        content = {"kind": KIND, "commit": commit_of_suite(), "python": python, "sources": digest, "wheels": files}
        (part / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n")
        size = check_size(part)
        folder.mkdir(exist_ok=True)
        for path in part.iterdir():
            remove(folder / path.name)
            path.rename(folder / path.name)
    print(f"{folder}: {size / 2**20:.1f} MiB, {len(files)} wheels for Python {python}; there: bash {folder}/{SCRIPT}")


def check_folder(folder: Path) -> None:
    """Raise an ``InputError`` unless a kit can be made there without anything being lost."""
    parent = folder.resolve().parent
    if not parent.is_dir():
        raise InputError(f"DIR must be in a folder that exists; {parent} is none")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"DIR must be a folder; got the file {folder}")
    if folder.exists() and any(folder.iterdir()) and not is_kit(folder):
        raise InputError(f"DIR must be new, empty, or an earlier kit; {folder} holds something else")
    free = shutil.disk_usage(parent).free
    if free < 2 * LARGEST:
        raise InputError(
            f"{parent} must have {2 * LARGEST / 2**20:.0f} MiB free to make the kit; it has {free / 2**20:.0f}"
        )


def is_kit(folder: Path) -> bool:
    """Whether a folder has been filled by this program."""
    try:
        return json.loads((folder / DESCRIPTION).read_text()).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pack_sources(file: Path) -> None:
    """Write the tracked files as they are now, and the commit, into a .tar.gz."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise InputError(f"the kit must be made in a checkout of git; {ROOT} is none") from None
    with tempfile.TemporaryDirectory() as name, tarfile.open(file, "w:gz") as archive:
        for path in sorted(listed.split("\0")):
            if path and (ROOT / path).exists():
                archive.add(ROOT / path, path)
        commit = Path(name) / COMMIT_FILE
        commit.write_text(f"{commit_of_suite()}\n")
        archive.add(commit, COMMIT_FILE)


def pins(names: Iterable[str]) -> list[str]:
    """``name==version`` as requirements/study.txt pins it; an ``InputError`` for what it does not."""
    text = (ROOT / "requirements" / "study.txt").read_text()
    known = {line.partition("==")[0]: line for line in re.findall(r"^[\w.-]+==\S+$", text, re.MULTILINE)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--with must name a package of requirements/study.txt; got {shown(unknown[0])}")
    return [known[name] for name in names]


def download(requirements: Sequence[str], python: str, target: Path, source: Path | None) -> None:
    """Have pip put the wheels of pinned requirements into ``target``, from a registry or from the folder ``source``."""
    target.mkdir()
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
    command = [*pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(target)]
    command += ["--implementation", "cp", "--python-version", python]
    command += [word for platform in platforms for word in ("--platform", platform)]
    if source is not None:
        command += ["--no-index", "--find-links", str(source.resolve())]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"pip must find {', '.join(requirements)} for Python {python}; got: {' '.join(lines[-1:])}")


def pip() -> list[str]:
    """The command pip: this interpreter's, or else the one on the path."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    program = shutil.which("pip")
    if program is None:
        raise InputError(f"pip must be there to take the wheels with; neither {sys.executable} nor the path has one")
    return [program]


def check_size(folder: Path) -> int:
    """The bytes of all files in a folder; an ``InputError`` where they are too many, naming the largest."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > LARGEST:
        largest = ", ".join(
            f"{path.name} {sizes[path] / 2**20:.1f}" for path in sorted(sizes, key=lambda path: -sizes[path])[:3]
        )
        raise InputError(f"the kit must have at most {LARGEST / 2**20:.0f} MiB; got {total / 2**20:.1f}: {largest}")
    return total


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"gpu_kit: {error}", file=sys.stderr)
        sys.exit(2)
