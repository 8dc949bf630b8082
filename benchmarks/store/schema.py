"""The tables of a store, and how a record becomes a line of a table and back; docs/results.md describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from benchmarks.store.records import STATUSES, TIMED, Block, Ceiling, Environment, Key, Look, Process, Row, Run
from common.errors import shown

SCHEMA_VERSION = 4
"""The version of the tables."""
MOST_NESTED = 20
"""Levels of a JSON value."""

_TEXT, _JSON, _WHOLE, _REAL, _TRUTH, _TIME = "VARCHAR", "JSON", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP"
_GIVEN = " NOT NULL"

TABLES: Mapping[str, Mapping[str, str]] = {
    "store": {"schema_version": _WHOLE + _GIVEN, "created": _TIME + _GIVEN},
    "runs": {
        "run": _TEXT + " PRIMARY KEY",
        "label": _TEXT + _GIVEN,
        "settings": _JSON + _GIVEN,
        "fingerprint": _TEXT + _GIVEN,
        "seed": "UBIGINT" + _GIVEN,
        "machine": _JSON + _GIVEN,
        "suite_version": _TEXT + _GIVEN,
        "commit": _TEXT + _GIVEN,
        "command": _TEXT + _GIVEN,
        "started": _TIME + _GIVEN,
        "finished": _TIME,
        "noise_floor": _REAL,
        "noise_floor_low": _REAL,
        "noise_floor_high": _REAL,
    },
    "environments": {
        "environment": _TEXT + " PRIMARY KEY",
        "framework": _TEXT + _GIVEN,
        "versions": _JSON + _GIVEN,
        "packages": _JSON + _GIVEN,
    },
    "processes": {
        "run": _TEXT + _GIVEN,
        "framework": _TEXT + _GIVEN,
        "environment": _TEXT + _GIVEN,
        "ordinal": _WHOLE + _GIVEN,
        "threads": _WHOLE + _GIVEN,
        "import_seconds": _REAL + _GIVEN,
        "busy_threads": _REAL + _GIVEN,
    },
    "blocks": {
        "run": _TEXT + _GIVEN,
        "implementation": _TEXT + _GIVEN,
        "framework": _TEXT + _GIVEN,
        "case": _TEXT + _GIVEN,
        "pass": _TEXT + _GIVEN,
        "dtype": _TEXT + _GIVEN,
        "device": _TEXT + _GIVEN,
        "lane": _TEXT + _GIVEN,
        "threads": _WHOLE + _GIVEN,
        "process": _WHOLE + _GIVEN,
        "cycle": _WHOLE + _GIVEN,
        "twin": _WHOLE + _GIVEN,
        "warmup": _TRUTH + _GIVEN,
        "started": _TIME + _GIVEN,
        "samples": _REAL + "[]" + _GIVEN,
        "others_cpu": _REAL + _GIVEN,
    },
    "looks": {
        "run": _TEXT + _GIVEN,
        "process": _WHOLE + _GIVEN,
        "threads": _WHOLE + _GIVEN,
        "what": _TEXT + _GIVEN,
        "started": _TIME + _GIVEN,
        "seconds": _REAL + _GIVEN,
        "load": _REAL + _GIVEN,
        "others_cpu": _REAL,
        "stolen_cpu": _REAL,
        "clock_mhz": _REAL,
    },
    "ceilings": {
        "run": _TEXT + _GIVEN,
        "name": _TEXT + _GIVEN,
        "device": _TEXT + _GIVEN,
        "dtype": _TEXT + _GIVEN,
        "threads": _WHOLE + _GIVEN,
        "value": _REAL + _GIVEN,
        "how": _TEXT + _GIVEN,
    },
    "rows": {
        "run": _TEXT + _GIVEN,
        "implementation": _TEXT + _GIVEN,
        "framework": _TEXT + _GIVEN,
        "cell": _TEXT + _GIVEN,
        "case": _TEXT + _GIVEN,
        "seq_len": _WHOLE + _GIVEN,
        "batch": _WHOLE + _GIVEN,
        "input_size": _WHOLE + _GIVEN,
        "hidden_size": _WHOLE + _GIVEN,
        "num_layers": _WHOLE + _GIVEN,
        "ragged": _TRUTH + _GIVEN,
        "pass": _TEXT + _GIVEN,
        "dtype": _TEXT + _GIVEN,
        "device": _TEXT + _GIVEN,
        "lane": _TEXT + _GIVEN,
        "threads": _WHOLE + _GIVEN,
        "status": _TEXT + _GIVEN,
        "reason": _TEXT + _GIVEN,
        "median_seconds": _REAL,
        "low_seconds": _REAL,
        "high_seconds": _REAL,
        "first_call_seconds": _REAL,
        "fraction_of_limit": _REAL,
        "limit_seconds": _REAL,
        "binding": _TEXT + _GIVEN,
        "microseconds_per_step": _REAL,
        "noise_floor": _REAL,
        "noise_floor_low": _REAL,
        "noise_floor_high": _REAL,
        "samples": _WHOLE + _GIVEN,
        "processes": _WHOLE + _GIVEN,
        "stop": _TEXT + _GIVEN,
        "bimodal": _TRUTH + _GIVEN,
        "import_seconds": _REAL,
        "build_seconds": _REAL,
        "peak_host_bytes": _WHOLE,
        "peak_device_bytes": _WHOLE,
        "error_rms": _REAL,
        "error_max": _REAL,
        "path": _TEXT + _GIVEN,
        "kernels": _TEXT + "[]" + _GIVEN,
        "environment": _TEXT + _GIVEN,
        "command": _TEXT + _GIVEN,
        "log": _TEXT + _GIVEN,
        "others_cpu": _REAL,
        "under_load": _TRUTH,
        "p95_seconds": _REAL,
        "p99_seconds": _REAL,
        "rows_per_second": _REAL,
        "steps_per_second": _REAL,
    },
}
"""Each table's columns with their types, in order. Only what is written once has a primary key: DuckDB 1.1 can neither
replace a line with a list nor delete and insert one key in one transaction."""

TABLE_OF = {
    Run: "runs",
    Environment: "environments",
    Process: "processes",
    Block: "blocks",
    Look: "looks",
    Ceiling: "ceilings",
    Row: "rows",
}
"""The table of each kind of record."""
_PYTHON: Mapping[str, Any] = {
    _TEXT: str,
    _JSON: str,
    _WHOLE: int,
    "UBIGINT": int,
    _REAL: float,
    _TRUTH: bool,
    _TIME: datetime,
}
_MEANT = {
    _TEXT: "a text",
    _JSON: "a JSON object",
    _WHOLE: "a whole number",
    "UBIGINT": "a whole number",
    _REAL: "a number",
    _TRUTH: "true or false",
    _TIME: "a time from the year 1 to 9999",
    _REAL + "[]": "numbers",
    _TEXT + "[]": "texts",
}
IDENTITY = {
    "processes": ("run", "framework", "environment", "ordinal", "threads"),
    "ceilings": ("run", "name", "device", "dtype", "threads"),
    "rows": ("run", "implementation", "case", "pass", "dtype", "device", "lane", "threads"),
}
"""What tells the lines of a table apart, where a later line takes the place of an earlier one."""

Record = TypeVar("Record", Run, Environment, Process, Block, Look, Ceiling, Row)
"""The kind of a record."""
AnyRecord = Run | Environment | Process | Block | Look | Ceiling | Row
"""A record of any kind."""


def create_statements() -> list[str]:
    """The SQL that makes the tables of an empty store."""
    return [
        f"CREATE TABLE {name} ({', '.join(f'{quoted(column)} {kind}' for column, kind in columns.items())})"
        for name, columns in TABLES.items()
    ]


def quoted(name: str) -> str:
    """A column's name in SQL: ``case`` is a word of the language."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: object) -> str:
    """A text in SQL, where no parameter can stand."""
    return "'" + str(text).replace("'", "''") + "'"


