"""What a language model goes on with, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.pool.network import RemoteNetwork
from backends.studies.generation import Sampling, continued
from birnn.commands.answers.trained import TrainedModel
from birnn.display import stderr
from common.data.text import tokens_of
from common.data.vocabulary import SPECIAL, UNKNOWN
from common.errors import InputError, shown
from common.models.batch import Batch
from common.models.specification import Arrays
from common.specification import NUM_DIRECTIONS
from common.tasks.checkpoint import unit_of
from common.tasks.task import LANGUAGE


@dataclass(frozen=True)
class Prompt:
    """The arguments that a language model alone has, None where they were not given."""

    text: str | None = None
    temperature: float | None = None
    seed: int | None = None


def check_prompt(prompt: Prompt, model: str, texts: Sequence[str], data: Path | None) -> None:
    """Raise an ``InputError`` where a prompt, or what goes with it, is missing or has no place."""
    given = {"prompt": prompt.text, "temperature": prompt.temperature, "seed": prompt.seed}
    for option, value in given.items():
        if value is not None and model != LANGUAGE:
            raise InputError(f"--{option} must be left out for {model}, which writes no text; got {shown(value)}")
    if model != LANGUAGE:
        return
    if texts or data is not None:
        got = texts[0] if texts else data
        raise InputError(f"language goes on with a --prompt: texts and --data must be left out; got {shown(got)}")
    if prompt.text is None or not prompt.text.strip():
        got = "none" if prompt.text is None else shown(prompt.text)
        raise InputError(f"--prompt must hold at least one word that language goes on with; got {got}")


def prompted(text: str, trained: TrainedModel) -> list[tuple[str, ...]]:
    """The prompt in the model's tokens; an ``InputError`` where training had none of them.

    A note on stderr names those that it had not, and says what a model of two directions is.
    """
    unit = unit_of(trained.vocabularies)
    prompt = tokens_of(text, unit)
    missing = [token for token, i in zip(prompt, trained.vocabulary(unit).ids(prompt), strict=True) if i == UNKNOWN]
    named = ", ".join(map(shown, dict.fromkeys(missing)))
    if len(missing) == len(prompt):
        raise InputError(f"--prompt must hold {unit} that training had; got {named} alone, which it had not")
    if missing:
        stderr().print(f"birnn: training had not {named}: the model reads {SPECIAL[UNKNOWN]} there", markup=False)
    if trained.spec.recurrent.num_directions == NUM_DIRECTIONS:
        stderr().print(
            "birnn: this model has two directions: it was trained with the next token in sight, which no prompt shows, "
            "so what it writes is no language; birnn train language --directions 1 trains one that can write",
            markup=False,
        )
    return [prompt]


def written(network: RemoteNetwork, batch: Batch, max_steps: int, prompt: Prompt) -> Arrays:
    """The tokens that a language model writes behind the prompts of a batch, at most ``max_steps`` each."""
    prompts = [row[1:length] for row, length in zip(batch["tokens"], batch["lengths"], strict=True)]
    sampling = Sampling(prompt.temperature or 0.0, prompt.seed or 0)
    return {"tokens": np.stack(continued(network, prompts, max_steps, sampling))}
