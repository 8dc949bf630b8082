"""Results files: what was measured of each claim, with machine, versions and commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.pool.environments import ROOT
from benchmarks.claims.claim import NOT_MEASURED, Claim, Point, Verdict, judge
from common.errors import InputError, from_validation
from common.tensorfile import json_from_text, write_bytes

RESULTS = ROOT / "results" / "claims"
"""Where the committed measurements are."""


class Measurement(BaseModel):
    """The results file of one claim.

    ``parts`` are the points of each part by its name; ``left_out`` says why a part has none; ``versions`` are the
    libraries of each framework; ``source`` is the hash of the files that measured it; ``others_cpu`` the cores that
    other processes took meanwhile, None where that is not known.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    claim: str
    command: str
    started: str
    commit: str
    source: str
    machine: dict[str, Any]
    threads: int
    versions: dict[str, dict[str, str]]
    parts: dict[str, list[Point]]
    left_out: dict[str, str] = {}
    others_cpu: float | None = None

    @property
    def points(self) -> list[Point]:
        """All points, part by part."""
        return [point for points in self.parts.values() for point in points]


def results_file(folder: Path, claim: Claim) -> Path:
    """Where a claim's measurement is."""
    return folder / f"{claim.name}.json"


def unfinished_file(folder: Path, claim: Claim) -> Path:
    """Where it is while parts are missing."""
    return folder / f"{claim.name}.part.json"


def read_measurement(file: Path) -> Measurement | None:
    """What a results file holds; None where there is none.

    Raises
    ------
    InputError
        If it cannot be read, or is no results file of a claim.
    """
    try:
        return Measurement.model_validate(json_from_text(file.read_text(encoding="utf-8"), str(file)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise from_validation(error, str(file)) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} must be UTF-8; got the byte {error.object[error.start]:#x}") from None
    except OSError as error:
        raise InputError(f"{file} must be a file that can be read; got: {error.strerror}") from None


def write_measurement(file: Path, measurement: Measurement) -> None:
    """Write a results file, whole or not at all: a line for each point."""
    content = measurement.model_dump(mode="json")
    parts = content.pop("parts")
    head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    told = []
    for name, points in parts.items():
        lines = ",\n".join(f"   {json.dumps(point, ensure_ascii=False)}" for point in points)
        told.append(f"  {json.dumps(name, ensure_ascii=False)}: [\n{lines}\n  ]")
    text = head + ',\n "parts": {\n' + ",\n".join(told) + "\n }\n}\n"
    write_bytes(file, text.encode())


def verdict_of(claim: Claim, measurement: Measurement | None) -> Verdict:
    """The verdict on a claim; ``NOT_MEASURED`` where a part of it has neither points nor a reason why not."""
    if measurement is None or measurement.claim != claim.name:
        return Verdict(NOT_MEASURED)
    if {part.name for part in claim.parts} - measurement.parts.keys() - measurement.left_out.keys():
        return Verdict(NOT_MEASURED)
    return judge(claim.rule, measurement.points)


def versions_text(versions: Mapping[str, Mapping[str, str]]) -> str:
    """The frameworks' versions in one line."""
    return ", ".join(f"{name} {libraries.get(name, '')}".strip() for name, libraries in versions.items())
