"""Claims on which layers there are, what they compute, and in which form they want their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backends.registry import backends
from benchmarks.claims.claim import NATIVE, RAGGED, Claim, Part, Point, Rule, in_each_framework
from benchmarks.claims.statements.padding import CELLS, DTYPE, LENGTHS, RIGHT, SEQ_LEN, error_of, small_case
from benchmarks.claims.workshop import Workshop
from common.case import Case
from common.judging.yardstick import yardstick
from common.reference import Arrays, Reference
from common.specification import Cell

ORDER = [2, 0, 3, 1]
"""The rows of ``LENGTHS`` with no order of their lengths."""


def _bidirectional_in_flax(workshop: Workshop) -> list[Point]:
    """Whether each of Flax's own bidirectional layers agrees with the reference on rows of unequal length: 1 if so."""
    offered = workshop.pool.worker(backends()["jax"]).description.implementations
    points = []
    for name in (name for name in offered if name.startswith("native")):
        for cell in CELLS:
            case = small_case(cell, LENGTHS)
            error = error_of(case, workshop.run(f"jax/{name}", case, DTYPE))
            points.append(
                Point(
                    where={
                        "framework": "jax",
                        "layer": f"flax.{name.removeprefix('native-')}.Bidirectional",
                        "cell": cell,
                    },
                    numbers={"there": float(error < RIGHT), "error": error},
                )
            )
    return points


def _gru_of_the_paper(workshop: Workshop, framework: str) -> list[Point]:
    """The framework's GRU against the equations of Cho et al., by the same weights."""
    case = small_case("gru", None)
    output = workshop.run(NATIVE[framework], case, DTYPE)["output"]
    spec = case.spec.model_copy(update={"reset_after": False})
    zeros = case.initial_state("h")
    paper = Reference(spec, case.weights, DTYPE).forward(case.x, None, zeros, zeros)["output"]
    return [
        Point(
            where={"framework": framework},
            numbers={"difference": float(np.abs(output - paper).max()), "error": error_of(case, {"output": output})},
        )
    ]


def _unsorted(workshop: Workshop, framework: str) -> list[Point]:
    """How far a framework is off with lengths on rows in no order of their lengths."""
    points = []
    for cell in CELLS:
        case = small_case(cell, LENGTHS)
        assert case.lengths is not None
        mixed = replace(case, x=case.x[ORDER], lengths=case.lengths[ORDER])
        error = error_of(mixed, workshop.run(RAGGED[framework], mixed, DTYPE))
        points.append(Point(where={"framework": framework, "cell": cell}, numbers={"error": error}))
    return points


def _padded_before(workshop: Workshop, framework: str) -> list[Point]:
    """Zeros before each row in place of after it, and no lengths: how far the final states are off."""
    points = []
    for cell in CELLS:
        case = small_case(cell, LENGTHS)
        assert case.lengths is not None
        x = np.zeros_like(case.x)
        for row, length in enumerate(case.lengths.tolist()):
            x[row, SEQ_LEN - length :] = case.x[row, :length]
        h_n = workshop.run(NATIVE[framework], replace(case, x=x, lengths=None), DTYPE)["h_n"]
        off = np.abs(h_n - yardstick(case, DTYPE).truth["h_n"]).max(axis=(1, 2))
        numbers = {"error": float(off[0]), "reverse_error": float(off[1])}
        points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers))
    return points


def _row_alone(workshop: Workshop, framework: str) -> list[Point]:
    """How far the results of each row alone are from those of the row in a batch."""
    points = []
    for cell in CELLS:
        case = small_case(cell, LENGTHS)
        together = workshop.run(RAGGED[framework], case, DTYPE)
        alone = [workshop.run(RAGGED[framework], _row(cell, row), DTYPE) for row in range(len(LENGTHS))]
        apart = max(_apart(results, together, row) for row, results in enumerate(alone))
        points.append(Point(where={"framework": framework, "cell": cell}, numbers={"difference": apart}))
    return points


def _row(cell: Cell, row: int) -> Case:
    """The small case of one row alone, padded as it is in the batch."""
    case = small_case(cell, LENGTHS)
    assert case.lengths is not None
    return replace(case, x=case.x[row : row + 1], lengths=case.lengths[row : row + 1])


def _apart(alone: Arrays, together: Arrays, row: int) -> float:
    """The largest difference between a row's results alone and in a batch, in outputs and states."""
    states = max(float(np.abs(alone[name][:, 0] - together[name][:, row]).max()) for name in alone if name != "output")
    return max(states, float(np.abs(alone["output"][0] - together["output"][row]).max()))


CLAIMS = (
    Claim(
        name="jax-has-no-bidirectional-layer",
        module=__name__,
        sentence="JAX has no bidirectional layer: the reversal has to be written by hand.",
        where="tutorials on recurrent networks in JAX",
        measured="Flax's own bidirectional layers, as they are found, on rows of 9, 7, 4 and 1 steps against the "
        "float64 reference.",
        rule=Rule("there", "a bidirectional layer that is right (1 for one, 0 for none)", "below", 0.5),
        parts=(Part("jax", "jax", _bidirectional_in_flax),),
        limits="flax.linen and flax.nnx have one each. Unlike PyTorch's they give live numbers past a length, which "
        "have to be masked, and nnx.GRUCell lacks a bias (docs/findings.md).",
    ),
    Claim(
        name="a-gru-is-the-gru-of-the-paper",
        module=__name__,
        sentence="The GRU layer computes the equations of Cho et al. 2014.",
        where="explanations that quote the paper's equations beside the framework's layer",
        measured="Each framework's own GRU against the paper's equations (the reset gate before the recurrent "
        "product), by the same weights.",
        rule=Rule("difference", "the largest difference of an output", "below", RIGHT),
        parts=in_each_framework(_gru_of_the_paper),
        limits="They reset after the product, as cuDNN does; Keras alone has an option for the paper's.",
    ),
    Claim(
        name="rows-have-to-be-sorted-by-length",
        module=__name__,
        sentence="The rows of a packed batch have to be sorted by length.",
        where="tutorials on pack_padded_sequence",
        measured="Rows of 4, 9, 1 and 7 steps, in this order, with lengths, against the float64 reference.",
        rule=Rule("error", "the largest error of an output at a real step", "above", RIGHT),
        parts=in_each_framework(_unsorted),
        limits="In PyTorch with enforce_sorted=False, which sorts and undoes it; the others never asked for an order.",
    ),
    Claim(
        name="padding-before-the-rows-does-no-harm",
        module=__name__,
        sentence="Rows padded with zeros before them, fed without lengths, have the right final states.",
        where="text classifiers with pad_sequences, whose default is padding='pre'",
        measured="Each framework's own layer on rows with zeros before them: its forward final state against the "
        "float64 reference of the rows alone.",
        rule=Rule("error", "the largest error of the forward final state", "below", RIGHT),
        parts=in_each_framework(_padded_before),
        limits="The forward half has then read zeros before the row, as the reverse half has otherwise: its biases "
        "move the state. The reverse final state is off, too, by the zeros that it reads last.",
    ),
    Claim(
        name="a-row-does-not-depend-on-its-batch",
        module=__name__,
        sentence="What a row gives does not depend on the other rows of its batch.",
        where="tutorials on batching for inference",
        measured="Each row alone against the same row in a padded batch with lengths, in float64.",
        rule=Rule("difference", "the largest difference in outputs and states", "below", RIGHT),
        parts=in_each_framework(_row_alone),
        limits="With lengths. Without them a short row depends on the longest of its batch.",
    ),
)
"""The claims on layers and their equations, in the ledger's order."""
