"""Measure two directions over one, and write docs/one-direction.md.

    python -m benchmarks.maintain.directions --costs
    python -m benchmarks.maintain.directions --memory
    python -m benchmarks.maintain.directions --accuracies --conllu DEV.conllu --conllu TEST.conllu

``--costs`` takes an idle machine: two directions, one, and one of twice the units, in every framework's own layer and
its tuned one, in every pass, in turn. ``--memory`` takes each peak, ``--accuracies`` trains: what they give is the same
on a busy machine. All of it is kept in a file after each part, and the same command goes on; without any option
the page is written anew from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from backends.pool.pool import Pool
from benchmarks.claims.timing import THREADS
from benchmarks.claims.workshop import Workshop
from benchmarks.machine import description
from benchmarks.machine.company import is_crowded, wait_for_rest
from benchmarks.maintain.directions import page
from benchmarks.maintain.directions.accuracies import OF_FILES, TASKS, VARIANTS, learned
from benchmarks.maintain.directions.costs import costs_of, parts, peaks_of
from benchmarks.maintain.directions.record import Cost, Declined, Measured, Peak, Taken, read_measured, write_measured
from benchmarks.maintain.marked_pages import replaced
from benchmarks.measure.runs import commit_of_suite
from common.specification import Cell
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "one-direction.md"
"""The page that the outcome is written into."""
FILE = ROOT / "results" / "directions.json"
"""The file with all that was measured."""
WRITTEN = ("results", "docs")
"""The folders that measurements write into: what changes there changes no number."""
LONGEST_REST = 60.0
"""Seconds that the machine has to come to rest before a part is timed."""


def taken() -> Taken:
    """The machine, commit and day of now."""
    machine = description.cores_told(description.fingerprint())
    day = datetime.now(UTC).date().isoformat()
    return Taken(machine=machine, commit=commit_of_suite(but=WRITTEN), day=day)


@contextmanager
def workshop_of(threads: int, conllu: list[Path], timeout_seconds: float) -> Iterator[Workshop]:
    """Workers of all frameworks, started when they are asked."""
    with Pool.open(threads) as pool:
        yield Workshop(pool, timeout_seconds, conllu, tell=lambda text: typer.echo(text, err=True))


def measure_costs(measured: Measured, file: Path, timeout_seconds: float) -> None:
    """Measure what is missing of the times, and again what was timed while others were at work."""
    measured.costs = [cost for cost in measured.costs if not is_crowded(cost.others_cpu)]
    with workshop_of(THREADS, [], timeout_seconds) as workshop:
        for framework, implementation, cell, passed in missing_parts(measured.costs, measured.declined):
            workshop.tell(f"{framework}/{implementation}, {cell}, {passed}")
            wait_for_rest(workshop.pool.pids, LONGEST_REST, workshop.tell)
            costs = costs_of(workshop, framework, implementation, cell, passed)
            if isinstance(costs, Declined):
                measured.declined.append(costs)
            else:
                measured.costs += costs
            measured.costs_taken = taken()
            write_measured(measured, file)


def measure_memory(measured: Measured, file: Path, timeout_seconds: float) -> None:
    """Measure what is missing of the peaks."""
    with workshop_of(THREADS, [], timeout_seconds) as workshop:
        for framework, implementation, cell, passed in missing_parts(measured.peaks, measured.declined):
            workshop.tell(f"{framework}/{implementation}, {cell}, {passed}, memory")
            peaks = peaks_of(workshop, framework, implementation, cell, passed)
            if isinstance(peaks, Declined):
                measured.declined.append(peaks)
            else:
                measured.peaks += peaks
            measured.peaks_taken = taken()
            write_measured(measured, file)


def missing_parts(
    there: Sequence[Cost] | Sequence[Peak], declined: Sequence[Declined]
) -> list[tuple[str, str, Cell, str]]:
    """The parts of which nothing is there, and which are not declined."""
    done = {(each.implementation, each.cell, each.passed) for each in [*there, *declined]}
    return [part for part in parts() if (f"{part[0]}/{part[1]}", *part[2:]) not in done]


def measure_accuracies(
    measured: Measured, file: Path, implementation: str, seeds: int, conllu: list[Path], timeout_seconds: float
) -> None:
    """Train what is missing of the accuracies."""
    done = {(each.task, each.variant, each.seed, each.implementation) for each in measured.learned}
    with workshop_of(1, conllu, timeout_seconds) as workshop:
        for seed in range(seeds):
            for task in TASKS:
                if task in OF_FILES and not conllu:
                    continue
                for variant in VARIANTS:
                    if (task, variant, seed, implementation) in done:
                        continue
                    workshop.tell(f"{task}, {variant}, seed {seed}")
                    measured.learned.append(learned(workshop, implementation, task, variant, seed))
                    measured.learned_taken = taken()
                    write_measured(measured, file)


def main(
    costs: Annotated[bool, typer.Option("--costs", help="Time; on an idle machine.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Take the memory.")] = False,
    accuracies: Annotated[bool, typer.Option("--accuracies", help="Train.")] = False,
    conllu: Annotated[list[Path], typer.Option("--conllu", help="CoNLL-U files, to train on and to judge by.")] = [],  # noqa: B006
    implementation: Annotated[str, typer.Option(help="What trains.")] = "torch/native",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds are trained from.")] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds for an answer of a worker.")] = 600.0,
    file: Annotated[Path, typer.Option(help="Where the numbers are kept.")] = FILE,
    to: Annotated[Path, typer.Option(help="The page, with the markers costs and accuracies.")] = PAGE,
) -> None:
    """Measure what is missing, and write the page."""
    measured = read_measured(file, Measured)
    if costs:
        measure_costs(measured, file, timeout)
    if memory:
        measure_memory(measured, file, timeout)
    if accuracies:
        measure_accuracies(measured, file, implementation, seeds, conllu, timeout)
    blocks = {"costs": page.costs_block(measured), "accuracies": page.accuracies_block(measured)}
    write_bytes(to, replaced(to, blocks).encode())


if __name__ == "__main__":
    typer.run(main)
