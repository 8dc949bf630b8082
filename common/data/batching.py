"""Batches of examples, as ``common.models.batch`` describes them, every random draw from the controller's seed.

Each draw has a stream of its own, made of what it is for, the epoch, the batch or example, and the seed: switching
dropout on moves no masked position, and training that is resumed at an epoch goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from common.data.examples import Example, PairExample, SequenceExample
from common.data.vocabulary import MASK, UNKNOWN
from common.errors import InputError
from common.models.batch import decoder_dropout_factors, dropout_factors, sizes
from common.models.specification import Arrays, Model

EVALUATION = 2**32 - 1
"""Stands for the epoch where nothing is trained."""


class Draw(IntEnum):
    """What a stream of random numbers is for."""

    ORDER = 1
    DROPOUT = 2
    MASK = 3
    FORCED = 4
    DECODER_DROPOUT = 5


@dataclass(frozen=True)
class Batching:
    """How examples become batches.

    Parameters
    ----------
    batch_size
        Examples in a batch; what is left over at the end is a smaller batch.
    by_length
        False: every epoch goes through the examples in a random order. True: the batches are made of examples of
        nearly one length (those of equal length in a random order) and come in a random order, which saves padding;
        not for data whose labels hang on the length.
    length_multiple
        Padded lengths are rounded up to a multiple of this, so that a framework that compiles for every shape has
        fewer of them.
    ragged
        Whether the batches have ``lengths``; False needs examples of one length, and pads nothing.
    masked_share
        For masked prediction: in each example, this share of its words (rounded, at least one), drawn anew in every
        epoch, is replaced by the mask and is to be predicted; all else is not counted. Words that the vocabulary lacks
        are never chosen, so an example of such words alone counts for nothing.
    known_alone
        For the next token: a label that the vocabulary lacks is not counted, neither in training nor in judging.
    forcing
        Teacher forcing of an encoder–decoder: the probability that a step of a training batch is given the right
        token before it.
    """

    batch_size: int
    by_length: bool = False
    length_multiple: int = 1
    ragged: bool = True
    masked_share: float | None = None
    known_alone: bool = False
    forcing: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "length_multiple"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.masked_share is not None and not 0 < self.masked_share <= 1:
            raise InputError(f"masked_share must be above 0 and at most 1; got {self.masked_share}")
        if not 0 <= self.forcing <= 1:
            raise InputError(f"forcing must lie between 0 and 1; got {self.forcing}")

    def padded(self, longest: int) -> int:
        """The padded length of a batch."""
        return -(-longest // self.length_multiple) * self.length_multiple if self.ragged else longest


def batches(spec: Model, examples: Sequence[Example], batching: Batching, seed: int, epoch: int) -> Iterator[Arrays]:
    """The training batches of one epoch, with dropout's factors where the model has dropout.

    Raises
    ------
    InputError
        If there is no example, one is empty, or lengths differ where ``ragged`` is false.
    """
    lengths = _lengths(examples, batching)
    for number, rows in enumerate(_order(lengths, batching, seed, epoch)):
        batch = _batch(examples, rows, batching, seed, epoch)
        if "targets" in batch:
            draws = _rng(Draw.FORCED, epoch, number, seed).random(batch["targets"].shape[1])
            batch["forced"] = np.less(draws, batching.forcing)
            rng = _rng(Draw.DECODER_DROPOUT, epoch, number, seed)
            batch |= decoder_dropout_factors(spec, len(rows), batch["targets"].shape[1], rng)
        yield batch | dropout_factors(spec, *sizes(batch), _rng(Draw.DROPOUT, epoch, number, seed))


def evaluation_batches(
    examples: Sequence[Example], batching: Batching, seed: int = 0, forced: bool = False
) -> Iterator[Arrays]:
    """Batches in the order of the examples, for judging and prediction: no dropout, and of a target nothing forced, or
    everything.

    Masked positions are the seed's, the same ones every time and for every batch size. Raises as ``batches``.
    """
    _lengths(examples, batching)
    for start in range(0, len(examples), batching.batch_size):
        rows = np.arange(start, min(start + batching.batch_size, len(examples)))
        batch = _batch(examples, rows, batching, seed, EVALUATION)
        if "targets" in batch:
            batch["forced"] = np.full(batch["targets"].shape[1], forced)
        yield batch


def _rng(draw: Draw, epoch: int, number: int, seed: int) -> np.random.Generator:
    """The random numbers of one kind of draw in one batch of one epoch."""
    return np.random.default_rng([draw, epoch, number, seed])


def _source(example: Example) -> np.ndarray:
    """What an example is read from."""
    return example.source if isinstance(example, PairExample) else example.inputs


def _lengths(examples: Sequence[Example], batching: Batching) -> np.ndarray:
    """Every example's length (len(examples),) int64."""
    if not examples:
        raise InputError("the data must hold at least one example; it holds none")
    lengths = np.array([len(_source(example)) for example in examples], np.int64)
    if not lengths.all():
        raise InputError(f"every example must have at least one step; number {int(np.argmin(lengths)) + 1} has none")
    if not batching.ragged and (lengths != lengths[0]).any():
        other = lengths[lengths != lengths[0]][0]
        raise InputError(f"examples must be of one length without lengths; got {lengths[0]} and {other}")
    return lengths


