"""Runs as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.analysis.noise import Floor, floors_of
from benchmarks.analysis.ranking import standings
from benchmarks.machine.company import unfit
from benchmarks.store.records import NOT_REACHED, TIMED, Block, Ceiling, Environment, Look, Process, Row, Run
from benchmarks.store.store import Store
from common.errors import InputError
from common.judging.agreement import worst_calibrated
from common.terminal import plain

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("sortable.js", "page.js", "tables.js")
"""In this order; plotly and charts.js follow, so that the tables are there before plotly has been parsed."""


@dataclass(frozen=True)
class Content:
    """One run with all that belongs to it."""

    run: Run
    rows: Sequence[Row]
    blocks: Sequence[Block]
    ceilings: Sequence[Ceiling]
    environments: Sequence[Environment]
    processes: Sequence[Process]
    looks: Sequence[Look] = ()


def read_contents(path: Path, names: Sequence[str]) -> list[Content]:
    """What a report shows of runs (each a name, its beginning, a label, or last) in the store at ``path``.

    Raises
    ------
    InputError
        If the store cannot be read or there is no such run.
    """
    with Store.open(path) as store:
        runs = {found.run: found for found in map(store.find_run, names)}
        return [
            Content(
                run,
                store.rows(name),
                store.blocks(name),
                store.ceilings(name),
                store.environments(name),
                store.processes(name),
                store.looks(name),
            )
            for name, run in runs.items()
        ]


def render(contents: Sequence[Content]) -> str:
    """The page of one or several runs, which it shows one at a time.

    Raises
    ------
    InputError
        If plotly is not installed.
    """
    day = max(content.run.started for content in contents)
    title = f"birnn benchmark, {day.day} {day:%B %Y}"
    parts = {
        "title": html.escape(title),
        "summaries": "\n".join(f'<p class="lead">{html.escape(plain(summary(content)))}</p>' for content in contents),
        "warnings": "\n".join(each for content in contents for each in _warnings(content, len(contents) > 1)),
        "style": _asset("report.css"),
        "content": _json_for_html(_as_json(contents)),
        "scripts": "\n".join(_asset(name) for name in SCRIPTS),
        "plotly": _plotly(),
        "charts": _asset("charts.js"),
    }
    return Template(_asset("report.html")).substitute(parts)


def summary(content: Content) -> str:
    """The run in a few sentences: what was measured, where, when, with which versions."""
    run = content.run
    statuses = Counter(row.status for row in content.rows)
    timed = sum(statuses[status] for status in TIMED)
    others = ", ".join(f"{count} {status}" for status, count in statuses.items() if status not in TIMED)
    machine = " · ".join(_machine(run.machine))
    versions = ", ".join(f"{name} {version}" for name, version in _versions(content.environments).items())
    return " ".join(
        [
            f"{timed} of {len(content.rows)} combinations have a time{f' ({others})' if others else ''}.",
            f"Measured on {machine}." if machine else "",
            f"{_when(run)}, birnn {run.suite_version}, commit {run.commit or 'unknown'}",
            f"with {versions}." if versions else "without a framework.",
        ]
    )


def _warnings(content: Content, named: bool) -> Iterator[str]:
    """The banners of a run that is not finished, and of one whose machine was not fit."""
    run = content.run
    which = f"Run {run.run}" if named else "This run"
    if run.finished is None:
        missing = sum(row.status == NOT_REACHED for row in content.rows)
        yield _banner(
            "unfinished",
            f"{which} is not finished: {missing} of {len(content.rows)} combinations have not been reached, and "
            f"intervals may still get narrower. The same command goes on: {run.command}",
        )
    if text := unfit(sorted(content.rows, key=lambda row: row.key.job), content.processes, content.looks):
        yield _banner("unfit", f"Run {run.run}: {text}" if named else text)


def _banner(kind: str, text: str) -> str:
    return f'<p class="{kind}" role="alert">{html.escape(plain(text))}</p>'


def _machine(machine: dict[str, Any]) -> list[str]:
    found = []
    if machine.get("gpu"):
        found.append(str(machine["gpu"]))
    if machine.get("processor"):
        found.append(str(machine["processor"]))
    if machine.get("cores"):
        found.append(f"{machine['cores']} cores")
    if isinstance(machine.get("memory_bytes"), int | float):
        found.append(f"{machine['memory_bytes'] / 2**30:.3g} GiB")
    return found


def _versions(environments: Sequence[Environment]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for environment in environments:
        for name, version in environment.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: " and ".join(versions) for name, versions in found.items()}


def _when(run: Run) -> str:
    started = f"{_day(run.started)}, {run.started:%H:%M}"
    if run.finished is None:
        return f"{started} UTC, not finished"
    same_day = run.finished.date() == run.started.date()
    return f"{started} to {run.finished:%H:%M} UTC" if same_day else f"{started} to {run.finished:%Y-%m-%d %H:%M} UTC"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _as_json(contents: Sequence[Content]) -> dict[str, Any]:
    """What the page's scripts read."""
    found: dict[str, Any] = {"published": tomllib.loads(_asset("published.toml"))["figure"], "environments": []}
    for content in contents:
        floors = floors_of(content.blocks)  # a run that was not finished has none stored yet
        part = {
            "runs": [_plain(dataclasses.asdict(content.run)) | _floor(floors.of_run)],
            "rows": [_flat(row) | {"far": is_far(row)} for row in content.rows],
            "standings": [
                _flat(standing) | {"run": content.run.run}
                for standing in standings(content.rows, content.blocks, floors.of_job)
            ],
            "ceilings": _plain([dataclasses.asdict(ceiling) for ceiling in content.ceilings]),
            "processes": _plain([dataclasses.asdict(process) for process in content.processes]),
        }
        for name, records in part.items():
            found.setdefault(name, []).extend(records)
        for environment in content.environments:
            if (one := _plain(dataclasses.asdict(environment))) not in found["environments"]:
                found["environments"].append(one)
    return found


def is_far(row: Row) -> bool:
    """Whether a row that agrees is farther off than correct code ever was when the limits were calibrated."""
    worst = worst_calibrated().get(row.key.dtype, {})
    errors = {"rms": row.error_rms, "max": row.error_max}
    return any(error is not None and error > worst.get(name, math.inf) for name, error in errors.items())


def _floor(floor: Floor | None) -> dict[str, float | None]:
    """A run's noise floor under the names that it has in the store."""
    part, low, high = (None, None, None) if floor is None else (floor.part, floor.low, floor.high)
    return {"noise_floor": part, "noise_floor_low": low, "noise_floor_high": high}


def _flat(record: Any) -> dict[str, Any]:
    """A record whose key's columns stand beside its own; ``passed`` is called ``pass``, as in the store."""
    found = _plain(dataclasses.asdict(record))
    key = found.pop("key")
    key["pass"] = key.pop("passed")
    return {**key, "framework": record.key.framework, **found}


def _plain(value: Any) -> Any:
    """``value`` in JSON's types; infinity and NaN, which JSON has not, as the words that JavaScript reads."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str | int | float | None):
        return value
    return str(value)


def _json_for_html(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever a log holds."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise InputError("birnn report needs plotly; install it with: pip install 'birnn[bench]'") from None
    return get_plotlyjs()
