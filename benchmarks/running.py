"""Which run of a store a command means: a new one, or an earlier one that goes on."""

from __future__ import annotations

import secrets
import subprocess
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from backends.environments import ROOT
from benchmarks import machine
from benchmarks.records import Run
from benchmarks.settings import Settings
from benchmarks.store import Store

COMMIT_FILE = "COMMIT"
"""Not tracked: benchmarks/maintain/gpu_kit.py writes it into the sources that it packs."""


def run_for(
    store: Store,
    settings: Settings,
    environments: Iterable[str],
    *,
    label: str,
    seed: int | None,
    command: str,
    again: bool,
) -> Run:
    """The latest run of the store with the same settings, machine, environments and commit, or a new one.

    ``environments`` are the ids of those that were found; ``again`` asks for a new one in any case; ``seed`` is drawn
    where none is given.
    """
    described, commit = machine.fingerprint(), commit_of_suite()
    fingerprint = settings.fingerprint(described, environments, commit)
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
        settings=settings.as_json(),
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


def suite_version() -> str:
    """The version of birnn: the installed one, or the sources' where birnn is only on Python's path."""
    try:
        return version("birnn")
    except PackageNotFoundError:
        return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def commit_of_suite() -> str:
    """The short commit of the checkout, with ``-changed`` when files that it tracks differ; "" outside of git.

    Sources that were carried elsewhere have it in ``COMMIT_FILE``.
    """
    carried = ROOT / COMMIT_FILE
    if carried.is_file():
        return carried.read_text().strip()
    try:
        commit = _git("rev-parse", "--short", "HEAD").strip()
        return f"{commit}-changed" if _git("status", "--porcelain", "--untracked-files=no").strip() else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
