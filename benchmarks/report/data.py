"""What a page's scripts read: its runs as one JSON object, which the page carries compressed."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.analysis.noise import Floor, floors_of
from benchmarks.analysis.ranking import standings
from benchmarks.report.content import Content
from benchmarks.report.summary import summary, warnings
from benchmarks.store.records import Row, Run
from common.errors import InputError
from common.judging.agreement import worst_calibrated

ASSETS = Path(__file__).resolve().parent / "assets"
"""The folder of the page's scripts, styles and published figures."""
DIGITS = 6
"""Significant digits of a number that is no whole one; the page shows five at most."""
CONTENT = re.compile(r'<script type="text/plain" id="content">([A-Za-z0-9+/=]*)</script>')
"""The element in which a page carries its data, gzipped and in base64."""


def data_of(contents: Sequence[Content]) -> dict[str, Any]:
    """All that a page of these runs is drawn from, in JSON's types."""
    published = tomllib.loads((ASSETS / "published.toml").read_text(encoding="utf-8"))
    data: dict[str, Any] = {"published": published["figure"], "environments": []}
    for content in contents:
        floors = floors_of(content.blocks)  # a run that was not finished has none stored yet
        directions = directions_of(content.run)
        part = {
            "runs": [_plain(dataclasses.asdict(content.run) | _floor(floors.of_run)) | _words(content)],
            "rows": [
                _flat(row) | {"far": is_far(row), "directions": directions.get(row.key.case, 2)} for row in content.rows
            ],
            "standings": [
                _flat(standing) | {"run": content.run.run}
                for standing in standings(content.rows, content.blocks, floors.of_job)
            ],
            "ceilings": _plain([dataclasses.asdict(ceiling) for ceiling in content.ceilings]),
            "processes": _plain([dataclasses.asdict(process) for process in content.processes]),
        }
        for name, records in part.items():
            data.setdefault(name, []).extend(records)
        for environment in content.environments:
            if (one := _plain(dataclasses.asdict(environment))) not in data["environments"]:
                data["environments"].append(one)
    return data


def directions_of(run: Run) -> dict[str, int]:
    """How many directions each case of a run has: two, where its settings, which a store brings as data, do not say
    one.
    """
    cases = run.settings.get("cases", ())
    counts = {}
    for case in cases if isinstance(cases, list) else ():
        match case:
            case {"name": str(name), "spec": {"num_directions": 1}}:
                counts[name] = 1
            case {"name": str(name)}:
                counts[name] = 2
    return counts


def is_far(row: Row) -> bool:
    """Whether a row that agrees is farther off than correct code ever was when the limits were calibrated."""
    worst = worst_calibrated().get(row.key.dtype, {})
    errors = {"rms": row.error_rms, "max": row.error_max}
    return any(error is not None and error > worst.get(name, math.inf) for name, error in errors.items())


def _floor(floor: Floor | None) -> dict[str, float | None]:
    """A run's noise floor under the names that it has in the store."""
    part, low, high = (None, None, None) if floor is None else (floor.part, floor.low, floor.high)
    return {"noise_floor": part, "noise_floor_low": low, "noise_floor_high": high}


def _words(content: Content) -> dict[str, Any]:
    """The sentences that stand above a run's numbers: what was measured, and what warns of it."""
    return {"summary": list(summary(content)), "warnings": [list(each) for each in warnings(content)]}


def _flat(record: Any) -> dict[str, Any]:
    """A record whose key's columns stand beside its own; ``passed`` is called ``pass``, as in the store."""
    columns = _plain(dataclasses.asdict(record))
    key = columns.pop("key")
    key["pass"] = key.pop("passed")
    return {**key, "framework": record.key.framework, **columns}


def _plain(value: Any) -> Any:
    """``value`` in JSON's types, its numbers with the digits that a page needs; infinity and NaN, which JSON has not,
    as the words that JavaScript reads.
    """
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.{DIGITS}g}")
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str | int | None):
        return value
    return str(value)


def packed(data: dict[str, Any]) -> str:
    """``data`` as the text of a page's element: no log can end the element it stands in."""
    return compressed(json.dumps(data, allow_nan=False, separators=(",", ":")).encode())


def data_in(page: str) -> dict[str, Any]:
    """What a page was drawn from.

    Raises
    ------
    InputError
        If ``page`` is none that ``birnn report`` has written.
    """
    element = CONTENT.search(page)
    if element is None:
        raise InputError("a page must be one that birnn report has written; got one without its data")
    return json.loads(gzip.decompress(base64.b64decode(element[1])))


def compressed(content: bytes) -> str:
    """Bytes as a browser unpacks them (assets/unpack.js): gzip in base64, equal for equal bytes."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
