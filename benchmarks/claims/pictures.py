"""Pictures of what was measured: lines over a size, as SVG that can be read on a light page and on a dark one."""

from __future__ import annotations

import io
from collections.abc import Sequence

from benchmarks.claims.claim import Point

INK = "#808890"
"""Lines and text: 4.5 to 1 at least against white and against GitHub's dark ground."""
COLOURS = ("#e4572e", "#2a9d8f", "#e9a400", "#4a90d9", "#9a6fd0", "#808890", "#c2569b", "#6a9f3a")
"""The lines' colours, in the order of the lines; more lines begin again."""
MARKERS = "os^Dv*PX"
"""The shapes of the lines' points, in the order of the lines, as matplotlib names them."""
APART = 1.4
"""A tick is named that is at least so many times the last one that is."""


def curves(
    points: Sequence[Point],
    *,
    across: str,
    number: str,
    line: str | tuple[str, ...],
    x_label: str,
    y_label: str,
    log_x: bool = True,
    log_y: bool = False,
    level: float | None = None,
) -> bytes:
    """One line for each value of ``line``, or of several such names, among the points' places, of ``number`` over
    ``across``, which is a place's size or another number; with a dotted line at ``level``. Equal points give equal
    bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "birnn", "svg.fonttype": "none", "font.size": 10, "text.color": INK}):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        names = (line,) if isinstance(line, str) else line
        lines: dict[str, list[Point]] = {}
        for point in points:
            lines.setdefault(" ".join(str(point.where[name]) for name in names), []).append(point)
        for order, (name, mine) in enumerate(lines.items()):
            drawn = sorted((_at(point, across), point.numbers[number]) for point in mine)
            style = {"color": COLOURS[order % len(COLOURS)], "marker": MARKERS[order % len(MARKERS)]}
            axes.plot(*zip(*drawn, strict=True), label=name, lw=1.5, ms=5, **style)
        if level is not None:
            axes.axhline(level, color=INK, ls=":")
        if log_x:
            axes.set_xscale("log")
            places = sorted({_at(point, across) for point in points})
            told: list[float] = []
            for place in places:
                if not told or place >= APART * told[-1]:
                    told.append(place)
            axes.set_xticks(told, [f"{place:g}" for place in told])
            axes.minorticks_off()
        if log_y:
            axes.set_yscale("log")
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel(y_label, color=INK)
        axes.tick_params(colors=INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=INK, fontsize=8)
        content = io.BytesIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return content.getvalue()


def _at(point: Point, across: str) -> float:
    """Where a point stands across: a size of its place, or else one of its numbers."""
    return float(point.where[across] if across in point.where else point.numbers[across])
