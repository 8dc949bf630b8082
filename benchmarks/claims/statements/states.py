"""Claims on what comes out of a bidirectional layer: its width, its final states, what a gradient passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.pool.pool import NoAnswer
from benchmarks.claims.claim import NATIVE, Claim, Point, Rule, in_each_framework
from benchmarks.claims.statements.padding import CELLS, DTYPE, HIDDEN_SIZE, SEQ_LEN, small_case
from benchmarks.claims.workshop import Workshop
from common.case import Case, result_shapes
from common.cases.seeded import Shape, make_case
from common.models.optimizers import OptimizerSettings
from common.models.pipeline_data import pipeline_data, pipeline_model
from common.models.specification import initialise
from common.reference import Arrays
from common.specification import Cell, Specification

STEPS = 50
"""Steps of the row whose first and last one are asked what the final state knows of them."""
SAME = 1e-9
"""Numbers this near to each other are equal but for rounding in float64."""


def _widths(workshop: Workshop, framework: str) -> list[Point]:
    """Steps and features of the output over those of the input and of one direction."""
    points = []
    for cell in CELLS:
        output = workshop.run(NATIVE[framework], small_case(cell, None), DTYPE)["output"]
        numbers = {"steps": output.shape[1] / SEQ_LEN, "features": output.shape[2] / HIDDEN_SIZE}
        points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers))
    return points


def _last_output(workshop: Workshop, framework: str) -> list[Point]:
    """How far the output at the last step is from the final states, half by half."""
    points = []
    for cell in CELLS:
        results = workshop.run(NATIVE[framework], small_case(cell, None), DTYPE)
        off = np.abs(results["output"][:, -1] - np.concatenate(list(results["h_n"]), axis=-1))
        halves = [float(half.max()) for half in np.split(off, 2, axis=-1)]
        points.append(
            Point(
                where={"framework": framework, "cell": cell}, numbers={"forward_error": halves[0], "error": halves[1]}
            )
        )
    return points


def long_row(cell: Cell, steps: int, cotangents: Arrays, units: int = 32) -> Case:
    """A layer on one full row, with a gradient to pass back; weights as torch.nn draws them."""
    spec = Specification(cell=cell, input_size=8, hidden_size=units, num_layers=1, bias=True, merge="concat")
    made = make_case(
        f"claim-{cell}-T{steps}",
        spec,
        Shape(1, steps),
        seed=0,
        with_states=False,
        with_cotangents=False,
        source="a claim, seed 0",
    )
    full = {name: np.zeros(shape) for name, shape in result_shapes(spec, 1, steps).items() if name in cotangents}
    for name, value in cotangents.items():
        full[name] = full[name] + value
    return replace(made, cotangents=full)


def _last_hidden(workshop: Workshop, framework: str) -> list[Point]:
    """What the last and the first step of a row count for hidden[-1], by its gradient."""
    points = []
    rng = np.random.default_rng(1)
    for cell in CELLS:
        wanted = np.zeros((2, 1, 32))
        wanted[-1] = rng.normal(size=(1, 32))
        gradients = workshop.run(NATIVE[framework], long_row(cell, STEPS, {"h_n": wanted}), DTYPE)
        by_step = np.linalg.norm(gradients["grad.x"][0], axis=-1)
        numbers = {"ratio": float(by_step[-1] / by_step[0]), "first": float(by_step[0]), "last": float(by_step[-1])}
        points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers))
    return points


def _one_direction_state(workshop: Workshop, framework: str) -> list[Point]:
    """Whether a framework's layer raises where it is given an initial state of one direction, or what it gives."""
    points = []
    file = Path(__file__).with_name("natural") / FOLDERS[framework] / "natural.py"
    with (
        workshop.own(framework, file, "state_of_two_directions") as as_it_has_to_be,
        workshop.own(framework, file, "state_of_one_direction") as as_claimed,
    ):
        for cell in CELLS:
            case = case_with_states(cell)
            as_it_has_to_be(case, DTYPE)  # else any error would count
            try:
                results = as_claimed(case, DTYPE)
            except NoAnswer as error:
                if error.reply.status != "failed":
                    raise
                numbers, notes = {"raises": 1.0}, {"error": error.reply.reason[:200]}
            else:
                numbers, notes = {"raises": 0.0}, {"gives": f"an output of shape {results['output'].shape}"}
            points.append(Point(where={"framework": framework, "cell": cell}, numbers=numbers, notes=notes))
    return points


FOLDERS = {"torch": "pytorch", "jax": "jax_flax", "tensorflow": "tensorflow_keras", "mxnet": "mxnet_gluon"}
"""The folder of each framework's layers as a user calls them."""


