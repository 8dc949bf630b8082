"""Measure a streamed tagger, and write docs/streaming.md.

    python -m benchmarks.maintain.streaming --accuracies --conllu TRAINING.conllu --conllu TEST.conllu
    python -m benchmarks.maintain.streaming --times

``--accuracies`` trains taggers of one layer, of two, and of one direction, and has them answer the test at every pace;
its numbers are the same on a busy machine. ``--times`` takes an idle one. What is measured is kept in a file after each
part, and the same command goes on; without either option the page is written anew from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from benchmarks.machine.company import is_crowded, wait_for_rest
from benchmarks.maintain.directions.__main__ import LONGEST_REST, taken, workshop_of
from benchmarks.maintain.directions.record import read_measured, write_measured
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.streaming import page
from benchmarks.maintain.streaming.answers import MODELS, answers_of
from benchmarks.maintain.streaming.record import Measured
from benchmarks.maintain.streaming.times import IMPLEMENTATIONS, PACES, times_of
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "streaming.md"
"""The page that the outcome is written into; the picture lies beside it."""
FILE = ROOT / "results" / "streaming.json"
"""The file with all that was measured."""


def measure_accuracies(
    measured: Measured, file: Path, implementation: str, seeds: int, conllu: list[Path], timeout_seconds: float
) -> None:
    """Train and ask what is missing."""
    if measured.implementation not in ("", implementation):
        raise SystemExit(
            f"{file} must be of {implementation}; it is of {measured.implementation}: choose another --file"
        )
    measured.implementation = implementation
    with workshop_of(1, conllu, timeout_seconds) as workshop:
        for seed in range(seeds):
            for model in MODELS:
                done = [each.streaming for each in measured.answered if (each.model, each.seed) == (model, seed)]
                for answered in answers_of(workshop, implementation, model, seed, done):
                    measured.answered.append(answered)
                    measured.answered_taken = taken()
                    write_measured(measured, file)


def measure_times(measured: Measured, file: Path, timeout_seconds: float) -> None:
    """Time what is missing, and again what was timed while others were at work."""
    measured.timed = [each for each in measured.timed if not is_crowded(each.others_cpu)]
    done = {(each.implementation, each.model) for each in measured.timed}
    with workshop_of(1, [], timeout_seconds) as workshop:
        for name in IMPLEMENTATIONS:
            for model in PACES:
                if (name, model) in done:
                    continue
                workshop.tell(f"{name}, {model}")
                wait_for_rest(workshop.pool.pids, LONGEST_REST, workshop.tell)
                measured.timed += times_of(workshop, name, model)
                measured.timed_taken = taken()
                write_measured(measured, file)


def main(
    accuracies: Annotated[bool, typer.Option("--accuracies", help="Train, and answer at every pace.")] = False,
    times: Annotated[bool, typer.Option("--times", help="Time; on an idle machine.")] = False,
    conllu: Annotated[list[Path], typer.Option("--conllu", help="CoNLL-U files, to train on and to judge by.")] = [],  # noqa: B006
    implementation: Annotated[str, typer.Option(help="What trains and answers.")] = "torch/native",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds are trained from.")] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds for an answer of a worker.")] = 600.0,
    file: Annotated[Path, typer.Option(help="Where the numbers are kept.")] = FILE,
    to: Annotated[Path, typer.Option(help="The page, with the markers answers and times.")] = PAGE,
) -> None:
    """Measure what is missing, and write the page and its picture."""
    measured = read_measured(file, Measured)
    if accuracies:
        if len(conllu) != 2:
            raise SystemExit(f"--accuracies needs --conllu twice, to train on and to judge by; got {len(conllu)}")
        measure_accuracies(measured, file, implementation, seeds, conllu, timeout)
    if times:
        measure_times(measured, file, timeout)
    write_bytes(
        to, replaced(to, {"answers": page.answers_block(measured), "times": page.times_block(measured)}).encode()
    )
    if measured.answered:
        write_bytes(to.with_suffix(".svg"), page.picture(measured.answered))


if __name__ == "__main__":
    typer.run(main)
