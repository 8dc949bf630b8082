"""Simulate naming: how often errors that are no known mistake are given a mistake's name.

    python -m benchmarks.maintain.naming

draws cases as ``benchmarks.maintain.simulate`` does, makes errors of several kinds and sizes in the right answer, and
has them explained; it writes the counts into docs/calibration.md, each with a 95 % confidence interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress

from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.simulate import FRAMEWORK_LANES, TABLE, drawn_case, upper_bound
from common.judging.agreement import DISAGREES, judge
from common.judging.explanation import Explainer
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays
from common.tensorfile import write_bytes

MARKER = "the naming"
"""The name of the part of the page that this command writes."""
SIZES = (-5.0, 1.0)
"""Decimal exponents between which the size of an error lies, relative to a tensor's own."""
FEWEST = 3
"""How many numbers of a tensor are wrong at most where a few are."""
MOST_ZEROS = 0.9
"""The largest share of a tensor that is 0 where zeros are in random places."""
MATCHES, NEAREST, UNNAMED = "matches", "nearest", "no name"
"""How an error that is no known mistake was named."""


@dataclass(frozen=True)
class Named:
    """What became of one error: its kind, whether it was given a name, and which."""

    kind: str
    how: str
    name: str = ""


def _noise(value: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers ``size`` times as large as a tensor's own."""
    scale = float(np.sqrt(np.mean(np.square(value.astype(np.float64))))) or 1.0
    return size * scale * rng.normal(size=value.shape)


def _everywhere(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in every tensor."""
    return {name: value + _noise(value, size, rng) for name, value in yard.truth.items()}


def _forward_pass(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in the forward pass alone."""
    noisy = _everywhere(yard, size, rng)
    return {name: value if name.startswith("grad.") else noisy[name] for name, value in yard.truth.items()}


def _gradients(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in the gradients alone."""
    noisy = _everywhere(yard, size, rng)
    return {name: noisy[name] if name.startswith("grad.") else value for name, value in yard.truth.items()}


def _one_tensor(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in one tensor."""
    name = str(rng.choice(list(yard.truth)))
    return yard.truth | {name: yard.truth[name] + _noise(yard.truth[name], size, rng)}


def _one_direction(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in the states, the half of the output and the weights' gradients of one direction."""
    direction = int(rng.integers(2))
    errors = {}
    for name, value in yard.truth.items():
        wrong = _noise(value, size, rng)
        if name in ("h_n", "c_n", "grad.h_0", "grad.c_0"):
            wrong[1 - direction :: 2] = 0
        elif name == "output" and yard.case.spec.merge == "concat":
            np.split(wrong, [yard.case.spec.hidden_size], axis=-1)[1 - direction][:] = 0
        elif name.startswith(("grad.weight", "grad.bias")) and name.endswith("_reverse") != bool(direction):
            wrong[:] = 0
        errors[name] = value + wrong
    return errors


def _one_layer(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Noise in the top layer's states and weights' gradients, and in the output."""
    top = yard.case.spec.num_layers - 1
    errors = {}
    for name, value in yard.truth.items():
        wrong = _noise(value, size, rng)
        if name in ("h_n", "c_n", "grad.h_0", "grad.c_0"):
            wrong[: 2 * top] = 0
        elif name != "output" and f"_l{top}" not in name:
            wrong[:] = 0
        errors[name] = value + wrong
    return errors


def _scaled(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """All tensors, or one, multiplied by a number; half and double, and a state's gradient of 0, are known mistakes."""
    name = str(rng.choice(["", "output", *yard.truth]))
    factors = [-1.0, 0.3, 3.0, 1 + size, 1 - size]
    factor = float(rng.choice(factors if name in ("grad.h_0", "grad.c_0") else [0.0, *factors]))
    return {each: factor * value if name in ("", each) else value for each, value in yard.truth.items()}


def _few_numbers(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """All right but a few numbers of one tensor, or of each."""
    chosen = str(rng.choice(["", *yard.truth]))
    errors = {}
    for name, value in yard.truth.items():
        wrong = np.zeros(value.shape)
        places = rng.integers(value.size, size=int(rng.integers(1, FEWEST + 1)))
        wrong.ravel()[places] = _noise(value, size, rng).ravel()[places] if chosen in ("", name) else 0
        errors[name] = value + wrong
    return errors


def _zeros_in_places(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """Every number 0 with some probability."""
    return {
        name: np.where(rng.random(value.shape) < min(size, MOST_ZEROS), 0, value) for name, value in yard.truth.items()
    }


def _shuffled(yard: Yardstick, size: float, rng: np.random.Generator) -> Arrays:
    """The batch's rows, or the features, in another order in the output and in the states."""
    rows = rng.permutation(yard.case.batch)
    units = rng.permutation(yard.case.spec.hidden_size)
    tensors = dict(yard.truth)
    if yard.case.batch > 1 and rng.random() < 0.5:
        return tensors | {"output": tensors["output"][rows], "h_n": tensors["h_n"][:, rows]}
    return tensors | {"h_n": np.concatenate([tensors["h_n"][..., units], tensors["h_n"][..., len(units) :]], axis=-1)}


ERRORS: dict[str, Callable[[Yardstick, float, np.random.Generator], Arrays]] = {
    "noise everywhere": _everywhere,
    "noise in the forward pass": _forward_pass,
    "noise in the gradients": _gradients,
    "noise in one tensor": _one_tensor,
    "noise in one direction": _one_direction,
    "noise in one layer": _one_layer,
    "scaled": _scaled,
    "a few numbers": _few_numbers,
    "zeros in random places": _zeros_in_places,
    "rows or units in another order": _shuffled,
}
"""The kinds of errors that are no known mistake."""


def errors(yard: Yardstick, seed: int) -> Iterator[tuple[str, Arrays]]:
    """One error of each kind, padding and all else that exact rules are about left as it is."""
    padding = yard.case.padding_mask()[..., None]
    for number, (kind, make) in enumerate(ERRORS.items()):
        rng = np.random.default_rng([seed, 4, number])
        tensors = make(yard, float(10 ** rng.uniform(*SIZES)), rng)
        for name in ("output", "grad.x"):
            tensors[name] = np.where(padding, 0, tensors[name])
        yield kind, {name: np.asarray(value, yard.dtype) for name, value in tensors.items()}


def named(seed: int) -> list[Named]:
    """What errors in one drawn case are called; those that nobody would see are left out."""
    case, dtype = drawn_case(seed), FRAMEWORK_LANES[seed % len(FRAMEWORK_LANES)]
    explainer, names = Explainer(), []
    with np.errstate(all="ignore"):
        yard = yardstick(case, dtype)
        if not all(np.isfinite(value).all() for value in yard.truth.values()):
            return []
        for kind, result in errors(yard, seed):
            if judge(result, yard).status == DISAGREES:
                explanation = explainer.explain(result, yard)
                how = MATCHES if explanation.matches else NEAREST if explanation.nearest else UNNAMED
                names.append(Named(kind, how, explanation.matches or explanation.nearest))
    return names


def table(attempts: Iterable[Named], cases: int) -> str:
    """The naming's part of docs/calibration.md."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ERRORS}
    for each in attempts:
        counts[each.kind][each.how] += 1
    counts["all"] = sum(counts.values(), Counter())
    lines = [
        f"`python -m benchmarks.maintain.naming` drew {cases:,} cases as the simulation above does, in "
        f"{' or '.join(FRAMEWORK_LANES)}, and made errors in the right answer that are no known mistake, of "
        f"10^{SIZES[0]:g} to 10^{SIZES[1]:g} times a tensor's size. How many were given a name all the same, as an "
        "exact match (of all, or of a part) or as one of the nearest; a rate is followed by the upper end of its "
        "one-sided 95 % confidence interval (Clopper and Pearson 1934).",
        "",
        "| error | seen | matches | at most | nearest | at most |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, count in counts.items():
        if number := count.total():
            cells = (f"{count[how]:,} | {upper_bound(count[how], number):.2%}" for how in (MATCHES, NEAREST))
            lines.append(f"| {kind} | {number:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    cases: Annotated[int, typer.Option(min=1, help="How many cases to draw.")] = 400,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Run the simulation and write its table."""
    attempts: list[Named] = []
    with ProcessPoolExecutor(jobs) as executor, Progress(transient=True) as bar:
        for each in bar.track(executor.map(named, range(cases), chunksize=4), total=cases):
            attempts += each
    page = replaced(TABLE, {MARKER: table(attempts, cases)})
    write_bytes(TABLE, page.encode())


if __name__ == "__main__":
    typer.run(main)
