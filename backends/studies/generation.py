"""Text that a model of the next token writes: token after token, each told by a worker from all before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer
from common.models.specification import END, START, Arrays


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the likeliest one at ``temperature`` 0, else one drawn from softmax(logits / temperature)
    with the random numbers of ``seed``.
    """

    temperature: float = 0.0
    seed: int = 0


def prompt_batch(prompts: Sequence[np.ndarray], most: int) -> Arrays:
    """The batch of what is asked first: the start token and each prompt's tokens (n,) int64, with room for the
    ``most`` tokens that are to follow it, so that what is asked has one shape from the first token to the last.
    """
    lengths = np.array([len(prompt) + 1 for prompt in prompts], np.int64)
    tokens = np.zeros((len(prompts), int(lengths.max()) + most - 1), np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt) + 1] = [START, *prompt]
    return {"tokens": tokens, "lengths": lengths}


def continued(
    network: RemoteNetwork, prompts: Sequence[np.ndarray], most: int, sampling: Sampling = Sampling()
) -> list[np.ndarray]:
    """What a network writes behind each prompt: at most ``most`` tokens (n,) int64, the end token last where it came.

    Parameters
    ----------
    network
        A sequence model of the next token, opened with a batch as large as ``prompt_batch`` makes it.
    prompts
        Tokens (n,) int64 of each, without the start token.
    most
        At least 1.
    sampling
        How a token is chosen from the logits of the step before.

    Raises
    ------
    NoAnswer
        If the worker declines, fails, or answers what was not asked.
    """
    batch, rng = prompt_batch(prompts, most), np.random.default_rng(sampling.seed)
    rows = np.arange(len(prompts))
    first = batch["lengths"]
    written = np.zeros((len(prompts), 0), np.int64)
    for step in range(most):
        (answer,) = network.answers("predict", [batch])
        try:
            logits = answer["logits"][rows, first + step - 1].astype(np.float64)  # (batch, classes)
        except (KeyError, IndexError) as error:
            raise NoAnswer(network.distrust(f"its answers must be logits of every step; got: {error}")) from None
        said = np.array([_chosen(of_row, sampling.temperature, rng) for of_row in logits])
        written = np.column_stack([written, said])  # (batch, step + 1)
        if step + 1 == most or (written == END).any(axis=1).all():
            break
        tokens = batch["tokens"].copy()
        tokens[rows, first + step] = said
        batch = {"tokens": tokens, "lengths": first + step + 1}
    return [_up_to_its_end(row) for row in written]


def _chosen(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """A token by its logits (classes,); of equal ones the first."""
    if temperature == 0:
        return int(logits.argmax())
    with np.errstate(over="ignore"):  # −∞ at a low temperature is a share of 0
        weights = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(logits), p=weights / weights.sum()))


def _up_to_its_end(tokens: np.ndarray) -> np.ndarray:
    """The tokens up to the first end token, which is kept."""
    ends = np.flatnonzero(tokens == END)
    return tokens[: ends[0] + 1] if len(ends) else tokens