def case_with_states(cell: Cell) -> Case:
    """The small case on full rows with initial states."""
    case = small_case(cell, None)
    states = np.random.default_rng(2).normal(size=(2, 2, case.batch, HIDDEN_SIZE))
    return replace(case, h_0=states[0], c_0=states[1] if cell == "lstm" else None)


def _halves_apart(workshop: Workshop, framework: str) -> list[Point]:
    """How much a step of training moves the forward half otherwise when the reverse half starts elsewhere."""
    points = []
    batch = dict(pipeline_data(0).batch(np.arange(20)))
    optimizer = OptimizerSettings(name="sgd", learning_rate=1.0)
    for cell in CELLS:
        spec = pipeline_model(cell)
        weights, others = (initialise(spec, np.random.default_rng(seed)) for seed in (0, 1))
        changed = {name: (others if name.endswith("_reverse") else weights)[name] for name in weights}
        moves = []
        for number, start in enumerate((weights, changed)):
            network = workshop.network(framework, f"halves-{cell}-{number}")
            network.open(spec, NATIVE[framework].partition("/")[2], DTYPE, "cpu", start, batch, optimizer)
            network.train([batch])
            trained, _ = network.save()
            network.close()
            names = [name for name in weights if name.startswith("rnn.weight") and not name.endswith("_reverse")]
            moves.append(np.concatenate([(trained[name] - start[name]).ravel() for name in names]))
        apart = np.linalg.norm(moves[0] - moves[1]) / np.linalg.norm(moves[0])
        points.append(Point(where={"framework": framework, "cell": cell}, numbers={"difference": float(apart)}))
    return points


CLAIMS = (
    Claim(
        name="two-directions-double-the-sequence",
        module=__name__,
        sentence="A bidirectional layer gives twice as many steps: the sequence read forwards, then backwards.",
        where="introductions that draw the reversed sequence behind the sequence",
        measured="The shape of the output of each framework's own bidirectional layer, merged by concat.",
        rule=Rule("steps", "steps of the output over steps of the input", "above", 1.5),
        parts=in_each_framework(_widths),
        limits="It is the features that double: (batch, seq_len, 2·hidden_size).",
    ),
    Claim(
        name="last-output-is-the-final-state",
        module=__name__,
        sentence="The output at the last step is the layer's final state, so output[:, -1] is what a classifier reads.",
        where="text and image classifiers that were written for one direction",
        measured="output[:, -1] against the two final states, on full rows, in each framework's own layer: the reverse "
        "half (the forward half is in the numbers, and is 0).",
        rule=Rule("error", "the largest difference in the reverse half", "below", SAME),
        parts=in_each_framework(_last_output),
        limits="The reverse half of output[:, -1] has read one step; its final state is at output[:, 0].",
    ),
    Claim(
        name="hidden-minus-1-is-the-encoder-s-state",
        module=__name__,
        sentence="hidden[-1] of a bidirectional encoder sums up the source, its end above all, for the decoder.",
        where="encoder–decoder tutorials that were extended to two directions",
        measured=f"The gradient of hidden[-1] by the input, in each framework's own layer, on a row of {STEPS} steps: "
        "its norm at the last step over that at the first.",
        rule=Rule("ratio", "what the last step counts over what the first one counts", "above", 1.0),
        parts=in_each_framework(_last_hidden),
        limits="hidden[-1] is the reverse direction's state: half of the units, and it read the last step first.",
    ),
    Claim(
        name="a-state-of-one-direction-raises",
        module=__name__,
        sentence="An initial state of shape (1, batch, hidden) given to a bidirectional layer raises an error.",
        where="answers to questions on shapes of hidden states",
        measured="Each framework's own bidirectional layer called with the state of one direction, where its "
        "documentation has states for both; with both it computes.",
        rule=Rule("raises", "1 where it raises, 0 where it computes", "above", 0.5),
        parts=in_each_framework(_one_direction_state),
        limits="Where it computes, what it gives is in the numbers.",
    ),
    Claim(
        name="the-halves-are-trained-separately",
        module=__name__,
        sentence="The two directions are trained separately and put together afterwards.",
        where="introductions that describe two networks side by side",
        measured="One step of SGD of the pipeline's network, with two starts of the reverse half: how far apart the "
        "steps of the forward half are.",
        rule=Rule(
            "difference", "how far the forward half's step changes with the reverse half, over its size,", "below", SAME
        ),
        parts=in_each_framework(_halves_apart),
        limits="They read separately, but one loss trains both: each half's gradient depends on what the other says.",
    ),
)
"""The claims on what comes out of a layer, in the ledger's order."""