def line_of(record: AnyRecord) -> dict[str, Any]:
    """A record as its table's columns."""
    line: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        line |= key_columns(value) if isinstance(value, Key) else {field.name: _stored(value)}
    return line


def key_columns(key: Key) -> dict[str, Any]:
    """A key's columns, with the framework."""
    columns = {field.name: getattr(key, field.name) for field in fields(key)}
    columns["pass"] = columns.pop("passed")
    return columns | {"framework": key.framework}


def record_of(kind: type[Record], columns: Sequence[str], values: Sequence[Any]) -> Record:
    """What ``line_of`` took apart.

    Raises
    ------
    ValueError
        If a value is not what ``line_of`` writes; the text names table and column.
    """
    line = dict(zip(columns, values, strict=True))
    names = {field.name for field in fields(kind)}
    types = TABLES[TABLE_OF[kind]]
    for name, value in line.items():
        try:
            line[name] = _loaded(value, types[name])
        except (ValueError, RecursionError):
            wanted = types[name].removesuffix(_GIVEN)
            raise ValueError(f"{TABLE_OF[kind]}.{name} must be {_MEANT[wanted]}; got {shown(value)}") from None
    content = {name: value for name, value in line.items() if name in names}
    if "key" in names:
        parts = {field.name: line["pass" if field.name == "passed" else field.name] for field in fields(Key)}
        content["key"] = Key(**parts)
    if kind is Block:
        content["samples"] = tuple(content["samples"])
    record = kind(**content)
    _require_sense(record)
    return record


