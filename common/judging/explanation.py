"""Which known mistake explains a result that disagrees, in all or in part; and where none does, which come nearest.

A wrong name costs more than none, so a part of a result must be the mistake's to the last few bits, and a guess must
explain more than chance does, and more than each tensor multiplied by some number. How often errors that are no known
mistake are given a name all the same is in docs/calibration.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from common.case import Case
from common.judging.agreement import measure, thresholds, units
from common.judging.mistakes.every import mistakes
from common.judging.mistakes.matching import Error, Share, same_forward, same_gradients, scaled, share, with_unused
from common.judging.mistakes.mistake import DIRECTIONS, Mistake
from common.judging.yardstick import Yardstick
from common.reference import Arrays

ARITHMETIC_FACTOR = 8.0
"""How far apart two results' errors may be when both come from the same too narrow arithmetic."""
CANDIDATE = 0.99
"""The share of the error from which on a mistake is tried on the whole case."""
GUESS = 0.75
"""The share of the error that a guess must explain."""
GUESSES = 2
"""How many mistakes are named at most where none explains all."""
CHANCE = 1e-4
"""How probable it may be that a random error looks as much like any of the mistakes as the one that is there."""
FEW_ROWS = 4
"""Rows of a case that mistakes are looked for on; rows know nothing of each other but in the gradients of weights."""
FEW_STEPS = 2000
"""Steps of all rows up to which mistakes are looked for by the gradients of weights, which are sums over all rows."""
SCREEN = "float32"
"""The dtype whose truth, float64, is near enough for a look."""


@dataclass(frozen=True)
class Explanation:
    """What explains a wrong result.

    ``matches`` names the mistakes that give the same numbers, joined by "or", and in which part where not in all;
    ``nearest`` the best guesses where none does. Either may be empty.
    """

    matches: str = ""
    nearest: str = ""


@dataclass(frozen=True)
class Try:
    """A mistake as it may have been made: in both directions or in one, with the padding as it is or cleared."""

    name: str
    mistake: Mistake
    results: Callable[[Case, str], Arrays]
    cleared: bool = False

    def on(self, case: Case, dtype: str) -> Arrays:
        """What it gives for a case."""
        if self.cleared:  # a layer may clear what it then reads by mistake
            case = replace(case, x=np.where(case.padding_mask()[..., None], 0.0, case.x))
        return self.results(case, dtype)


