"""Claims on how far back a layer remembers: what of a gradient arrives, and what can be learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.claims.claim import NATIVE, Claim, Part, Point, Rule, in_each_framework
from benchmarks.claims.pictures import curves
from benchmarks.claims.statements.states import long_row
from benchmarks.claims.training import over_seeds, train
from benchmarks.claims.workshop import Workshop
from common.data.batching import Batching
from common.data.examples import SequenceExample
from common.models.optimizers import OptimizerSettings
from common.models.specification import SequenceModel, initialise
from common.specification import Cell, Specification
from common.tasks.task import Baseline, Task

CELLS: tuple[Cell, ...] = ("rnn_tanh", "gru", "lstm")
"""The cells that are compared."""
UNITS = 32
"""Units of a direction."""
DISTANCES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)
"""Steps between the input and the output whose gradient is told."""
FARTHEST = DISTANCES[-1]
"""The largest of ``DISTANCES``."""
FORGET_BIAS = "lstm, forget bias 1"
"""The name of the LSTM whose forget gates have biases of 1 in sum."""

COPIED = 8
"""Symbols of the copy task."""
COPY_DISTANCES = (5, 10, 20, 40, 80)
"""Blanks on either side of the symbol."""
COPY_EXAMPLES, COPY_HELD_OUT, COPY_EPOCHS, COPY_SEEDS = 320, 160, 40, 2
"""The size of the copy task's trainings: examples, held-out ones, epochs, and seeds from 0 on."""
COPY_IMPLEMENTATION = "torch/native"
"""What trains the copy task."""


def _norms(workshop: Workshop, framework: str, names: Sequence[str]) -> dict[str, dict[int, float]]:
    """The norm of the gradient of the forward half's last output by the input so many steps before it, by cell and
    distance.
    """
    steps = FARTHEST + 1
    wanted = np.zeros((1, steps, 2 * UNITS))
    wanted[0, -1, :UNITS] = np.random.default_rng(1).normal(size=UNITS)  # of the forward half alone
    norms = {}
    for name in names:
        workshop.tell(name)
        cell: Cell = "lstm" if name == FORGET_BIAS else name  # type: ignore[assignment]
        case = long_row(cell, steps, {"output": wanted}, UNITS)
        if name == FORGET_BIAS:
            for bias in ("bias_ih_l0", "bias_hh_l0"):
                case.weights[bias] = case.weights[bias].copy()
                case.weights[bias][UNITS : 2 * UNITS] = 0.5  # gates i, f, g, o
        by_step = np.linalg.norm(workshop.run(NATIVE[framework], case, "float64")["grad.x"][0], axis=-1)
        norms[name] = {distance: float(by_step[FARTHEST - distance]) for distance in DISTANCES}
    return norms


def _gradients(workshop: Workshop, framework: str) -> list[Point]:
    """The gradient's norm by cell and distance, and the LSTM's over it."""
    norms = _norms(workshop, framework, CELLS)
    points = []
    for name, of_cell in norms.items():
        for distance, norm in of_cell.items():
            numbers = {"norm": norm} | ({} if name == "lstm" else {"lstm_over_it": norms["lstm"][distance] / norm})
            points.append(Point(where={"framework": framework, "cell": name, "distance": distance}, numbers=numbers))
    return points


def _forget_bias(workshop: Workshop, framework: str) -> list[Point]:
    """The gradient's norm of an LSTM with and without a forget bias of 1, and the one over the other."""
    norms = _norms(workshop, framework, ("lstm", FORGET_BIAS))
    points = []
    for name, of_cell in norms.items():
        for distance, norm in of_cell.items():
            numbers = {"norm": norm} | ({} if name == "lstm" else {"gain": norm / norms["lstm"][distance]})
            points.append(Point(where={"framework": framework, "cell": name, "distance": distance}, numbers=numbers))
    return points


def _draw_gradients(points: Sequence[Point]) -> bytes:
    """The norms over the distance in the first framework that was measured, a line for each cell."""
    of_one = [point for point in points if point.where["framework"] == points[0].where["framework"]]
    return curves(
        of_one,
        across="distance",
        number="norm",
        line="cell",
        x_label="steps between the input and the output that is asked",
        y_label="norm of the gradient",
        log_y=True,
    )