def _order(lengths: np.ndarray, batching: Batching, seed: int, epoch: int) -> list[np.ndarray]:
    """The examples of each batch of an epoch, by their indices."""
    rng = _rng(Draw.ORDER, epoch, 0, seed)
    order = rng.permutation(len(lengths))
    if batching.by_length:
        order = order[np.argsort(lengths[order], kind="stable")]
    cut = [order[start : start + batching.batch_size] for start in range(0, len(order), batching.batch_size)]
    return [cut[i] for i in rng.permutation(len(cut))] if batching.by_length else cut


def _batch(examples: Sequence[Example], rows: np.ndarray, batching: Batching, seed: int, epoch: int) -> Arrays:
    """Inputs and labels of some examples, masked where they are to be."""
    picked = [examples[row] for row in rows]
    lengths = np.array([len(_source(example)) for example in picked], np.int64)
    steps = batching.padded(int(lengths.max()))
    inputs = _stacked([_source(example) for example in picked], steps)
    batch = {"tokens" if inputs.ndim == 2 else "x": inputs}
    if batching.ragged:
        batch["lengths"] = lengths
    pairs = [example for example in picked if isinstance(example, PairExample)]
    if pairs:
        return batch | _targets(pairs, batching)
    if batching.masked_share is not None:
        return batch | _masked(inputs, lengths, batching.masked_share, [(epoch, int(row), seed) for row in rows])
    batch |= _labels([example for example in picked if isinstance(example, SequenceExample)], lengths, steps)
    if batching.known_alone:
        batch["counted"] &= batch["labels"] != UNKNOWN
    return batch


def _stacked(sequences: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """(len(sequences), steps, …): the sequences, then zeros."""
    stacked = np.zeros((len(sequences), steps, *sequences[0].shape[1:]), sequences[0].dtype)
    for row, sequence in zip(stacked, sequences, strict=True):
        row[: len(sequence)] = sequence
    return stacked


def _labels(examples: Sequence[SequenceExample], lengths: np.ndarray, steps: int) -> Arrays:
    """The labels of a batch and which of them count; nothing where examples have none."""
    known = [example.labels for example in examples if example.labels is not None]
    if not known:
        return {}
    if known[0].ndim == 0:
        return {"labels": np.stack(known), "counted": np.ones(len(known), bool)}
    return {"labels": _stacked(known, steps), "counted": np.arange(steps) < lengths[:, None]}


def _targets(examples: Sequence[PairExample], batching: Batching) -> Arrays:
    """The targets of a batch; nothing where examples have none."""
    known = [example.target for example in examples if example.target is not None]
    if not known:
        return {}
    lengths = np.array([len(target) for target in known], np.int64)
    return {"targets": _stacked(known, batching.padded(int(lengths.max()))), "target_lengths": lengths}


def _masked(tokens: np.ndarray, lengths: np.ndarray, share: float, streams: list[tuple[int, int, int]]) -> Arrays:
    """Tokens with masks, the tokens before that as labels, and which are counted; a stream for each row."""
    chosen = np.zeros(tokens.shape, bool)
    for row, length, (epoch, example, seed) in zip(range(len(tokens)), lengths, streams, strict=True):
        words = np.flatnonzero(~np.isin(tokens[row, :length], (UNKNOWN, MASK)))
        count = min(max(round(share * int(length)), 1), len(words))
        chosen[row, _rng(Draw.MASK, epoch, example, seed).choice(words, count, replace=False)] = True
    return {"tokens": np.where(chosen, MASK, tokens), "labels": tokens, "counted": chosen}
