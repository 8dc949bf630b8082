"""What comes back from measuring on a GPU: at most 8 files of 16 MiB, and the way to go on from them elsewhere."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.maintain.gpu.steps import KitOptions
from benchmarks.report.content import read_contents
from benchmarks.report.page import render
from benchmarks.store.store import Store
from benchmarks.store.transfer import export
from common.errors import InputError, shown
from common.output import write_bytes

MOST_FILES, MOST_BYTES = 8, 16 * 2**20
"""What is carried away from such a machine."""
MOST_LOG = 4 * 2**20
"""Bytes of a log at most; of a longer one its end is kept."""
STATE = "state.tar.gz"
"""The name of the file by which another machine goes on."""
KEPT = ("results.duckdb", "state.json", "probes.json", "verify-*.json", "train-*")
"""What going on elsewhere takes, in the folder of all that is kept."""


def write(options: KitOptions, labels: Sequence[str], say: Callable[[str], None], folder: Path) -> None:
    """Write the report, the rows, the findings and the log into ``folder``; what cannot be written is said.

    ``labels`` are those of the runs to show, of which some may not have been begun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = options.work
    for name, make in (
        ("report.html", lambda file: _report(options.store, labels, file)),
        ("rows.csv", lambda file: _rows(options.store, file)),
        ("verify.json", lambda file: _joined(work, "verify-*.json", file)),
        ("probes.json", lambda file: _joined(work, "probes.json", file)),
        ("training.json", lambda file: _joined(work, "train-*/trace.json", file)),
        (STATE, lambda file: _keep(work, file)),
        ("log.txt", lambda file: write_bytes(file, (work / "log.txt").read_bytes()[-MOST_LOG:])),
    ):
        file = folder / name
        try:
            make(file)
        except (InputError, OSError, ValueError) as error:  # one file that fails keeps no other one from coming back
            say(f"{name}: not written; {error}")
            continue
        if file.exists() and file.stat().st_size > MOST_BYTES:
            size = file.stat().st_size
            file.unlink()
            say(f"{name}: left out; it has {size / 2**20:.1f} MiB, and at most {MOST_BYTES // 2**20} come back")
        elif file.exists():
            say(f"{file}: {file.stat().st_size / 2**10:.0f} KiB")


def _report(store: Path, labels: Sequence[str], file: Path) -> None:
    """One page with every run that was begun, shown one at a time: lanes are never in one table."""
    if not store.exists():
        return
    with Store.open(store) as opened:
        begun = {run.label for run in opened.runs()}
    chosen = [label for label in dict.fromkeys(labels) if label in begun]
    if chosen:
        write_bytes(file, render(read_contents(store, chosen)).encode())


def _rows(store: Path, file: Path) -> None:
    """Write a store's rows into a file."""
    if store.exists():
        with Store.open(store) as opened:
            export(opened, file)


def _joined(work: Path, pattern: str, file: Path) -> None:
    """The contents of JSON files by the name of the file, or of its folder where they share one."""
    files = sorted(work.glob(pattern))
    content = {path.stem if path.parent == work else path.parent.name: json.loads(path.read_text()) for path in files}
    if content:
        write_bytes(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _keep(work: Path, file: Path) -> None:
    """Pack what another machine needs to go on."""
    with tarfile.open(file, "w:gz") as archive:
        for pattern in KEPT:
            for path in sorted(work.glob(pattern)):
                archive.add(path, path.relative_to(work))


def restore(file: Path, work: Path) -> None:
    """Put what ``STATE`` holds into an empty folder, for the same command to go on with it.

    Raises
    ------
    InputError
        If it is no such file, if it holds anything but plain files below the folder, or if the folder holds a state
        already, which would be lost.
    """
    if (work / "state.json").exists():
        raise InputError(f"--from must come before anything is measured; {work} holds a state already")
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive.getmembers():
                _put(archive, member, work)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(f"--from must be a {STATE} of an earlier run; got {file}: {error}") from None


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, work: Path) -> None:
    """Write one plain file of an archive, and its folder; tarfile's own filters came with Python 3.11.4."""
    if member.isdir():
        return
    target = work / member.name
    content = archive.extractfile(member) if member.isfile() else None
    if content is None or not target.resolve().is_relative_to(work.resolve()):
        raise tarfile.TarError(f"it holds {shown(member.name)}, which is no plain file below the folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as out:
        shutil.copyfileobj(content, out)
