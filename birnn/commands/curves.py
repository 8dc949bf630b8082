"""The picture of a training: losses and how far the traces are apart over the steps, accuracies over the epochs, or a
language model's perplexities.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.studies.training import TRAINED, Trained
from common.judging.precision import epsilon
from common.tasks.parting import gaps
from common.tasks.task import Task
from common.tensorfile import write_bytes

COLOURS = {"torch": "#d55e00", "jax": "#0072b2", "tensorflow": "#e69f00", "mxnet": "#009e73"}
"""Okabe and Ito's colours, as on the page of ``birnn report``: a framework keeps its own everywhere."""
OTHER_COLOUR = "#cc79a7"
"""The colour of a framework that has none of its own, such as a plug-in's."""
MARKERS = {"native": "o", "native-linen": "o", "native-nnx": "^", "manual": "s", "scratch": "D", "tuned": "*"}
"""An implementation's shape, as on that page."""
OTHER_MARKER = "h"
"""The marker of an implementation that has none of its own."""
MARKS = 8
"""How many marks a line over the steps has, about."""


def style_of(trained: Trained) -> dict[str, Any]:
    """How an implementation is drawn: a framework's colour, an implementation's shape; the twin's line is dotted."""
    framework, _, name = trained.implementation.partition("/")
    colour, marker = COLOURS.get(framework, OTHER_COLOUR), MARKERS.get(name, OTHER_MARKER)
    style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1}
    return style | {"linestyle": ":", "color": "black"} if trained.twin else style


def write_curves(path: Path, task: Task, trainings: Sequence[Trained], dtype: str) -> None:
    """Write the picture as SVG, whole or not at all."""
    stream = io.BytesIO()
    drawn(task, trainings, dtype).savefig(stream, format="svg", metadata={"Date": None})
    write_bytes(path, stream.getvalue())


def drawn(task: Task, trainings: Sequence[Trained], dtype: str) -> Any:
    """The picture, a figure of matplotlib's with three panels: losses, accuracies or perplexities, gaps to the first
    trace.
    """
    with own_settings():
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager  # noqa: F401, it is now that it looks for fonts

    done = [each for each in trainings if each.status == TRAINED]
    figure = Figure(figsize=(14, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for each in done:
        style = style_of(each)
        every = max(1, len(each.steps) // MARKS)
        left.plot([step.loss for step in each.steps], label=each.name, markevery=every, **style)
        if each.validation_losses:
            ends = np.arange(1, each.epochs + 1) * (len(each.steps) // each.epochs) - 1
            label = "validation, after each epoch" if each is done[0] else None
            left.plot(ends, each.validation_losses, label=label, **(style | {"linestyle": "--"}))
        judged = each.perplexities or each.accuracies
        middle.plot(range(1, len(judged) + 1), judged, label=each.name, **style)
        if each is not done[0]:
            right.plot(gaps(done[0].steps, each.steps), label=each.name, markevery=every, **style)
    # Linear below the least gap that two numbers of the loss's dtype can have: an exact 0 stands at 0.
    right.set_yscale("symlog", linthresh=epsilon(dtype) / 2)
    right.set_ylim(bottom=0)
    baseline = task.baseline
    if baseline.perplexity is not None:
        middle.axhline(baseline.perplexity, label="by frequency alone", color="grey", linewidth=1)
        middle.set_yscale("log")
        middle.set(title="held-out perplexity", xlabel="epoch", ylabel="exp of the mean cross-entropy")
    else:
        middle.axhline(baseline.accuracy, label=baseline.what, color="grey", linewidth=1)
        middle.set(title="held-out accuracy", xlabel="epoch", ylabel="share of right answers")
    left.set(title=f"{task.name}: training loss", xlabel="step", ylabel="cross-entropy, nats")
    right.set(title=f"gap to {done[0].name}" if done else "", xlabel="step", ylabel="|Δ loss| / loss")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    return figure


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Import matplotlib in it: it then writes no list of fonts into the user's home, and reads no settings there,
    unless it was told where.
    """
    given = "MPLCONFIGDIR" in os.environ
    with tempfile.TemporaryDirectory(prefix="birnn-matplotlib-") as folder:
        os.environ.setdefault("MPLCONFIGDIR", folder)
        try:
            yield
        finally:
            if not given:
                del os.environ["MPLCONFIGDIR"]
