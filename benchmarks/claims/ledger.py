"""The ledger: every claim in its order, and what is said of each by what has been measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.claims.claim import Claim, Verdict
from benchmarks.claims.record import RESULTS, Measurement, read_measurement, results_file, verdict_of
from benchmarks.claims.statements import (
    directions,
    equations,
    learning,
    memory,
    next_token,
    padding,
    speed,
    starts,
    states,
)
from common.errors import InputError, shown

CLAIMS: tuple[Claim, ...] = (
    *padding.CLAIMS,
    *states.CLAIMS,
    *directions.CLAIMS,
    *next_token.CLAIMS,
    *equations.CLAIMS,
    *memory.CLAIMS,
    *learning.CLAIMS,
    *starts.CLAIMS,
    *speed.CLAIMS,
)
"""Every claim, in the order in which the ledger and docs/claims.md have them."""


@dataclass(frozen=True)
class Entry:
    """A claim with its measurement, if there is one, and the verdict that follows."""

    claim: Claim
    measurement: Measurement | None
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The claim, how it was measured, the verdict with its numbers, and every point, in JSON's types."""
        claim, verdict, measurement = self.claim, self.verdict, self.measurement
        numbers: dict[str, float] = {"points": verdict.points, "for": verdict.for_it, "against": verdict.against}
        numbers |= {"least": verdict.least, "greatest": verdict.greatest} if verdict.points else {}
        about = (
            ()
            if measurement is None
            else ("command", "started", "commit", "machine", "threads", "versions", "left_out")
        )
        return {
            "claim": claim.name,
            "sentence": claim.sentence,
            "where": claim.where,
            "measured": claim.measured,
            "rule": str(claim.rule),
            "limits": claim.limits,
            "verdict": verdict.word,
            "numbers": numbers,
            "measurement": {name: getattr(measurement, name) for name in about},
            "points": [] if measurement is None else [point.model_dump() for point in measurement.points],
        }


def chosen(patterns: Sequence[str], kind: str | None = None) -> list[Claim]:
    """The claims whose names match one of the patterns, all without any; of one kind, if it is given.

    Raises
    ------
    InputError
        If a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(claim.name, pattern) for claim in CLAIMS):
            names = ", ".join(claim.name for claim in CLAIMS)
            raise InputError(f"NAME must match a claim, one of {names}; got {shown(pattern)}")
    return [
        claim
        for claim in CLAIMS
        if (not patterns or any(fnmatchcase(claim.name, pattern) for pattern in patterns))
        and kind in (None, claim.kind)
    ]


def entries(claims: Sequence[Claim], folder: Path = RESULTS) -> list[Entry]:
    """What is said of each claim by the results files of a folder."""
    listed = []
    for claim in claims:
        measurement = read_measurement(results_file(folder, claim))
        listed.append(Entry(claim, measurement, verdict_of(claim, measurement)))
    return listed
