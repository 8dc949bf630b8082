"""Probes: known divergences of the frameworks, each a short function that measures whether it is still there.

A probe never looks at version numbers. It runs the framework on something small and compares the numbers with what a
user would expect and with what is known to happen instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["present", "fixed", "changed", "not applicable"]
"""What became of a known divergence."""
Harm = Literal["silent", "late", "surprise"]
"""The kind of harm that a divergence does."""

HARMS: dict[Harm, str] = {
    "silent": "Wrong answers without an error",
    "late": "Errors that come late or in the wrong place",
    "surprise": "Surprises",
}
"""Kinds of harm, the worst first."""


TOPICS = {
    "two biases": (
        "Equal weights trained with equal steps drift apart between a layer with two biases (PyTorch, MXNet) and one "
        "with one (Keras, flax): the sum b_ih + b_hh takes the steps of both. The rule that makes them train equally: "
        "freeze bias_hh; in a reset-after GRU only its rows r and z, since b_hn stands alone. Halving the learning "
        "rate of both biases does it too, but not under global-norm clipping; tying them does not."
    ),
}
"""Divergences that have a place of their own in docs/findings.md, whichever framework they concern."""


@dataclass(frozen=True)
class Observation:
    """What a probe found: a status, and the numbers measured now in one sentence."""

    status: Status
    evidence: str


def observed(known: bool, expected: bool, evidence: str) -> Observation:
    """``present`` when what is known to happen happened, ``fixed`` when what a user expects did, else ``changed``."""
    if known and not expected:
        return Observation("present", evidence)
    return Observation("fixed" if expected else "changed", evidence)


@dataclass(frozen=True)
class Probe:
    """One divergence.

    Parameters
    ----------
    name
        Unique within the framework, in words with hyphens.
    what
        One sentence: what a user would expect, and what happens.
    consequence
        What it does to a user's work, in one sentence.
    way_out
        What to do about it, in one sentence.
    harm
        ``silent``, ``late`` or ``surprise``.
    measure
        Called without arguments it probes the framework. Its one parameter, which has a default, is the behaviour
        under test; a test puts a corrected stand-in there and sees the status turn.
    upstream
        The issue, pull request or page, where there is one.
    topic
        One of ``TOPICS``, or empty.
    """

    name: str
    what: str
    consequence: str
    way_out: str
    harm: Harm
    measure: Callable[..., Observation]
    upstream: str = ""
    topic: str = ""

    def as_json(self) -> dict[str, Any]:
        """The probe's texts."""
        return {name: value for name, value in vars(self).items() if name != "measure"}


class Probes(dict[str, Probe]):
    """A framework's probes by name, the most harmful first within each kind of harm, as they are written down."""

    def add(
        self, *, what: str, consequence: str, way_out: str, harm: Harm, upstream: str = "", topic: str = ""
    ) -> Callable[[Callable[..., Observation]], Callable[..., Observation]]:
        """Register a function as a probe; its name with hyphens is the probe's."""

        def register(measure: Callable[..., Observation]) -> Callable[..., Observation]:
            name = measure.__name__.replace("_", "-")
            if name in self:
                raise ValueError(f"a probe's name must be its own; got {name!r} twice")
            self[name] = Probe(name, what, consequence, way_out, harm, measure, upstream, topic)
            return measure

        return register
