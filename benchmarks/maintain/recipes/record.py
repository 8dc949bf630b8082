"""The file that keeps what was tried, so that an interrupted command goes on and the page says nothing else."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Trial(BaseModel):
    """A training of one recipe on a part of the training data, from one seed.

    ``scores`` are those of the other part after each epoch, greater being better; ``multiplications`` the numbers that
    a token is multiplied by; ``examples`` how many were trained on and judged by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    called: str
    recipe: dict[str, Any]
    seed: int
    scores: list[float]
    multiplications: int
    examples: tuple[int, int]
    day: str = ""


class Tried(BaseModel):
    """All trials; ``machine`` is that of the last."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    implementation: str = ""
    machine: str = ""
    trials: list[Trial] = []
