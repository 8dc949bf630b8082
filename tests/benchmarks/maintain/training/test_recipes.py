"""Recipes are chosen on a part of the training data, by a rule, and what is chosen is what ``birnn train`` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from birnn_numpy_loop import BACKEND as NUMPY

from benchmarks.maintain.directions.record import read_measured
from benchmarks.maintain.recipes import __main__ as command
from benchmarks.maintain.recipes import trials as grid
from benchmarks.maintain.recipes.choosing import FINALISTS, SEEDS, candidates, chosen, finalists
from benchmarks.maintain.recipes.page import as_markdown
from benchmarks.maintain.recipes.record import Trial, Tried
from benchmarks.maintain.recipes.trials import KINDS, as_json, multiplications, recipe_from_json, task_apart
from common.data.examples import Example, PairExample
from common.tasks.building import build_task
from common.tasks.recipes import RECIPES
from common.tasks.task import Options
from tests.common.tasks.data import sentences, write_tagged
from tests.registered import register

KEPT = read_measured(command.FILE, Tried)


def a_trial(called: str, seed: int, scores: Sequence[float], multiplications: int = 100) -> Trial:
    return Trial(
        kind="digits", called=called, recipe={"optimizer": {}}, seed=seed, scores=list(scores),
        multiplications=multiplications,
        examples=(8, 2),
    )  # fmt: skip


def of_seeds(called: str, scores: Sequence[float], multiplications: int = 100, apart: float = 0.0) -> list[Trial]:
    """Trials of all seeds whose scores lie ``apart`` from each other."""
    shifts = [apart * (seed - (SEEDS - 1) / 2) for seed in range(SEEDS)]
    return [a_trial(called, seed, np.add(scores, shift).tolist(), multiplications) for seed, shift in enumerate(shifts)]


def inputs_of(examples: Sequence[Example]) -> set[bytes]:
    return {(each.source if isinstance(each, PairExample) else each.inputs).tobytes() for each in examples}


def test_every_recipe_of_training_has_a_grid() -> None:
    assert list(KINDS) == list(RECIPES)
    for kind in KINDS.values():
        assert len({str(as_json(recipe)) for recipe in kind.tried.values()}) == len(kind.tried) >= 2


def test_the_best_of_seed_0_go_on() -> None:
    tops = {"a": 0.1, "b": 0.5, "c": 0.4, "d": 0.3, "e": 0.2}
    trials = [a_trial(called, 0, [0.0, top, 0.0]) for called, top in tops.items()]
    assert finalists([*trials, a_trial("a", 1, [1.0] * 3)]) == ["b", "c", "d"][:FINALISTS]


def test_the_cheapest_within_one_standard_error_is_chosen() -> None:
    """0.7 is the best; of shifts by 0.03 the standard error is 0.03 / √3 = 0.0173."""
    trials = of_seeds("wide", [0.5, 0.69, 0.7, 0.6], 400, apart=0.03) + of_seeds("small", [0.5, 0.6, 0.65, 0.684], 100)
    assert max(each.error for each in candidates(trials)) == pytest.approx(0.03 / math.sqrt(3))
    pick = chosen(trials)
    assert (pick.called, pick.epochs, pick.cost) == ("small", 4, 400)
    steady = of_seeds("wide", [0.5, 0.69, 0.7, 0.6], 400) + of_seeds("small", [0.5, 0.6, 0.65, 0.684], 100)
    pick = chosen(steady)
    assert (pick.called, pick.epochs) == ("wide", 3)


def test_a_schedule_is_judged_by_its_end() -> None:
    falling = {"recipe": {"optimizer": {"schedule": "linear"}}}
    scheduled = [each.model_copy(update=falling) for each in of_seeds("scheduled", [0.9, 0.9, 0.6])]
    trials = [*scheduled, *of_seeds("constant", [0.5, 0.7, 0.6])]
    assert finalists(trials) == ["constant", "scheduled"]
    assert [each.epochs for each in candidates(trials) if each.called == "scheduled"] == [3]
    assert (chosen(trials).called, chosen(trials).epochs) == ("constant", 2)


@pytest.mark.parametrize("seed", [0, 2])
def test_what_is_reported_has_no_part_in_the_choice(seed: int) -> None:
    kind = replace(KINDS["pipeline"], options={"limit": 50})
    apart = task_apart(kind, RECIPES["pipeline"], None, seed)
    reported = build_task("pipeline", Options(limit=50))
    training, judging = inputs_of(apart.training), inputs_of(apart.held_out)
    assert not training & judging
    assert training | judging == inputs_of(reported.training)
    assert len(judging) == 10
    assert (apart.seed, apart.spec) == (seed, reported.spec)


def test_of_files_the_one_that_is_trained_on_is_divided(tmp_path: Path) -> None:
    file = write_tagged(tmp_path / "training.conllu", sentences(0))
    task = task_apart(KINDS["tagger"], RECIPES["tagger"], file, 1)
    assert task.fingerprint() == build_task("tagger", Options(data=(file,), seed=1)).fingerprint()
    assert task_apart(KINDS["tagger"], RECIPES["tagger"], file, 2).fingerprint() != task.fingerprint()


def test_looking_up_costs_nothing_and_matrices_their_size() -> None:
    """One GRU of 8 features and 10 units in two directions, and a linear layer of 5 classes."""
    task = build_task("pipeline", Options(limit=5, hidden_size=10))
    assert multiplications(task) == 2 * (30 * 8 + 30 * 10) + 20 * 5
    wide, narrow = (build_task("language", Options(limit=20, hidden_size=2, embedding_size=4)) for _ in range(2))
    assert multiplications(wide) == multiplications(narrow) == 2 * (6 * 4 + 6 * 2) + 4 * wide.spec.num_answers


def test_what_is_tried_is_kept_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, NUMPY)
    pipeline = KINDS["pipeline"]
    few = dict(list(pipeline.tried.items())[:1])
    small = replace(pipeline, most_epochs=2, tried=few, options={"limit": 40, "hidden_size": 2})
    monkeypatch.setitem(grid.KINDS, "pipeline", small)
    file, to = tmp_path / "kept.json", tmp_path / "page.md"
    command.main(["pipeline"], implementation="numpy/loop", file=file, to=to)
    tried = read_measured(file, Tried)
    assert [(each.seed, len(each.scores)) for each in tried.trials] == [(seed, 2) for seed in range(SEEDS)]
    assert tried.trials[0].scores != tried.trials[1].scores
    assert "32 examples trained on, 8 judged by, by accuracy; 2 epochs at most" in " ".join(to.read_text().split())
    before = file.stat().st_mtime_ns
    command.main(["pipeline"], implementation="numpy/there-is-none", file=file, to=to)
    assert file.stat().st_mtime_ns == before
    monkeypatch.setitem(grid.KINDS, "pipeline", replace(small, most_epochs=3))
    assert command.current(tried) == []


def test_perplexities_are_told_as_such() -> None:
    trial = a_trial("learning rate 1", 0, [-math.log(60.0), -math.log(50.0)])
    kinds = [trial.model_copy(update={"kind": "language of words", "seed": seed}) for seed in range(SEEDS)]
    page = as_markdown(Tried(trials=kinds))
    assert "| learning rate 1 | 50.00 | 2 | 50.00 ± 0.0% | 2 |" in page
    assert "Chosen: learning rate 1, 2 epochs, with 50.00" in page
    assert f"not chosen so: {', '.join(name for name in KINDS if name != 'language of words')}." in page


@pytest.mark.parametrize("name", sorted({trial.kind for trial in KEPT.trials}))
def test_training_has_the_recipe_that_was_chosen(name: str) -> None:
    trials = [each for each in KEPT.trials if each.kind == name]
    assert command.missing(name, trials) is None
    pick = chosen(trials)
    of = next(each for each in trials if each.called == pick.called)
    assert RECIPES[name] == recipe_from_json(of.recipe, pick.epochs)


def test_the_page_that_is_there_is_what_the_kept_trials_say() -> None:
    assert command.current(KEPT) == KEPT.trials
    assert command.PAGE.read_text() == as_markdown(KEPT)
