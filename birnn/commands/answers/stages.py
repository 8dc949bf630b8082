"""The four stages of a sequence model, from what it reads to probabilities, with their shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape

from birnn.display import close_table
from common.answers.probabilities import softmax
from common.models.batch import Batch, sizes
from common.models.specification import Arrays, SequenceModel

MOST_SHOWN = 8
"""How many classes of a row of softmax are printed, the likeliest ones."""


def print_stages(console: Console, spec: SequenceModel, names: Sequence[str], batch: Batch, answer: Arrays) -> None:
    """A line a stage: what it is, the shape of what it gives, and a row of softmax, or of a CRF's probabilities.

    Parameters
    ----------
    console
        Where it is printed.
    spec
        The model.
    names
        What each class is called.
    batch
        What the model was given.
    answer
        ``logits`` and ``vectors`` of the batch, of a CRF ``marginals``, too.
    """
    table = close_table()
    table.add_column("stage", justify="right", no_wrap=True)
    for head in ("what", "shape", ""):
        table.add_column(head, overflow="fold")
    for number, (what, shape, more) in enumerate(_stages(spec, names, batch, answer), 1):
        table.add_row(str(number), escape(what), str(shape), escape(more))
    console.print(table)


def _stages(
    spec: SequenceModel, names: Sequence[str], batch: Batch, answer: Arrays
) -> list[tuple[str, tuple[int, ...], str]]:
    """What each stage is, the shape of what it gives, and more on it."""
    rnn, logits = spec.rnn, answer["logits"]
    shape = (*sizes(batch), rnn.input_size)
    read = "features" if spec.num_embeddings is None else f"embeddings of {spec.num_embeddings} tokens"
    merged = "forward only" if rnn.merge is None else f"forward and reverse, merged by {rnn.merge}"
    layers = " → ReLU → ".join(
        f"linear {first}→{second}" for first, second in zip(spec.head_sizes, spec.head_sizes[1:], strict=False)
    )
    reads = "" if spec.readout == "steps" else "reads the final states of each direction"
    shares = softmax(answer.get("marginals", logits))
    row = shares.reshape(-1, shares.shape[-1])[0]  # the first row's first step, or the first row
    shown = np.argsort(-row, kind="stable")[:MOST_SHOWN]
    numbers = ", ".join(f"{names[i]} {row[i]:.4f}" for i in sorted(shown))
    left_out = f", … {len(row) - len(shown)} more" if len(row) > len(shown) else ""
    where = "the first step of the first row" if logits.ndim == 3 else "the first row"
    return [
        (read, shape, "(batch, steps, width)"),
        (f"{rnn}", answer["vectors"].shape, merged),
        (layers, logits.shape, reads),
        (
            "CRF" if spec.head == "crf" else "softmax",
            shares.shape,
            f"{where}: {numbers}{left_out}; together {row.sum():.4f}",
        ),
    ]