class Explainer:
    """Compares wrong results with what each known mistake would give; keeps that for the next implementation."""

    def __init__(self) -> None:
        self._looks: dict[tuple[str, str, tuple[int, ...], bool, str], Arrays] = {}
        self._lock = threading.Lock()

    @np.errstate(all="ignore")  # some mistakes read the padding, which may hold NaN and infinity
    def explain(self, result: Arrays, yard: Yardstick) -> Explanation:
        """What explains a result; of one that lacks tensors, by those that are there."""
        rounded = replace(yard.case, file_sha256=None).sha256()  # not the file's: another dtype has other numbers
        yard = replace(yard, case=replace(yard.case, file_sha256=rounded))
        names = [name for name in yard.truth if name in result]
        if any(result[name].shape != yard.truth[name].shape for name in names):
            return Explanation()
        told = [name for name in names if not units(name, yard).untold(yard.dtype)]  # elsewhere every mistake would fit
        forward = [name for name in told if not name.startswith("grad.")]
        gradients = [name for name in told if name.startswith("grad.")]
        wrong = [name for name in forward if _wrong(result, yard, [name])]
        if wrong and not any(result[name].any() for name in wrong):
            return Explanation()  # zeros come from anywhere
        if wrong:
            return self._explain_forward(result, yard, forward, gradients)
        if _wrong(result, yard, gradients) and forward:
            return self._explain_gradients(result, yard, gradients)
        return Explanation()

    def _explain_forward(
        self, result: Arrays, yard: Yardstick, forward: list[str], gradients: list[str]
    ) -> Explanation:
        """What explains a forward pass that is wrong."""
        rows = _rows(result, yard, forward)
        tries = [each for each in _tries(yard, _one_direction(result, yard)) if not each.mistake.gradients_alone]
        shares = self._shares(tries, result, yard, rows, forward, with_gradients=False)
        case = yard.case if gradients else replace(yard.case, cotangents={})
        whole, part = [], []
        for i, each in enumerate(tries):
            if shares[i].explained < CANDIDATE:
                continue
            wrong = self._given(each, case, yard.dtype, result)
            shares[i] = share(result, wrong, yard.truth, forward)
            if shares[i].explained < CANDIDATE or not same_forward(result, wrong, yard, forward):
                continue
            if same_gradients(result, wrong, yard, gradients):
                whole.append(each.name)
            else:
                right = {name: yard.truth[name] for name in gradients}
                part.append((each.name, share(result, wrong | right, yard.truth, forward + gradients)))
        if whole:
            return Explanation(_joined(whole))
        if part:
            return Explanation(_in_part(part, "forward pass only"))
        case = replace(yard.case, cotangents={})
        arithmetic = [
            each.name
            for each in _tries(yard, (), arithmetic=True)
            if _same_arithmetic(result, self._given(each, case, yard.dtype, result), yard, forward)
        ]
        if arithmetic:
            return Explanation(_joined(arithmetic))
        return Explanation(nearest=_guesses(tries, shares, result, yard, rows, forward))

    def _explain_gradients(self, result: Arrays, yard: Yardstick, gradients: list[str]) -> Explanation:
        """What explains gradients that are wrong while the forward pass is right."""
        tries = [each for each in _tries(yard, _both(yard)) if each.mistake.gradients_alone]
        whole = [each.name for each in tries if self._explains_gradients(each, result, yard, gradients)]
        if whole:
            return Explanation(_joined(whole))
        of_rows = [name for name in gradients if name in ("grad.x", "grad.h_0", "grad.c_0")]
        names = of_rows if _wrong(result, yard, of_rows) else gradients
        if names is gradients and yard.case.batch * yard.case.seq_len > FEW_STEPS:
            return Explanation()
        rows = _rows(result, yard, names) if names is of_rows else tuple(range(yard.case.batch))
        tries += [each for each in _tries(yard, ()) if not each.mistake.gradients_alone]
        shares = self._shares(tries, result, yard, rows, names, with_gradients=True)
        partly = [
            (each.name, part)
            for each, part in zip(tries, shares, strict=True)
            if part.explained >= CANDIDATE and self._explains_gradients(each, result, yard, gradients)
        ]
        if partly:
            return Explanation(_in_part(partly, "gradients only"))
        return Explanation(nearest=_guesses(tries, shares, result, yard, rows, names))

    def _explains_gradients(self, each: Try, result: Arrays, yard: Yardstick, gradients: list[str]) -> bool:
        """Whether a mistake explains the gradients, and leaves the forward pass as right as it is."""
        wrong = self._given(each, yard.case, yard.dtype, result)
        enough = share(result, wrong, yard.truth, gradients).explained >= CANDIDATE
        return enough and same_gradients(result, wrong, yard, gradients)

    def _given(self, each: Try, case: Case, dtype: str, result: Arrays) -> Arrays:
        """What a mistake gives for a whole case, as a result may have it; kept where the case is small."""
        if case.batch * case.seq_len > FEW_STEPS:
            return with_unused(each.on(case, dtype), result, each.mistake.unused)
        everything = tuple(range(case.batch))
        return with_unused(self._look(each, case, dtype, everything), result, each.mistake.unused)

    def _look(self, each: Try, case: Case, dtype: str, rows: tuple[int, ...]) -> Arrays:
        """The results of a mistake for some rows of a case, computed once."""
        key = (case.sha256(), dtype, rows, bool(case.cotangents), f"{each.name} {each.cleared}")
        with self._lock:
            if key not in self._looks:
                self._looks[key] = each.on(_case_of(case, rows), dtype)
            return self._looks[key]

    def _shares(
        self,
        tries: list[Try],
        result: Arrays,
        yard: Yardstick,
        rows: tuple[int, ...],
        names: list[str],
        *,
        with_gradients: bool,
    ) -> list[Share]:
        """How much of the error each explains, by a look at some rows."""
        case = yard.case if with_gradients else replace(yard.case, cotangents={})
        mine, truth = ({name: _of_rows(name, each[name], rows) for name in names} for each in (result, yard.truth))
        error = Error(mine, truth, names)
        return [
            error.share(with_unused(self._look(each, case, SCREEN, rows), mine, each.mistake.unused)) for each in tries
        ]


