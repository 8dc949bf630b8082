"""Measure kernels in int8, and write docs/int8.md.

    python -m benchmarks.maintain.int8 --growth
    python -m benchmarks.maintain.int8 --accuracies --conllu TRAINING.conllu --conllu TEST.conllu
    python -m benchmarks.maintain.int8 --times

``--growth`` and ``--accuracies`` give the same numbers on a busy machine; ``--times`` takes an idle one. What is
measured is kept in a file after each part, and the same command goes on; without any option the page is written anew
from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from benchmarks.machine.company import is_crowded, wait_for_rest
from benchmarks.maintain.directions.__main__ import LONGEST_REST, taken, workshop_of
from benchmarks.maintain.directions.record import read_measured, write_measured
from benchmarks.maintain.int8 import page
from benchmarks.maintain.int8.answers import OF_FILES, TASKS, answered
from benchmarks.maintain.int8.growth import PARTS, growth_of
from benchmarks.maintain.int8.record import Declined, Measured
from benchmarks.maintain.int8.times import LAYERS, ROUNDS, parts, times_of
from benchmarks.maintain.marked_pages import replaced
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "int8.md"
"""The page that the outcome is written into; the picture lies beside it."""
FILE = ROOT / "results" / "int8.json"
"""The file with all that was measured."""


def measure_growth(measured: Measured, file: Path) -> None:
    """Measure what is missing of the errors over the steps."""
    done = {(each.cell, each.factor) for each in measured.grown}
    for cell, factor in PARTS:
        if (cell, factor) not in done:
            measured.grown += growth_of(cell, factor)
            measured.grown_taken = taken()
            write_measured(measured, file)


def measure_accuracies(
    measured: Measured, file: Path, implementation: str, seeds: int, conllu: list[Path], timeout_seconds: float
) -> None:
    """Train and ask what is missing."""
    if measured.implementation not in ("", implementation):
        raise SystemExit(
            f"{file} must be of {implementation}; it is of {measured.implementation}: choose another --file"
        )
    measured.implementation = implementation
    done = {(each.task, each.seed) for each in measured.answered}
    with workshop_of(1, conllu, timeout_seconds) as workshop:
        for seed in range(seeds):
            for task in TASKS:
                if (task, seed) in done or (task in OF_FILES and not conllu):
                    continue
                measured.answered += list(answered(workshop, implementation, task, seed))
                measured.answered_taken = taken()
                write_measured(measured, file)


def measure_times(measured: Measured, file: Path, rounds: int, timeout_seconds: float) -> None:
    """Time what is missing, and again what was timed while others were at work."""
    measured.timed = [each for each in measured.timed if not is_crowded(each.others_cpu)]
    done = {(each.framework, each.cell, (each.batch, each.steps, each.units)) for each in measured.timed}
    with workshop_of(1, [], timeout_seconds) as workshop:
        for framework, cell, shape in parts():
            declined = (framework, cell) in {(each.framework, each.cell) for each in measured.declined}
            if declined or (framework, cell, shape) in done:
                continue
            workshop.tell(f"{framework}, {cell}, {shape.batch} × {shape.steps} × {shape.units}")
            wait_for_rest(workshop.pool.pids, LONGEST_REST, workshop.tell)
            times = times_of(workshop, framework, cell, shape, LAYERS[framework], rounds=rounds)
            if isinstance(times, Declined):
                measured.declined.append(times)
            else:
                measured.timed += times
            measured.timed_taken = taken()
            write_measured(measured, file)


def main(
    accuracies: Annotated[bool, typer.Option("--accuracies", help="Train, and answer in every way.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Take the errors over the steps of a row.")] = False,
    times: Annotated[bool, typer.Option("--times", help="Time the frameworks' kernels; on an idle machine.")] = False,
    conllu: Annotated[list[Path], typer.Option("--conllu", help="CoNLL-U files, to train on and to judge by.")] = [],  # noqa: B006
    implementation: Annotated[str, typer.Option(help="What trains and answers.")] = "torch/manual",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds are trained from.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="How often each kernel is timed.")] = ROUNDS,
    timeout: Annotated[float, typer.Option(help="Seconds for an answer of a worker.")] = 600.0,
    file: Annotated[Path, typer.Option(help="Where the numbers are kept.")] = FILE,
    to: Annotated[Path, typer.Option(help="The page, with the markers answers, growth and times.")] = PAGE,
) -> None:
    """Measure what is missing, and write the page and its picture."""
    measured = read_measured(file, Measured)
    if growth:
        measure_growth(measured, file)
    if accuracies:
        measure_accuracies(measured, file, implementation, seeds, conllu, timeout)
    if times:
        measure_times(measured, file, rounds, timeout)
    blocks = {"answers": page.answers_block(measured), "growth": page.growth_block(measured)}
    blocks["times"] = page.times_block(measured)
    write_bytes(to, replaced(to, blocks).encode())
    if measured.grown:
        write_bytes(to.with_suffix(".svg"), page.picture(measured.grown))


if __name__ == "__main__":
    typer.run(main)
