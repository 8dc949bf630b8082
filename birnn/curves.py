"""The picture of a training: losses and how far the traces are apart over the steps, accuracies over the epochs."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.learning import TRAINED, Trained
from common.tasks.parting import gaps
from common.tasks.task import Task
from common.tensorfile import write_bytes


def write_curves(path: Path, task: Task, found: Sequence[Trained]) -> None:
    """Write the picture as SVG, whole or not at all."""
    with _own_settings():
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager  # noqa: F401, it is now that it looks for fonts

    done = [each for each in found if each.status == TRAINED]
    figure = Figure(figsize=(14, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for each in done:
        style = {"linestyle": ":", "color": "black"} if each.twin else {}
        left.plot([step.loss for step in each.steps], label=each.name, linewidth=1, **style)
        middle.plot(range(1, len(each.accuracies) + 1), each.accuracies, label=each.name, marker=".", **style)
        if each is not done[0]:
            right.semilogy(gaps(done[0].steps, each.steps) + 1e-18, label=each.name, linewidth=1, **style)
    middle.axhline(task.baseline.accuracy, label=task.baseline.what, color="grey", linewidth=1)
    left.set(title=f"{task.name}: training loss", xlabel="step", ylabel="cross-entropy, nats")
    middle.set(title="held-out accuracy", xlabel="epoch", ylabel="share of right answers")
    right.set(title=f"gap to {done[0].name}" if done else "", xlabel="step", ylabel="|Δ loss| / loss")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    write_bytes(path, stream.getvalue())


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
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
