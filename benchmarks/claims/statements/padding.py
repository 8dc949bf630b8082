"""Claims on rows of unequal length: what the padding does, and how it is kept out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.claims.claim import NATIVE, RAGGED, Claim, Point, Rule, in_each_framework
from benchmarks.claims.workshop import Workshop
from common.case import Case
from common.cases.seeded import GARBAGE_SCALE, Shape, make_case
from common.judging.trial import judge_trial
from common.judging.yardstick import without_gradients, yardstick
from common.reference import Arrays
from common.specification import Cell, Specification

CELLS: tuple[Cell, ...] = ("rnn_tanh", "gru", "lstm")
"""The cells that are run."""
LENGTHS = (9, 7, 4, 1)
"""Steps of each row, one of them full and one of a single step."""
SEQ_LEN, INPUT_SIZE, HIDDEN_SIZE = 9, 4, 6
"""Sizes of the small case: steps, features, and units of a direction."""
DTYPE = "float64"
"""The precision that layers are run in, so that what is off is no rounding."""
RIGHT = 1e-9
"""Correct code is off by 1e-14 at most in float64; what tutorials get wrong is off by 0.1."""


def small_case(cell: Cell, lengths: Sequence[int] | None) -> Case:
    """A bidirectional layer on a few rows, zeros in the padding as tutorials have them, from zero states."""
    spec = Specification(
        cell=cell, input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE, num_layers=1, bias=True, merge="concat"
    )
    shape = Shape(len(LENGTHS), SEQ_LEN, None if lengths is None else tuple(lengths))
    name = f"claim-{cell}"
    made = make_case(name, spec, shape, seed=0, with_states=False, with_cotangents=False, source="a claim, seed 0")
    return replace(made, x=np.where(made.padding_mask()[..., None], 0.0, made.x))


def exchanged(weights: Arrays) -> Arrays:
    """The weights with the two directions exchanged, so that the first one runs with the second one's."""
    return {
        name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse": value
        for name, value in weights.items()
    }


def by_two_forward_passes(workshop: Workshop, name: str, case: Case, axis: int) -> Arrays:
    """What a tutorial's own bidirectional layer gives: a forward pass, and one over the batch that was flipped along
    ``axis`` with its padding, given the same lengths and flipped back.
    """
    spec = case.spec
    flipped = replace(case, x=np.flip(case.x, axis).copy(), weights=exchanged(case.weights))
    passes = [workshop.run(name, each, DTYPE) for each in (case, flipped)]
    halves = [each["output"][..., : spec.hidden_size] for each in passes]  # the first direction of each
    results = {"output": np.concatenate([halves[0], np.flip(halves[1], axis)], axis=-1)}
    states = [name for name in passes[0] if name in ("h_n", "c_n")]
    return results | {name: np.stack([each[name][0] for each in passes]) for name in states}


def error_of(case: Case, results: Arrays) -> float:
    """The largest absolute error of an output at a real step."""
    truth = yardstick(case, DTYPE).truth["output"]
    return float(np.abs(results["output"] - truth)[~case.padding_mask()].max())


def mistake_of(case: Case, results: Arrays) -> str:
    """The known mistake that gives the same numbers, as ``birnn verify`` names it."""
    verdict = judge_trial(results, without_gradients(yardstick(case, DTYPE)))
    return "right" if verdict.agrees else verdict.matches or verdict.nearest or "wrong in a way of its own"


def _flipped(workshop: Workshop, framework: str, lengths: Sequence[int] | None, axis: int) -> list[Point]:
    """How far the pattern of two forward passes is off for each cell, and which known mistake it makes."""
    points = []
    for cell in CELLS:
        case = small_case(cell, lengths)
        results = by_two_forward_passes(workshop, RAGGED[framework], case, axis)
        notes = {"mistake": mistake_of(case, results)}
        points.append(
            Point(where={"framework": framework, "cell": cell}, numbers={"error": error_of(case, results)}, notes=notes)
        )
    return points


def _padded_batch_flipped(workshop: Workshop, framework: str) -> list[Point]:
    """The pattern on padded rows with lengths, flipped along time."""
    return _flipped(workshop, framework, LENGTHS, axis=1)  # (batch, seq_len, …): along time