_EXPLAINER = Explainer()


def explained(result: Arrays, yard: Yardstick) -> Explanation:
    """``Explainer.explain`` by the one explainer that a process needs."""
    return _EXPLAINER.explain(result, yard)


def _tries(yard: Yardstick, directions: tuple[int, ...], *, arithmetic: bool = False) -> Iterator[Try]:
    """Every mistake that can be made on a case, of arithmetic or all others, also in some of the directions alone."""
    case, dtype = yard.case, yard.dtype
    padded = bool(case.padding_mask().any())
    for mistake in mistakes(case.spec):
        if mistake.arithmetic != arithmetic or not mistake.applies(case, dtype):
            continue
        made = [Try(mistake.name, mistake, mistake.results)]
        if mistake.in_direction is not None:
            for direction in directions:
                name = f"{mistake.name}, in the {DIRECTIONS[direction]} direction only"
                made.append(Try(name, mistake, partial(_in_direction, mistake, direction)))
        yield from made
        if mistake.reads_padding and padded:
            yield from (replace(each, cleared=True) for each in made)


def _in_direction(mistake: Mistake, direction: int, case: Case, dtype: str) -> Arrays:
    """The results of a mistake that is made in one direction alone."""
    assert mistake.in_direction is not None
    return mistake.in_direction(case, dtype, direction)


def _wrong(result: Arrays, yard: Yardstick, names: list[str]) -> bool:
    """Whether one of the tensors is further off than its limits."""
    limits = thresholds()[yard.dtype]
    return any(measure(name, result[name], yard).exceeds(limits) for name in names)


def _one_direction(result: Arrays, yard: Yardstick) -> tuple[int, ...]:
    """The directions in which alone a mistake may have been made: those that are wrong in the first layer, whose input
    is right, if not both are; where the first layer cannot tell, both. None of a network that has one alone.
    """
    case, limit = yard.case, thresholds()[yard.dtype]["max"]
    wrong = []
    for direction in _both(yard):
        off: dict[str, np.ndarray] = {
            name: np.abs(result[name] - yard.truth[name])[direction] for name in ("h_n", "c_n") if name in result
        }
        if case.spec.num_layers == 1 and case.spec.merge == "concat" and "output" in result:
            halves = np.split(result["output"] - yard.truth["output"], [case.spec.hidden_size], axis=-1)
            off["output"] = np.abs(halves[direction])
        if any(not error.max(initial=0) <= limit * units(name, yard).max for name, error in off.items()):
            wrong.append(direction)
    return tuple(wrong) if len(wrong) == 1 else () if wrong else _both(yard)


def _both(yard: Yardstick) -> tuple[int, ...]:
    """Both directions; none of a network that has one alone, where a mistake in it is one in all."""
    return tuple(DIRECTIONS) if yard.case.spec.num_directions == len(DIRECTIONS) else ()


