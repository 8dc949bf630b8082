"""All that a report shows of a run, as the store has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.store.records import Block, Ceiling, Environment, Look, Process, Row, Run
from benchmarks.store.store import Store


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
        runs = {run.run: run for run in map(store.find_run, names)}
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