def _require_sense(record: Any) -> None:
    """See that values fit each other, as far as whoever reads the record leans on it."""
    if isinstance(record, Block | Row) and not all(record.key.implementation.partition("/")):
        name = shown(record.key.implementation)
        raise ValueError(f"{TABLE_OF[type(record)]}.implementation must be framework/name; got {name}")
    if isinstance(record, Block) and not (record.samples and all(0 <= each < np.inf for each in record.samples)):
        raise ValueError(f"blocks.samples must be seconds, at least one; got {shown(record.samples)}")
    if isinstance(record, Row) and record.status not in STATUSES:
        raise ValueError(f"rows.status must be one of {', '.join(STATUSES)}; got {shown(record.status)}")
    if isinstance(record, Row) and record.status in TIMED and record.median_seconds is None:
        raise ValueError(f"rows.median_seconds must be a number where the status is {record.status}; got NULL")
    if isinstance(record, Environment) and not all(isinstance(each, str) for each in _texts_of(record)):
        raise ValueError(f"environments.versions and packages must be texts by name; got {shown(record.versions)}")


def _texts_of(environment: Environment) -> list[Any]:
    """The texts of an environment."""
    return [*environment.versions.values(), *environment.packages.values()]


def _stored(value: Any) -> Any:
    """A value as a table holds it."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return [_stored(each) for each in value]
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).replace(tzinfo=None)
    if isinstance(value, str):  # a log may hold what is no Unicode, as a file's name may; DuckDB takes Unicode alone
        return value.encode("utf-8", "backslashreplace").decode()
    return value.item() if isinstance(value, np.generic) else value


def _is_shallow(value: Any, levels: int) -> bool:
    """Whether a JSON value is nested in no more levels: what is shown is walked through level by level."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_shallow(each, levels - 1) for each in inner)


def _loaded(value: Any, kind: str) -> Any:
    """A value of the database as a record has it; ``ValueError`` where it is not of that kind."""
    kind, _, rule = kind.partition(" ")
    if value is None:
        if rule:
            raise ValueError
        return None
    if kind.endswith("[]"):
        if not isinstance(value, list) or None in value:
            raise ValueError
        return value
    if not isinstance(value, _PYTHON[kind]):
        raise ValueError
    if kind == _JSON:
        content = json.loads(value)
        if not isinstance(content, dict) or not _is_shallow(content, MOST_NESTED):
            raise ValueError
        return content
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
