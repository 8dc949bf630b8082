"""The tables of docs/one-direction.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from benchmarks.claims.tasks import RECIPES
from benchmarks.machine.company import is_crowded
from benchmarks.maintain.directions.accuracies import TASKS, VARIANTS
from benchmarks.maintain.directions.costs import (
    BATCH,
    CELLS,
    HIDDEN_SIZE,
    INPUT_SIZE,
    MEMORY_BATCH,
    SEQ_LEN,
    specification,
)
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Cost, Learned, Measured, Peak, Taken
from common.weights import count

COMMAND = "python -m benchmarks.maintain.directions"
"""The command that writes the page."""


def parameters_table() -> str:
    """How many numbers the weights of each variant hold."""
    lines = [f"| cell | {TWO}, H | {ONE}, H | {WIDE}, 2·H | two over one | two over twice the units |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for cell in CELLS:
        two, one, wide = (count(specification(cell, variant)) for variant in VARIANTS)
        lines.append(f"| {cell} | {two:,} | {one:,} | {wide:,} | {two / one:.2f} | {two / wide:.2f} |")
    return "\n".join(lines)


def costs_table(costs: Sequence[Cost]) -> str:
    """The times: a row for each implementation, cell and pass."""
    lines = [
        "| implementation | cell | pass | two, ms | one, ms | two over one | one of 2·H, ms | two over it |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for key, of in _by_variant(costs).items():
        times = (f"{1e3 * of[TWO].seconds:.3g}", *(_beside(of[variant]) for variant in (ONE, WIDE)))
        lines.append(f"| {' | '.join(key)} | {' | '.join(times)} |")
    return "\n".join(lines)


def peaks_table(peaks: Sequence[Peak]) -> str:
    """The memory: a row for each implementation, cell and pass."""
    lines = [
        "| implementation | cell | pass | two, MB | one, MB | two over one | one of 2·H, MB | two over it |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for key, of in _by_variant(peaks).items():
        two, one, wide = (of[variant].peak_bytes for variant in VARIANTS)
        numbers = (_megabytes(two), _megabytes(one), _over(two, one), _megabytes(wide), _over(two, wide))
        lines.append(f"| {' | '.join(key)} | {' | '.join(numbers)} |")
    return "\n".join(lines)


Part = TypeVar("Part", Cost, Peak)
"""What was measured of a variant."""


def _by_variant(every: Sequence[Part]) -> dict[tuple[str, str, str], dict[str, Part]]:
    """Each row's variants, by implementation, cell and pass."""
    rows: dict[tuple[str, str, str], dict[str, Part]] = {}
    for each in every:
        rows.setdefault((each.implementation, each.cell, each.passed), {})[each.variant] = each
    return rows


def accuracies_table(learned: Sequence[Learned]) -> str:
    """A row for each task: the mean over the seeds that all variants have, with the least and the greatest, and the
    parameters.
    """
    lines = [
        f"| task | what | trivial baseline | {' | '.join(VARIANTS)} "
        "| parameters: two | one | one, twice the units | seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for task, what in TASKS.items():
        by_seed = {
            variant: {each.seed: each for each in learned if (each.task, each.variant) == (task, variant)}
            for variant in VARIANTS
        }
        seeds = sorted(set.intersection(*(set(each) for each in by_seed.values())))
        if not seeds:
            continue
        of = {variant: [each[seed] for seed in seeds] for variant, each in by_seed.items()}
        numbers = (_spread([each.accuracy for each in group]) for group in of.values())
        sizes = (f"{group[0].parameters:,}" for group in of.values())
        baseline = _spread([each.baseline for each in of[TWO]])
        lines.append(f"| {task} | {what} | {baseline} | {' | '.join(numbers)} | {' | '.join(sizes)} | {len(seeds)} |")
    return "\n".join(lines)


def costs_block(measured: Measured) -> str:
    """The parameters, then the times and the memory, or that there are none yet."""
    sizes = f"{SEQ_LEN} steps, {BATCH} rows, {INPUT_SIZE} features, H = {HIDDEN_SIZE}, one layer with biases"
    text = [f"Parameters at {INPUT_SIZE} features and H = {HIDDEN_SIZE}:", parameters_table()]
    if measured.costs and measured.costs_taken is not None:
        text += [f"Times at {sizes}, full rows, float32:", costs_table(measured.costs)]
        noise = max(max(cost.twin, 1 / cost.twin) for cost in measured.costs)
        text.append(
            "Ratios are of calls in the same cycles, with their 95 % intervals; the same layer twice differed by a "
            f"factor of up to {noise:.3f}."
        )
        text += company_note([cost.others_cpu for cost in measured.costs])
        text.append(said(measured.costs_taken))
    else:
        text.append(f"Times have not been measured yet: `{COMMAND} --costs`.")
    if measured.peaks and measured.peaks_taken is not None:
        text += [
            f"Memory of the same with {MEMORY_BATCH} rows, at a call's peak, over what was resident before it; a dash "
            "where calls differed too much to tell:",
            peaks_table(measured.peaks),
            said(measured.peaks_taken),
        ]
    else:
        text.append(f"Memory has not been measured yet: `{COMMAND} --memory`.")
    if measured.declined:
        each_declined = {
            f"- {each.implementation}, {each.cell}, {each.passed}: {each.reason}" for each in measured.declined
        }
        text += ["Declined:", "\n".join(sorted(each_declined))]
    return "\n\n".join(text)


def company_note(others_cpu: Sequence[float | None]) -> list[str]:
    """A sentence where others were at work during some of the times; nothing where the machine was left alone."""
    crowded = sum(is_crowded(each) is not False for each in others_cpu)
    if not crowded:
        return []
    return [f"**Others were at work on the machine during {crowded} of {len(others_cpu)} times, or may have been.**"]


def accuracies_block(measured: Measured) -> str:
    """The accuracies, or that there are none yet."""
    if not measured.learned or measured.learned_taken is None:
        return f"Nothing has been trained yet: `{COMMAND} --accuracies`."
    names = ", ".join(dict.fromkeys(each.implementation for each in measured.learned))
    epochs = sorted({RECIPES[task].epochs for task in TASKS})
    what = (
        f"Held-out accuracies after {epochs[0]} epochs, or {epochs[-1]} (digits), the short recipes of the claims "
        f"(benchmarks/claims/tasks.py), by {names}, float32. What one direction is worth with the recipes of "
        "`birnn train` stands in [traces.md](traces.md)."
    )
    return "\n\n".join([what, accuracies_table(measured.learned), said(measured.learned_taken)])


def said(taken: Taken) -> str:
    """Where and when it was measured."""
    return f"Measured by `{COMMAND}` on {taken.machine}, commit {taken.commit}, {taken.day}."


def _beside(cost: Cost) -> str:
    """A cost in milliseconds, and its ratio with the interval."""
    return f"{1e3 * cost.seconds:.3g} | {cost.ratio:.2f} ({cost.low:.2f}–{cost.high:.2f})"


def _megabytes(number: int | None) -> str:
    """Bytes in megabytes; a dash where they are not known."""
    return "–" if number is None else f"{number / 1e6:.1f}"


def _spread(values: Sequence[float]) -> str:
    """The mean of some values, with their range where there is more than one."""
    mean = sum(values) / len(values)
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} ({min(values):.4f}–{max(values):.4f})"


def _over(one: int | None, other: int | None) -> str:
    """The ratio of two numbers of bytes; a dash where either is not known."""
    return "–" if one is None or other is None else f"{one / other:.2f}"