def _time_major_flipped(workshop: Workshop, framework: str) -> list[Point]:
    """The pattern on full rows, flipped along the axis of the batch."""
    return _flipped(workshop, framework, None, axis=0)  # the batch, where a time-major layer has its steps


def _lengths_left_out(workshop: Workshop, framework: str) -> list[Point]:
    """How far zero-padded rows without lengths are off, half by half, and in the final states."""
    points = []
    for cell in CELLS:
        case = small_case(cell, LENGTHS)
        results = workshop.run(NATIVE[framework], replace(case, lengths=None), DTYPE)
        truth, real = yardstick(case, DTYPE).truth, ~case.padding_mask()
        halves = np.split(np.abs(results["output"] - truth["output"])[real], 2, axis=-1)
        numbers = {"forward_error": float(halves[0].max()), "error": float(halves[1].max())}
        numbers["state_error"] = float(np.abs(results["h_n"] - truth["h_n"]).max())
        points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers))
    return points


def _padding_packed(workshop: Workshop, framework: str) -> list[Point]:
    """How far results with lengths change with large numbers in the padding."""
    points = []
    for cell in CELLS:
        case = small_case(cell, LENGTHS)
        others = case.with_padding(np.random.default_rng(1), GARBAGE_SCALE)
        results, other = (workshop.run(RAGGED[framework], each, DTYPE) for each in (case, others))
        apart = max(float(np.abs(results[name] - other[name]).max()) for name in results)
        points.append(
            Point(
                where={"framework": framework, "cell": cell},
                numbers={"difference": apart, "error": error_of(case, results)},
            )
        )
    return points


CLAIMS = (
    Claim(
        name="flip-the-padded-batch",
        module=__name__,
        sentence="Flipping a padded batch along time, running a second RNN over it with the same lengths and flipping "
        "the result back gives the reverse direction.",
        where="bidirectional layers written by hand from two layers of one direction",
        measured="The pattern, built from each framework's own layer with the weights of a bidirectional one, on rows "
        "of 9, 7, 4 and 1 steps, against the float64 reference.",
        rule=Rule("error", "the largest error of an output at a real step", "below", RIGHT),
        parts=in_each_framework(_padded_batch_flipped),
        limits="The flipped rows begin with their padding: each row has to be flipped within its own length.",
    ),
    Claim(
        name="flip-axis-1-of-a-time-major-batch",
        module=__name__,
        sentence="x.flip(1) reverses time whatever the layout of the layer is.",
        where="the same pattern copied to a layer that has its default layout, (seq_len, batch, features)",
        measured="The same pattern flipped along the axis that is the batch there, on full rows, against the float64 "
        "reference.",
        rule=Rule("error", "the largest error of an output", "below", RIGHT),
        parts=in_each_framework(_time_major_flipped),
        limits="In a time-major layout axis 1 is the batch: its rows change places, and time runs as it did.",
    ),
    Claim(
        name="zeros-in-the-padding-do-no-harm",
        module=__name__,
        sentence="Rows may be padded with zeros and fed without lengths: zeros change nothing.",
        where="first text classifiers with pad_sequence or pad_sequences",
        measured="Each framework's own layer on zero-padded rows without lengths, against the float64 reference with "
        "lengths: the reverse half of the outputs at real steps (the forward half is in the numbers).",
        rule=Rule("error", "the largest error of the reverse half at a real step", "below", RIGHT),
        parts=in_each_framework(_lengths_left_out),
        limits="The forward half is right at every real step; the reverse half has read the padding before the row.",
    ),
    Claim(
        name="with-lengths-the-padding-does-not-matter",
        module=__name__,
        sentence="With lengths (packing, a mask, seq_lengths, valid_length) it does not matter what the padding holds.",
        where="tutorials on variable-length rows",
        measured="Each framework's own layer with lengths, with zeros and with large numbers in the padding.",
        rule=Rule("difference", "the largest difference that the padding makes in outputs and states", "below", RIGHT),
        parts=in_each_framework(_padding_packed),
        limits="As this suite calls the layers; the ways to give lengths that are ignored are in docs/findings.md.",
    ),
)
"""The claims on rows of unequal length, in the ledger's order."""
