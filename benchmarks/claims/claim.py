"""A claim: a sentence that tutorials teach, what measures it, and the rule by which the numbers decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from benchmarks.claims.workshop import Workshop

Kind = Literal["number", "time"]
"""What measures a claim, one of ``KINDS``."""
KINDS: tuple[Kind, ...] = ("number", "time")
"""What a claim is measured by: a number is the same on a busy machine; time, and memory, need an idle one."""
HOLDS, LIMITED, FAILS = "holds", "holds with limits", "does not hold"
"""The verdicts on a claim that has been measured."""
UNDECIDED, NOT_MEASURED = "not decided", "not measured"
"""The verdicts where the numbers leave a claim open, and where there are none."""
NATIVE = {
    "torch": "torch/native",
    "jax": "jax/native-linen",
    "tensorflow": "tensorflow/native",
    "mxnet": "mxnet/native",
}
"""Each framework's own bidirectional layer."""
RAGGED = NATIVE | {"mxnet": "mxnet/manual"}
"""What takes rows of unequal length in each framework: MXNet's own layer ignores lengths on a CPU, its layers of one
direction do not have to know them.
"""


class Point(BaseModel):
    """What was measured at one place.

    ``where`` says which place it is, by ``framework`` and other words or sizes; ``numbers`` what was found there, a
    number with an interval having ``{name}_low`` and ``{name}_high`` beside it; ``notes`` what was found in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: dict[str, str | float]
    numbers: dict[str, float]
    notes: dict[str, str] = {}

    @property
    def place(self) -> str:
        """The place in words, as in ``torch, padding 0.5``."""
        return ", ".join(value if isinstance(value, str) else f"{name} {value:g}" for name, value in self.where.items())


@dataclass(frozen=True)
class Rule:
    """A bound on one number of each point; points without that number do not count.

    Parameters
    ----------
    number
        The name of the number; where it has an interval, all of it must lie on one side.
    meaning
        What the number is, in words, with its unit.
    relation, bound
        A point bears the claim out where the number is ``below``, or ``above``, the bound.
    contrary
        A point speaks against the claim where the number is not on that side of this bound; default: ``bound``. What
        lies between the two leaves it open.
    """

    number: str
    meaning: str
    relation: Literal["below", "above"]
    bound: float
    contrary: float | None = None

    def bears_out(self, point: Point) -> bool | None:
        """Whether a point bears the claim out; None where it leaves it open."""
        value = point.numbers[self.number]
        low, high = (point.numbers.get(f"{self.number}_{end}", value) for end in ("low", "high"))
        bound, contrary = self.bound, self.bound if self.contrary is None else self.contrary
        if self.relation == "below":
            low, high, bound, contrary = -high, -low, -bound, -contrary
        if low > bound:
            return True
        return False if high <= contrary else None

    def __str__(self) -> str:
        if self.contrary is None:
            return f"{self.meaning} is {self.relation} {self.bound:g}"
        other = {"below": "or more", "above": "or less"}[self.relation]
        return f"{self.meaning} is {self.relation} {self.bound:g} (against the claim: {self.contrary:g} {other})"


@dataclass(frozen=True)
class Verdict:
    """What the points say by a rule: ``word``; how many of ``points`` bear the claim out (``for_it``), speak against it
    (``against``) or leave it open; the ``least`` and the ``greatest`` number.
    """

    word: str
    points: int = 0
    for_it: int = 0
    against: int = 0
    least: float = math.nan
    greatest: float = math.nan

    def __str__(self) -> str:
        if self.word == NOT_MEASURED:
            return "nothing"
        numbers = " to ".join(dict.fromkeys(f"{number:.3g}" for number in (self.least, self.greatest)))
        unclear = self.points - self.for_it - self.against
        return f"{numbers}; {self.for_it} of {self.points} bear it out" + (f", {unclear} leave it open" * bool(unclear))


def judge(rule: Rule, points: Sequence[Point]) -> Verdict:
    """The verdict on a claim: it holds where every point bears it out, with limits where some do, and not where none
    does and one speaks against it; without points, or with open ones alone, nothing is said.
    """
    counted = [point for point in points if rule.number in point.numbers]
    if not counted:
        return Verdict(NOT_MEASURED)
    opinions = [rule.bears_out(point) for point in counted]
    for_it, against = opinions.count(True), opinions.count(False)
    if for_it == len(opinions):
        word = HOLDS
    elif for_it:
        word = LIMITED
    else:
        word = FAILS if against else UNDECIDED
    numbers = [point.numbers[rule.number] for point in counted]
    return Verdict(word, len(opinions), for_it, against, min(numbers), max(numbers))


@dataclass(frozen=True)
class Part:
    """What is measured in one go: ``measure`` gives its points; ``framework`` is the one whose worker it needs."""

    name: str
    framework: str
    measure: Callable[[Workshop], Sequence[Point]]


@dataclass(frozen=True)
class Claim:
    """One claim, all that is said of it but the numbers.

    Parameters
    ----------
    name
        Its name in commands and files: words with hyphens.
    module
        The module that measures it.
    sentence
        The claim as a sentence.
    where
        The kind of tutorial that teaches it.
    measured
        What is measured, in a sentence or two.
    rule
        How the numbers decide.
    parts
        What is measured; each at once, one after the other.
    kind
        One of ``KINDS``.
    limits
        What the number means for who reads the tutorial, in a sentence; true whatever the numbers are.
    picture
        Draws the points as SVG; None for a claim without a picture.
    needs_conllu
        Whether it trains on CoNLL-U files, which the user names.
    """

    name: str
    module: str
    sentence: str
    where: str
    measured: str
    rule: Rule
    parts: Sequence[Part]
    kind: Kind = "number"
    limits: str = ""
    picture: Callable[[Sequence[Point]], bytes] | None = None
    needs_conllu: bool = False


def in_each_framework(measure: Callable[[Workshop, str], Sequence[Point]]) -> tuple[Part, ...]:
    """A part for each framework, which ``measure`` is told."""

    def part(framework: str) -> Part:
        return Part(framework, framework, lambda workshop: measure(workshop, framework))

    return tuple(part(framework) for framework in NATIVE)
