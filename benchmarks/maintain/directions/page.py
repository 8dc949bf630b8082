"""The tables of docs/one-direction.md."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.maintain.directions.accuracies import TASKS, VARIANTS
from benchmarks.maintain.directions.costs import BATCH, CELLS, HIDDEN_SIZE, INPUT_SIZE, SEQ_LEN, specification
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Cost, Learned, Measured, Taken
from common.weights import count

COMMAND = "python -m benchmarks.maintain.directions"
"""The command that writes the page."""
CROWDED = 0.05
"""Cores that others may take while times are measured, as ``birnn bench`` has it."""


def parameters_table() -> str:
    """How many numbers the weights of each variant hold."""
    lines = [f"| cell | {TWO}, H | {ONE}, H | {WIDE}, 2·H | two over one | two over twice the units |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for cell in CELLS:
        two, one, wide = (count(specification(cell, variant)) for variant in VARIANTS)
        lines.append(f"| {cell} | {two:,} | {one:,} | {wide:,} | {two / one:.2f} | {two / wide:.2f} |")
    return "\n".join(lines)


def costs_table(costs: Sequence[Cost]) -> str:
    """A row for each implementation, cell and pass."""
    lines = [
        "| implementation | cell | pass | two, ms | one, ms | two over one | one of 2·H, ms | two over it "
        "| peak, MB: two | one | one of 2·H |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows: dict[tuple[str, str, str], dict[str, Cost]] = {}
    for cost in costs:
        rows.setdefault((cost.implementation, cost.cell, cost.passed), {})[cost.variant] = cost
    for key, of in rows.items():
        peaks = (_megabytes(of[variant].peak_bytes) for variant in VARIANTS)
        times = (f"{1e3 * of[TWO].seconds:.3g}", *(_beside(of[variant]) for variant in (ONE, WIDE)))
        lines.append(f"| {' | '.join(key)} | {' | '.join(times)} | {' | '.join(peaks)} |")
    return "\n".join(lines)


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
    """The parameters, then the times and memory, or that there are none yet."""
    sizes = f"{SEQ_LEN} steps, {BATCH} rows, {INPUT_SIZE} features, H = {HIDDEN_SIZE}, one layer with biases"
    text = [f"Parameters at {INPUT_SIZE} features and H = {HIDDEN_SIZE}:", parameters_table()]
    if not measured.costs or measured.costs_taken is None:
        return "\n\n".join([*text, f"Times and memory have not been measured yet: `{COMMAND} --costs`."])
    text += [f"Times and memory at {sizes}, full rows, float32:", costs_table(measured.costs)]
    noise = max(max(cost.twin, 1 / cost.twin) for cost in measured.costs)
    text.append(
        "Ratios are of calls in the same cycles, with their 95 % intervals; the same layer twice differed by a factor "
        f"of up to {noise:.3f}. The peak is what a call takes over what was resident before it."
    )
    for each in measured.declined:
        text.append(f"- {each.implementation}, {each.cell}, {each.passed}: {each.reason}")
    taken = measured.costs_taken
    if taken.others_cpu is None or taken.others_cpu > CROWDED:
        text.append("**Others were at work on the machine: these times cannot be told.**")
    return "\n\n".join([*text, said(taken)])


def accuracies_block(measured: Measured) -> str:
    """The accuracies, or that there are none yet."""
    if not measured.learned or measured.learned_taken is None:
        return f"Nothing has been trained yet: `{COMMAND} --accuracies`."
    names = ", ".join(dict.fromkeys(each.implementation for each in measured.learned))
    what = f"Held-out accuracies after the last epoch of `birnn train`'s own settings, by {names}, float32."
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
