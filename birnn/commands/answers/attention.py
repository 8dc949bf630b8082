"""The picture of what an encoder–decoder looks at: the source's letters across, the answer's phonemes down."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.pool.network import RemoteNetwork
from birnn.commands.curves import own_settings
from birnn.options import writable_file
from common.data.vocabulary import SPECIAL, Vocabulary
from common.errors import InputError
from common.models.batch import Batch
from common.models.specification import END, PADDING, Arrays, Model, Seq2Seq
from common.output import write_bytes

CELL = 0.42
"""Inches of a weight's square."""
DARK = 0.6
"""The weight from which numbers are written in white."""


def check_attention(path: Path, model: str, spec: Model, words: Sequence[Sequence[str]]) -> None:
    """Raise an ``InputError`` where there is no attention to be drawn, or nowhere to draw it to."""
    from importlib.util import find_spec

    if not isinstance(spec, Seq2Seq) or not spec.attention:
        raise InputError(f"--attention must be asked of a model with attention; got {model} without")
    if len(words) != 1:
        raise InputError(f"--attention must be asked of one word, as it is one picture; got {len(words)}")
    if path.suffix != ".svg":
        raise InputError(f"--attention must name a file that ends in .svg; got {str(path)!r}")
    if find_spec("matplotlib") is None:
        raise InputError("--attention must have matplotlib, from pip install 'birnn[models]'; it is not installed")
    writable_file("--attention", path)


def attention_of(network: RemoteNetwork, batch: Batch, tokens: np.ndarray) -> np.ndarray:
    """What the decoder looks at in the steps that write an answer, (steps, seq_len), its end among them.

    Parameters
    ----------
    network
        An opened model with attention.
    batch
        One row of source tokens, unlabelled.
    tokens
        (max_steps,) int64: the answer to it, greedy or not; every step is given the token before it.
    """
    ends = np.flatnonzero(tokens == END)
    written = tokens[: int(ends[0]) + 1] if ends.size else tokens
    if (written == PADDING).any():
        raise InputError("the answer must hold no padding for its attention to be drawn; the model has answered some")
    labelled: Arrays = {
        **batch,
        "targets": written[None],
        "target_lengths": np.array([len(written)], np.int64),
        "forced": np.ones(len(written), bool),
    }
    (results,) = network.answers("results", [labelled])
    return results["attention"][0]


def write_attention(
    path: Path, source: Sequence[str], target: Vocabulary, tokens: np.ndarray, weights: np.ndarray
) -> None:
    """Write the picture as SVG, whole or not at all; ``weights`` (steps, len(source)) are those of ``attention_of``."""
    spoken = [SPECIAL[END] if token == END else target.spelled([token])[0] for token in tokens[: len(weights)]]
    stream = io.BytesIO()
    with own_settings():
        import matplotlib

        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "birnn"}):  # text stays text
            drawn(source, spoken, weights).savefig(stream, format="svg", metadata={"Date": None})
    write_bytes(path, stream.getvalue())


def drawn(source: Sequence[str], spoken: Sequence[str], weights: np.ndarray) -> Any:
    """The picture, a figure of matplotlib's: a square for each weight, the darker the larger, with its number."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + CELL * len(source), 1.5 + CELL * len(spoken)), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(weights, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
    for row, of_row in enumerate(weights):
        for column, weight in enumerate(of_row):
            colour = "white" if weight > DARK else "black"
            axes.text(column + 0.5, row + 0.5, f"{weight:.2f}", ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(np.arange(len(source)) + 0.5, source)
    axes.set_yticks(np.arange(len(spoken)) + 0.5, spoken)
    axes.xaxis.tick_top()
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set(title=f"attention: {''.join(source)}", xlabel="source", ylabel="answer, step by step")
    return figure
