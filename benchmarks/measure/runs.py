"""Which run of a store a command means: a new one, or an earlier one that goes on."""

from __future__ import annotations

import secrets
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from backends.pool.environments import ROOT
from backends.pool.selection import Selection
from backends.studies.sources import Sources, sources_of
from benchmarks.machine import description
from benchmarks.measure.settings import Settings
from benchmarks.store.records import Run
from benchmarks.store.store import Store

HARNESS = "benchmarks.measure.session"
"""The module whose sources measure."""
COMMIT_FILE = "COMMIT"
"""Not tracked: benchmarks/maintain/gpu_kit.py writes it into the sources that it packs."""


def run_for(
    store: Store,
    settings: Settings,
    environments: Iterable[str],
    sources: Mapping[str, str],
    *,
    label: str,
    seed: int | None,
    command: str,
    again: bool,
) -> Run:
    """The run that a command goes on with: the latest of the store that is the same, or a new one.

    Two runs are the same when settings, machine, environments, commit and sources are.

    Parameters
    ----------
    environments
        The ids of the environments that were found.
    sources
        What ``measuring_sources`` gives.
    seed
        Of a new run; None draws one.
    again
        Whether to begin a new run even where the same one is there.
    """
    described, commit = description.fingerprint(), commit_of_suite()
    fingerprint = settings.fingerprint(described, environments, commit, sources)
    earlier = None if again else store.latest_run(fingerprint)
    if earlier is not None:
        return earlier
    started = datetime.now(UTC)
    taken = {run.run for run in store.runs()}
    name = started.strftime("%Y%m%d-%H%M%S")
    suffix = 1
    while (run_name := name if suffix == 1 else f"{name}-{suffix}") in taken:
        suffix += 1
    run = Run(
        run=run_name,
        label=label,
        settings=settings.as_json() | {"sources": dict(sources)},
        fingerprint=fingerprint,
        seed=secrets.randbits(32) if seed is None else seed,
        machine=described,
        suite_version=suite_version(),
        commit=commit,
        command=command,
        started=started,
    )
    store.add_run(run)
    return run


def measuring_sources(selection: Selection) -> dict[str, str]:
    """The hashes of the files that compute each implementation, by name, and of those that measure it: two edits of one
    working tree have the same commit, and must not have the same numbers.
    """
    return {HARNESS: Sources().of_module(HARNESS), **sources_of(selection)}


def suite_version() -> str:
    """The version of birnn: the installed one, or the sources' where birnn is only on Python's path."""
    try:
        return version("birnn")
    except PackageNotFoundError:
        return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def commit_of_suite(but: Sequence[str] = ()) -> str:
    """The short commit of the checkout, with ``-changed`` when files that it tracks differ, other than those in the
    folders ``but``; "" outside of git, as among the packages of another project, and "unknown" in a checkout that git
    cannot read.

    Sources that were carried elsewhere have it in ``COMMIT_FILE``.
    """
    carried = ROOT / COMMIT_FILE
    if carried.is_file():
        return carried.read_text().strip()
    if not (ROOT / ".git").exists():  # git would look above it, and find somebody else's repository
        return ""
    try:
        commit = _git("rev-parse", "--short", "HEAD").strip()
        where = [":/", *(f":(exclude,top,literal){folder}" for folder in but)]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *where).strip()
        return f"{commit}-changed" if changed else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    """What git says of the checkout."""
    # A checkout of another user is read all the same: its code runs already. Nothing of its configuration does.
    safely = ("-c", f"safe.directory={ROOT}", "-c", "core.fsmonitor=false", "--no-optional-locks")
    return subprocess.run(["git", *safely, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
