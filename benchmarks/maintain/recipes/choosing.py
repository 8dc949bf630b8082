"""The rule by which a recipe is chosen of those that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.maintain.recipes.record import Trial

FINALISTS = 2
"""How many of the tried go on with further seeds."""
SEEDS = 3
"""From how many seeds a finalist is trained; each draws the first weights and the part that judges."""


@dataclass(frozen=True)
class Candidate:
    """A recipe with a number of epochs: the mean ``score`` over the seeds, its standard ``error``, and what training
    costs, in multiplications for each example's token.
    """

    called: str
    epochs: int
    score: float
    error: float
    cost: int


def ends(trial: Trial) -> dict[int, float]:
    """The numbers of epochs that a trial says the score of: every one, but of a schedule, which falls towards its end,
    the last alone.
    """
    scores = dict(enumerate(trial.scores, 1))
    return scores if "schedule" not in trial.recipe["optimizer"] else {len(scores): scores[len(scores)]}


def finalists(trials: Sequence[Trial]) -> list[str]:
    """What the best of one kind are called, by the best score of any epoch from seed 0."""
    first = sorted((each for each in trials if each.seed == 0), key=lambda each: -max(ends(each).values()))
    return [each.called for each in first[:FINALISTS]]


def candidates(trials: Sequence[Trial]) -> list[Candidate]:
    """Every finalist with every number of epochs."""
    every = []
    for called in finalists(trials):
        of_seeds = [each for each in trials if each.called == called and each.seed < SEEDS]
        every_end = [ends(each) for each in of_seeds]
        scores = np.array([list(of_seed.values()) for of_seed in every_end])  # (seeds, numbers of epochs)
        means = scores.mean(axis=0)
        errors = scores.std(axis=0, ddof=1) / math.sqrt(len(of_seeds)) if len(of_seeds) > 1 else 0.0 * means
        every += [
            Candidate(called, epochs, float(mean), float(error), epochs * of_seeds[0].multiplications)
            for epochs, mean, error in zip(every_end[0], means, errors, strict=True)
        ]
    return every


def best(every: Sequence[Candidate]) -> Candidate:
    """The candidate with the greatest score."""
    return max(every, key=lambda each: each.score)


def chosen(trials: Sequence[Trial]) -> Candidate:
    """The cheapest candidate whose score is within one standard error of the best one's: the rule of one standard error
    (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3).
    """
    every = candidates(trials)
    top = best(every)
    return min((each for each in every if each.score >= top.score - top.error), key=lambda each: each.cost)