def _rows(result: Arrays, yard: Yardstick, names: list[str]) -> tuple[int, ...]:
    """A few rows of the batch: an empty one, the shortest, the median and the longest, or those that are most wrong
    where these are right.
    """
    batch = yard.case.batch
    if batch <= FEW_ROWS:
        return tuple(range(batch))
    lengths = np.full(batch, yard.case.seq_len) if yard.case.lengths is None else yard.case.lengths
    order = np.argsort(lengths, kind="stable")
    first = min(int((lengths == 0).sum()), batch - 1)
    rows = tuple(sorted({int(order[i]) for i in (0, first, (first + batch) // 2, batch - 1)}))
    errors = np.zeros(batch)
    for name in names:
        axis = 0 if name in ("output", "grad.x") else 1
        off = np.moveaxis(np.abs(result[name] - yard.truth[name]), axis, 0).reshape(batch, -1).max(axis=1)
        errors = np.maximum(errors, off / max(float(units(name, yard).size_max), np.finfo(float).tiny))
    if errors[list(rows)].max() >= errors.max() / 10:
        return rows
    return tuple(sorted(int(row) for row in np.argsort(-errors, kind="stable")[:FEW_ROWS]))


def _of_rows(name: str, value: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """The part of a tensor that belongs to some rows of the batch."""
    if name in ("output", "grad.x"):
        return value[list(rows)]
    return value[:, list(rows)] if name in ("h_n", "c_n", "grad.h_0", "grad.c_0") else value


def _case_of(case: Case, rows: tuple[int, ...]) -> Case:
    """Some rows of a case, x being (rows, seq_len, input_size), without the rest."""
    chosen = list(rows)
    return replace(
        case,
        x=case.x[chosen],
        lengths=None if case.lengths is None else case.lengths[chosen],
        h_0=None if case.h_0 is None else case.h_0[:, chosen],
        c_0=None if case.c_0 is None else case.c_0[:, chosen],
        cotangents={name: _of_rows(name, value, rows) for name, value in case.cotangents.items()},
        expected={},
    )


def _guesses(
    tries: list[Try], shares: list[Share], result: Arrays, yard: Yardstick, rows: tuple[int, ...], names: list[str]
) -> str:
    """The mistakes that explain most of an error; empty where chance or a mere scale explains as much."""
    mine, truth = ({name: _of_rows(name, each[name], rows) for name in names} for each in (result, yard.truth))
    least = max(GUESS, share(mine, scaled(mine, truth, names), truth, names).explained)
    best: dict[str, float] = {}
    for each, part in sorted(zip(tries, shares, strict=True), key=lambda pair: -pair[1].explained):
        if part.finite and part.explained > least and part.chance(len(tries)) <= CHANCE:
            best.setdefault(each.name, part.explained)
    return " or ".join(
        f"{name} ({_percent(explained)} of the error)" for name, explained in list(best.items())[:GUESSES]
    )


def _joined(names: list[str]) -> str:
    """Names of mistakes that nothing tells apart."""
    return " or ".join(dict.fromkeys(names))


def _in_part(part: list[tuple[str, Share]], which: str) -> str:
    """The mistakes that explain a part of the error, and how much."""
    best = max(each.explained for _, each in part)
    return f"{_joined([name for name, _ in part])} ({which}, {_percent(best)} of the error)"


def _percent(explained: float) -> str:
    """A share in whole percents, rounded down: what leaves more than rounding unexplained is no 100 %."""
    return f"{int(100 * explained + 1e-3)} %"


def _same_arithmetic(result: Arrays, wrong: Arrays, yard: Yardstick, names: list[str]) -> bool:
    """Whether a result looks like another's arithmetic.

    TF32 rounds what is multiplied, which is the same in whatever order products are added up. float32's own errors are
    not; but its results are float32 numbers, and about as far from the truth.
    """
    if yard.dtype == "float32":
        share_of_wrong = share(result, wrong, yard.truth, names)
        return share_of_wrong.explained > GUESS and share_of_wrong.chance(1) <= CHANCE
    states = [result[name] for name in names if name in ("h_n", "c_n")]
    narrow = all(np.array_equal(each.astype(np.float32), each) for each in states)
    return any(each.any() for each in states) and narrow and _as_far_off(result, wrong, yard, names)


def _as_far_off(result: Arrays, wrong: Arrays, yard: Yardstick, names: list[str]) -> bool:
    """Whether a result is about as far from the truth as the mistaken arithmetic's is."""
    for name in names:
        truth = yard.truth[name]
        mine, theirs = (np.sqrt(np.mean((tensors[name] - truth) ** 2)) for tensors in (result, wrong))
        if not theirs / ARITHMETIC_FACTOR <= mine <= theirs * ARITHMETIC_FACTOR:
            return False
    return bool(names)
