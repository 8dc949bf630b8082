"""What stands above a run's numbers: what was measured, where, when, with which versions, and what warns of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.machine.company import unfit
from benchmarks.report.content import Content
from benchmarks.store.records import NOT_REACHED, TIMED, Environment, Run


def summary(content: Content) -> tuple[str, str]:
    """The machine, the time and how much was timed in one sentence; the rest, versions included, in another."""
    run = content.run
    statuses = Counter(row.status for row in content.rows)
    timed = sum(statuses[status] for status in TIMED)
    others = ", ".join(f"{count} {status}" for status, count in statuses.items() if status not in TIMED)
    machine = " · ".join(_machine(run.machine))
    versions = ", ".join(f"{name} {version}" for name, version in _versions(content.environments).items())
    where = f"Measured on {machine}, " if machine else "Measured "
    return (
        f"{where}{_when(run)}. {timed} of {len(content.rows)} combinations have a time.",
        " ".join(
            [
                f"Without a time: {others}." if others else "",
                f"birnn {run.suite_version}, commit {run.commit or 'unknown'},",
                f"with {versions}." if versions else "without a framework.",
            ]
        ).strip(),
    )


def warnings(content: Content) -> Iterator[tuple[str, str]]:
    """A kind and a sentence for a run that is not finished, and for one whose machine was not fit."""
    run = content.run
    if run.finished is None:
        missing = sum(row.status == NOT_REACHED for row in content.rows)
        yield (
            "unfinished",
            f"This run is not finished: {missing} of {len(content.rows)} combinations have not been reached, and "
            f"intervals may still get narrower. The same command goes on: {run.command}",
        )
    if text := unfit(sorted(content.rows, key=lambda row: row.key.job), content.processes, content.looks):
        yield "unfit", text


def _machine(machine: dict[str, Any]) -> list[str]:
    """What is known of a machine, in a few words each: GPU, processor, cores and memory."""
    parts = []
    if machine.get("gpu"):
        parts.append(str(machine["gpu"]))
    if machine.get("processor"):
        parts.append(str(machine["processor"]))
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if isinstance(machine.get("memory_bytes"), int | float):
        parts.append(f"{machine['memory_bytes'] / 2**30:.3g} GiB")
    return parts


def _versions(environments: Sequence[Environment]) -> dict[str, str]:
    """The versions of each package, several where environments differ."""
    by_name: dict[str, dict[str, None]] = {}
    for environment in environments:
        for name, version in environment.versions.items():
            by_name.setdefault(name, {})[version] = None
    return {name: " and ".join(versions) for name, versions in by_name.items()}


def _when(run: Run) -> str:
    """When a run began and ended, in UTC and to the minute."""
    started = f"{run.started:%Y-%m-%d}, {run.started:%H:%M}"
    if run.finished is None:
        return f"{started} UTC, not finished"
    same_day = run.finished.date() == run.started.date()
    return f"{started} to {run.finished:%H:%M} UTC" if same_day else f"{started} to {run.finished:%Y-%m-%d %H:%M} UTC"
