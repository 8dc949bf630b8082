"""Measuring claims: part after part, each written as soon as it is there, so that the same command goes on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backends.interface.gaps import DECLINED
from backends.pool.pool import NoAnswer, Pool
from backends.pool.selection import start_workers
from backends.studies.sources import Sources
from benchmarks.claims.claim import Claim, Part
from benchmarks.claims.record import Measurement, read_measurement, results_file, unfinished_file, write_measurement
from benchmarks.claims.workshop import Workshop
from benchmarks.machine import description
from benchmarks.machine.company import Watch
from benchmarks.measure.runs import commit_of_suite

THREADS = {"number": 1, "time": len(os.sched_getaffinity(0))}
"""Threads of each worker by the kind of a claim."""


@dataclass(frozen=True)
class Told:
    """Called while measuring: ``part`` with a claim, a part, how many parts are done and how many there are; ``note``
    with a sentence for the user.
    """

    part: Callable[[Claim, str, int, int], None]
    note: Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is to be measured, and how: ``folder`` is that of the results files; ``again`` whether a claim that has a
    whole measurement is measured anew; ``conllu`` the user's files; ``timeout_seconds`` bounds each answer of a worker.
    """

    folder: Path
    again: bool
    conllu: Sequence[Path]
    timeout_seconds: float


def command_of(claim: Claim) -> str:
    """The command that measures a claim."""
    data = " --conllu TRAINING.conllu --conllu HELD_OUT.conllu" if claim.needs_conllu else ""
    return shlex.join(["birnn", "claims", claim.name, "--measure"]) + data


def measure(claim: Claim, order: Order, told: Told) -> Measurement | None:
    """Measure what is missing of a claim; the measurement, or None where a framework's failure leaves it unfinished.

    A part whose framework has no environment is left out, with the reason. Ctrl-C comes through; what has been measured
    stays in ``unfinished_file``, and counts again as long as machine, versions, commit and source are the same.
    """
    finished, unfinished = results_file(order.folder, claim), unfinished_file(order.folder, claim)
    if not order.again and (earlier := read_measurement(finished)) is not None and _is_whole(claim, earlier):
        told.note(f"{claim.name} has been measured, {earlier.started[:10]}; --again measures it anew")
        return earlier
    if claim.needs_conllu and len(order.conllu) != 2:
        told.note(f"{claim.name} needs --conllu twice, files to train on and to judge by; got {len(order.conllu)}")
        return None
    failed = False
    with Pool.open(THREADS[claim.kind]) as pool:
        new, working = _begin(claim, pool, told)
        measurement = _gone_on_with(new, unfinished)
        workshop = Workshop(pool, order.timeout_seconds, order.conllu)
        watch = Watch(pool.pids)
        for number, part in enumerate(claim.parts):
            if part.name in measurement.parts:
                continue
            if part.framework not in working:
                measurement.left_out[part.name] = f"there is no environment of {part.framework} that works"
                continue
            told.part(claim, part.name, number, len(claim.parts))
            workshop.tell = lambda text, part=part, number=number: told.part(  # type: ignore[misc]
                claim, f"{part.name}: {text}", number, len(claim.parts)
            )
            failed |= not _measure_part(part, workshop, measurement, claim, told)
            company = watch.company()
            measurement.others_cpu = max(company.taken or 0.0, measurement.others_cpu or 0.0)
            write_measurement(unfinished, measurement)
    if not measurement.parts and not failed:
        reasons = "; ".join(dict.fromkeys(measurement.left_out.values()))
        told.note(f"{claim.name}: no part of it can be measured here: {reasons}")
    if failed or not measurement.parts:
        return None
    write_measurement(finished, measurement)
    unfinished.unlink(missing_ok=True)
    return measurement


def _measure_part(part: Part, workshop: Workshop, measurement: Measurement, claim: Claim, told: Told) -> bool:
    """Put a part's points into the measurement; False where it failed. What a framework declares that it does not do is
    left out.
    """
    try:
        measurement.parts[part.name] = list(part.measure(workshop))
    except NoAnswer as error:
        reason = error.reply.reason
        if error.reply.status not in DECLINED:
            told.note(f"{claim.name}, {part.name}: {error.reply.status}: {reason}")
            return False
        measurement.left_out[part.name] = reason
    return True


def _begin(claim: Claim, pool: Pool, told: Told) -> tuple[Measurement, set[str]]:
    """An empty measurement with all that it is measured on, and the frameworks whose workers started."""
    selection = start_workers(pool, dict.fromkeys(part.framework for part in claim.parts))
    for text in selection.notes():
        told.note(text)
    new = Measurement(
        version=1,
        claim=claim.name,
        command=command_of(claim),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit_of_suite(),
        source=Sources().of_module(claim.module),
        machine=description.fingerprint(),
        threads=THREADS[claim.kind],
        versions={name: each.versions for name, each in selection.descriptions.items()},
        parts={},
    )
    return new, set(selection.descriptions)


def _gone_on_with(new: Measurement, unfinished: Path) -> Measurement:
    """The unfinished measurement where it is of the same machine, versions, commit and source; else the new one."""
    earlier = read_measurement(unfinished)
    if earlier is None:
        return new
    same = ("claim", "command", "commit", "source", "machine", "threads", "versions")
    if any(getattr(earlier, name) != getattr(new, name) for name in same):
        return new
    earlier.left_out.clear()
    return earlier


def _is_whole(claim: Claim, measurement: Measurement) -> bool:
    """Whether each part of a claim has points, or a reason for having none."""
    return {part.name for part in claim.parts} <= measurement.parts.keys() | measurement.left_out.keys()
