"""Choose the recipes of ``birnn train``, and write docs/recipes.md.

    python -m benchmarks.maintain.recipes --conllu DEV.conllu --columns DEV.conll

tries a small grid for each kind of data, or for those that are named (``recipes tagger masked``), on parts of the
training data alone; the files are those that are trained on, never those that are reported. Each training is kept in
results/recipes.json when it is done, and the same command goes on; without files the page is written anew from it.
What is chosen is put into common/tasks/recipes.py by hand, and tests/benchmarks/maintain/training/test_recipes.py holds
the two together.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from benchmarks.machine import description
from benchmarks.maintain.directions.record import read_measured, write_measured
from benchmarks.maintain.recipes.choosing import SEEDS, finalists
from benchmarks.maintain.recipes.page import as_markdown
from benchmarks.maintain.recipes.record import Trial, Tried
from benchmarks.maintain.recipes.trials import COLUMNS, KINDS, TREEBANK, as_json, epochs_of, try_recipe
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "recipes.md"
"""The page that is written."""
FILE = ROOT / "results" / "recipes.json"
"""The file that keeps what was tried."""


def missing(name: str, trials: list[Trial]) -> tuple[str, int] | None:
    """What is to be tried next of a kind, by what it is called and a seed; None where all is done."""
    mine = [each for each in trials if each.kind == name]
    done = {(each.called, each.seed) for each in mine}
    first = [(called, 0) for called in KINDS[name].tried if (called, 0) not in done]
    if first:
        return first[0]
    rest = [(called, seed) for seed in range(1, SEEDS) for called in finalists(mine) if (called, seed) not in done]
    return rest[0] if rest else None


def current(tried: Tried) -> list[Trial]:
    """The trials of recipes that are still tried as they were."""
    return [
        each
        for each in tried.trials
        if each.kind in KINDS
        and each.called in KINDS[each.kind].tried
        and each.recipe == as_json(KINDS[each.kind].tried[each.called])
        and len(each.scores) == epochs_of(each.kind, each.called)
    ]


def try_missing(
    tried: Tried, names: list[str], training: dict[str, Path | None], implementation: str, file: Path, timeout: float
) -> None:
    """Try what is missing, kind by kind, and keep each."""
    machine = description.cores_told(description.fingerprint())
    now = {"day": datetime.now(UTC).date().isoformat()}
    with Pool.open(1) as pool:
        selection: Selection | None = None
        for name in names:
            while (next_one := missing(name, tried.trials)) is not None:
                selection = selection or select(pool, [implementation])
                called, seed = next_one
                trial = try_recipe(pool, selection, name, called, seed, training.get(KINDS[name].files), timeout)
                tried.trials.append(trial.model_copy(update=now))
                tried.implementation = implementation
                tried.machine = machine
                write_measured(tried, file)
                typer.echo(f"{name}: {called}, seed {seed}: {max(trial.scores):.4f}", err=True)


def main(
    names: Annotated[list[str], typer.Argument(metavar="[KIND]...", help="Try these alone.")] = [],  # noqa: B006
    conllu: Annotated[Path | None, typer.Option(help="CoNLL-U file that is trained on.")] = None,
    columns: Annotated[Path | None, typer.Option(help="Column file of entities that is trained on.")] = None,
    implementation: Annotated[str, typer.Option(help="What trains.")] = "torch/native",
    timeout: Annotated[float, typer.Option(help="Seconds for an answer of a worker.")] = 600.0,
    file: Annotated[Path, typer.Option(help="Where what was tried is kept.")] = FILE,
    to: Annotated[Path, typer.Option(help="The page.")] = PAGE,
) -> None:
    """Try what is missing, and write the page."""
    for name in names:
        if name not in KINDS:
            raise SystemExit(f"KIND must be one of {', '.join(KINDS)}; got {name!r}")
    training = {TREEBANK: conllu, COLUMNS: columns}
    tried = read_measured(file, Tried)
    tried.trials = current(tried)
    wanted = [name for name in names or KINDS if not KINDS[name].files or training[KINDS[name].files] is not None]
    if names or conllu or columns:
        try_missing(tried, wanted, training, implementation, file, timeout)
    write_bytes(to, as_markdown(tried).encode())


if __name__ == "__main__":
    typer.run(main)