def copy_task(cell: Cell, distance: int, seed: int) -> Task:
    """A symbol in the middle of blanks, ``distance`` of them on either side, to be told from the two final states."""
    rng = np.random.default_rng([seed, distance])

    def examples(count: int) -> list[SequenceExample]:
        symbols = rng.integers(COPIED, size=count)
        x = np.zeros((count, 2 * distance + 1, COPIED))
        x[np.arange(count), distance, symbols] = 1
        return [SequenceExample(row, np.asarray(symbol)) for row, symbol in zip(x, symbols, strict=True)]

    rnn = Specification(cell=cell, input_size=COPIED, hidden_size=UNITS, num_layers=1, bias=True, merge="concat")
    spec = SequenceModel(rnn=rnn, readout="final", classes=COPIED)
    return Task(
        f"copy-{cell}-{distance}-{seed}",
        spec,
        initialise(spec, np.random.default_rng([seed, 1])),
        examples(COPY_EXAMPLES),
        examples(COPY_HELD_OUT),
        Batching(32, ragged=False),
        Baseline(1 / COPIED, "any symbol"),
        seed,
        COPY_EPOCHS,
        OptimizerSettings(name="adam", learning_rate=0.01, clip_norm=1.0),
    )


def _copies(distance: int) -> Part:
    """The part that trains each cell at one distance."""
    framework = COPY_IMPLEMENTATION.partition("/")[0]

    def measure(workshop: Workshop) -> list[Point]:
        by_cell: dict[Cell, list[float]] = {cell: [] for cell in CELLS}
        for cell in CELLS:
            for seed in range(COPY_SEEDS):
                workshop.tell(f"{cell}, seed {seed}")
                learned = train(workshop, COPY_IMPLEMENTATION, copy_task(cell, distance, seed))
                by_cell[cell].append(learned.accuracies[-1])
        points = []
        for cell in CELLS:
            numbers = over_seeds("accuracy", by_cell[cell])
            if cell != "lstm":
                apart = [lstm - other for lstm, other in zip(by_cell["lstm"], by_cell[cell], strict=True)]
                numbers |= over_seeds("lstm_minus_it", apart)
            points.append(Point(where={"framework": framework, "cell": cell, "distance": distance}, numbers=numbers))
        return points

    return Part(f"distance {distance}", framework, measure)


def _draw_copies(points: Sequence[Point]) -> bytes:
    """The accuracy of each cell over the distance."""
    return curves(
        points,
        across="distance",
        number="accuracy",
        line="cell",
        x_label="blanks on either side of the symbol",
        y_label="held-out accuracy",
    )


CLAIMS = (
    Claim(
        name="lstms-pass-gradients-farther-at-the-start",
        module=__name__,
        sentence="An LSTM's cell state carries the gradient over hundreds of steps, where a tanh RNN's and a GRU's "
        "vanish.",
        where="explanations of vanishing gradients",
        measured=f"The gradient of the last output of the forward half by the input d steps before, d up to "
        f"{FARTHEST}, in each framework's own layer with {UNITS} units and fresh weights, U(−1/√{UNITS}, 1/√{UNITS}): "
        "the LSTM's norm over that of the others.",
        rule=Rule("lstm_over_it", "the LSTM's norm over the other's", "above", 1.0),
        parts=in_each_framework(_gradients),
        limits="What a ratio is worth is in the picture: below 1e-38 nothing is left in float32, however large it is.",
        picture=_draw_gradients,
    ),
    Claim(
        name="a-forget-bias-of-1-remembers-longer",
        module=__name__,
        sentence="An LSTM whose forget gate starts with a bias of 1 remembers longer.",
        where="tutorials on LSTMs that mention Keras' unit_forget_bias, or lack it in PyTorch",
        measured="The same gradients of each framework's own LSTM, from the same weights with the forget gate's bias "
        "set to 1, over those without.",
        rule=Rule("gain", "the norm with a forget bias of 1 over that without", "above", 1.0),
        parts=in_each_framework(_forget_bias),
        limits="Before training. It is the default of Keras alone; PyTorch draws the bias, Flax and MXNet have 0.",
        picture=_draw_gradients,
    ),
    Claim(
        name="lstms-learn-longer-dependencies",
        module=__name__,
        sentence="LSTMs learn long dependencies that GRUs and tanh RNNs do not.",
        where="reasons to choose the cell",
        measured=f"A symbol among blanks, told from the two final states that are d steps away on either side: "
        f"{UNITS} units, {COPY_EXAMPLES * COPY_EPOCHS // 32} steps of Adam, {COPY_SEEDS} seeds, {COPY_IMPLEMENTATION}; "
        "held-out accuracy.",
        rule=Rule("lstm_minus_it", "the LSTM's accuracy minus the other's", "above", 0.05, -0.05),
        parts=tuple(map(_copies, COPY_DISTANCES)),
        limits="What can be learned at a distance depends on the start and the steps as much as on the cell.",
        picture=_draw_copies,
    ),
)
"""The claims on how far back a layer remembers, in the ledger's order."""
