"""Draw the README's picture from a published run: how long the LSTM takes in each framework, and how long it must.

    python -m benchmarks.maintain.picture               # results/laptop.csv, written to docs/speed.svg

Colours and the transparent ground are chosen to be read on a light page and on a dark one.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import typer

from backends.pool.environments import ROOT
from benchmarks.store.migrations import duckdb_module
from common.errors import InputError
from common.tensorfile import write_bytes

PUBLISHED = ROOT / "results" / "laptop.csv"
"""The published rows that the picture shows."""
PICTURE = ROOT / "docs" / "speed.svg"
"""The picture."""
INK = "#808890"
"""Lines and text: 4.5 to 1 at least against white and against GitHub's dark ground."""
COLOURS = {"torch": "#e4572e", "jax": "#2a9d8f", "tensorflow": "#e9a400", "mxnet": "#4a90d9"}
"""The colour of each framework."""
MARKERS = {"native": "o", "manual": "s", "scratch": "^", "tuned": "D"}
"""The marker of each implementation."""
QUERY = """
    WITH timed AS (
        SELECT * FROM read_csv(?)
        WHERE cell = 'lstm' AND pass = 'forward_backward' AND NOT ragged AND median_seconds IS NOT NULL
    )
    SELECT implementation, batch, 1e3 * median_seconds, 1e3 * limit_seconds, seq_len, input_size, hidden_size
    FROM timed
    WHERE (seq_len, input_size, hidden_size) = (
        SELECT (seq_len, input_size, hidden_size) FROM timed GROUP BY ALL ORDER BY count(DISTINCT batch) DESC LIMIT 1
    )
    ORDER BY implementation, batch
"""
"""The sizes of which most batches were timed: name, batch, ms, the limit in ms, seq_len, input_size, hidden_size."""


def main(
    source: Annotated[Path, typer.Argument(help="A CSV file of birnn results export.")] = PUBLISHED,
    out: Annotated[Path, typer.Option("-o", help="The picture.")] = PICTURE,
) -> None:
    """Draw the sizes of an LSTM of which most batches were timed."""
    rows = duckdb_module().execute(QUERY, [str(source)]).fetchall()
    if not rows:
        raise InputError(f"{source}: must have times of an LSTM's forward_backward; got none")
    write_bytes(out, drawn(rows))


def drawn(rows: list[tuple[Any, ...]]) -> bytes:
    """The picture as SVG, without a date or a random id, so that equal rows give equal bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "birnn", "svg.fonttype": "none", "font.size": 10, "text.color": INK}):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for name in sorted({row[0] for row in rows}):
            framework, _, kind = name.partition("/")
            points = [(row[1], row[2]) for row in rows if row[0] == name]
            marker = MARKERS.get(kind.partition("-")[0], "o")
            axes.plot(
                *zip(*points, strict=True), marker=marker, color=COLOURS.get(framework, INK), label=name, lw=1.5, ms=5
            )
        limits = sorted({(row[1], row[3]) for row in rows if row[3] is not None})
        if limits:
            axes.plot(*zip(*limits, strict=True), color=INK, ls=":", label="the machine's limit")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        batches = sorted({row[1] for row in rows})
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        *_, steps, features, units = rows[0]
        axes.set_xlabel(f"batch ({steps} steps, {features} features, {units} units a direction)", color=INK)
        axes.set_ylabel("ms, forward and backward", color=INK)
        axes.set_title("One bidirectional LSTM, one set of weights", color=INK)
        axes.tick_params(colors=INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=INK, fontsize=8)
        content = io.BytesIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return content.getvalue()


if __name__ == "__main__":
    typer.run(main)
