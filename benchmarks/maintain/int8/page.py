"""The tables and the picture of docs/int8.md."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims.claim import Point
from benchmarks.claims.pictures import curves
from benchmarks.maintain.directions.page import company_note
from benchmarks.maintain.directions.record import Taken
from benchmarks.maintain.int8.record import DYNAMIC, KERNELS, TRAINED, WAYS, Answered, Grown, Measured, Timed

COMMAND = "python -m benchmarks.maintain.int8"
"""The command that writes the page."""
COLUMNS = (1, 2, 5, 10, 50, 100, 500)
"""The steps that the table of errors has."""


def answers_table(answered: Sequence[Answered]) -> str:
    """A row for each task and way: means over the seeds."""
    lines = [
        "| model | computed | bytes | times less | accuracy | lost, points | answers as trained | perplexity |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task in dict.fromkeys(each.task for each in answered):
        whole = _mean([each.accuracy for each in answered if (each.task, each.way) == (task, TRAINED)])
        for way in WAYS:
            of = [each for each in answered if (each.task, each.way) == (task, way)]
            accuracy, same = _mean([each.accuracy for each in of]), _mean([each.same for each in of])
            known = [each.perplexity for each in of if each.perplexity is not None]
            trained = way == TRAINED
            size = of[0].float32_bytes if trained else of[0].int8_bytes
            less = "–" if trained else f"{of[0].float32_bytes / size:.2f}"
            lost = "–" if trained else f"{100 * (whole - accuracy):.2f}".replace("-0.00", "0.00")
            lines.append(
                f"| {task} | {way} | {size:,} | {less} | {accuracy:.4f} | {lost} | {same:.2%} "
                f"| {f'{_mean(known):.3f}' if known else '–'} |"
            )
    return "\n".join(lines)


def answers_block(measured: Measured) -> str:
    """The accuracies, or that there are none yet."""
    if not measured.answered or measured.answered_taken is None:
        return f"Nothing has been trained yet: `{COMMAND} --accuracies`."
    seeds = len({each.seed for each in measured.answered})
    what = (
        f"Trained by {measured.implementation} in float32, means of {seeds} seeds, on held-out examples; kernels alone "
        "answer by the same implementation, dynamic products by the NumPy reference."
    )
    return "\n\n".join([what, answers_table(measured.answered), said(measured.answered_taken)])


def growth_table(grown: Sequence[Grown]) -> str:
    """A row for each cell, factor and way: errors after some steps, and the largest of all."""
    steps = [step for step in COLUMNS if all(step in each.steps for each in grown)]
    heads = "".join(f" {step} |" for step in steps)
    lines = [
        f"| cell | weights | computed |{heads} largest single |",
        f"|---|---:|---|{'---:|' * (len(steps) + 1)}",
    ]
    for each in grown:
        errors = dict(zip(each.steps, each.errors, strict=True))
        cells = "".join(f" {errors[step]:.2%} |" for step in steps)
        lines.append(f"| {each.cell} | × {each.factor:g} | {each.way} |{cells} {max(each.largest):.1%} |")
    return "\n".join(lines)


def growth_block(measured: Measured) -> str:
    """The errors by step, or that there are none yet."""
    if not measured.grown or measured.grown_taken is None:
        return f"Nothing has been measured yet: `{COMMAND} --growth`."
    ends = {(each.cell, each.factor, each.way): each.errors for each in measured.grown}
    times = {key: errors[-1] / errors[0] for key, errors in ends.items() if key[2] in (KERNELS, DYNAMIC)}
    most, least = max(times, key=lambda key: times[key]), min(times, key=lambda key: times[key])
    last = measured.grown[0].steps[-1]
    what = (
        f"After {last} steps the error is {times[least]:.2g} ({_named(least)}) to {times[most]:.2g} ({_named(most)}) "
        "times what it was after the first."
    )
    return "\n\n".join([growth_table(measured.grown), what, said(measured.grown_taken)])


def times_table(timed: Sequence[Timed]) -> str:
    """A row for each framework, cell, shape and kernel."""
    lines = [
        "| framework | kernel | cell | rows × steps × units | float32, ms | this, ms | times as fast | error | "
        "the CPU has |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for each in timed:
        shape = f"{each.batch} × {each.steps} × {each.units}"
        ratio = each.float_seconds / each.seconds
        has = ", ".join(each.instructions) or "none of VNNI and AMX"
        lines.append(
            f"| {each.framework} | {each.kernel} | {each.cell} | {shape} | {1e3 * each.float_seconds:.3g} "
            f"| {1e3 * each.seconds:.3g} | {ratio:.2f} | {each.error:.2%} | {has} |"
        )
    return "\n".join(lines)


def times_block(measured: Measured) -> str:
    """The times and what is declared, or that nothing was timed yet."""
    if measured.timed_taken is None:
        return f"Times have not been measured yet: `{COMMAND} --times`, on an idle machine."
    declined: dict[tuple[str, str], list[str]] = {}
    for each in measured.declined:
        declined.setdefault((each.framework, each.reason), []).append(each.cell)
    text = [f"- {framework}, {', '.join(cells)}: {reason}." for (framework, reason), cells in declined.items()]
    parts = ["Declared, as there is nothing:\n\n" + "\n".join(text)] if text else []
    if measured.timed:
        first = measured.timed[0]
        what = (
            f"Two directions, one layer, one thread, medians of {first.rounds} rounds of all kernels in turn, in one "
            "process; float32 is the framework's own layer, error that of the output, RMS over RMS."
        )
        parts = [what, times_table(measured.timed), *company_note([each.others_cpu for each in measured.timed]), *parts]
    return "\n\n".join([*parts, said(measured.timed_taken)])


def _named(key: tuple[str, float, str]) -> str:
    """A line of the table in words."""
    cell, factor, way = key
    return f"{cell}, weights × {factor:g}, {way}"


def picture(grown: Sequence[Grown]) -> bytes:
    """The error over the step with dynamic products, a line for each cell and factor; as SVG."""
    points = [
        Point(where={"line": f"{each.cell}, weights × {each.factor:g}", "step": float(step)}, numbers={"error": error})
        for each in grown
        if each.way == DYNAMIC
        for step, error in zip(each.steps, each.errors, strict=True)
    ]
    return curves(
        points,
        across="step",
        number="error",
        line="line",
        x_label="step",
        y_label="error over the output, RMS",
        log_y=True,
    )


def said(taken: Taken) -> str:
    """Where and when it was measured."""
    return f"Measured by `{COMMAND}` on {taken.machine}, commit {taken.commit}, {taken.day}."


def _mean(values: Sequence[float]) -> float:
    """The mean of some values."""
    return sum(values) / len(values)
