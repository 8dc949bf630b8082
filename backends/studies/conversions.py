"""Proving a conversion: both files loaded by their own frameworks' loaders and run, held against the reference and each
other by the suite's one rule (``common.judging.trial``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from backends.pool.environments import interpreter
from backends.pool.pool import Pool
from backends.registry import LOADERS, Backend, backends
from backends.worker.messages import FAILED, AskedPlain, AskedRecurrent, NotDone, RunCheckpoint
from common.case import Case, write_case
from common.checkpoints.contents import Arrays, Contents, PlainLayer, RecurrentLayer, summed
from common.checkpoints.formats.keras import model_config, single_layers
from common.checkpoints.proof_case import case_of
from common.checkpoints.table import FORMATS
from common.checkpoints.two_layers import SIDES, case_of_side, result_of_sides, taken_apart
from common.errors import InputError
from common.judging.agreement import AGREES, DISAGREES, Verdict, measure, thresholds
from common.judging.explanation import Explanation, explained
from common.judging.trial import judge_trial
from common.judging.yardstick import Yardstick, yardstick
from common.tensorfile import read
from common.weights import SUFFIXES

NOT_RUN, CANONICAL, SAME, DIFFERENT = "not run", "canonical", "same", "different"
"""Outcomes beside a verdict's: a side that could not be run, one that is the reference itself, and how two compare."""
FURTHEST = 2.0
"""Limits that two correct results may be apart: each may be one off, to either side."""


@dataclass(frozen=True)
class SideProof:
    """One file's layer, run by its framework: a verdict's status or ``NOT_RUN``, and why or how far off."""

    status: str
    reason: str = ""
    matches: str = ""
    rms: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class LayerProof:
    """A layer's two sides, and whether they are the same within rounding (``SAME``, ``DIFFERENT`` or ``NOT_RUN``)."""

    layer: str
    source: SideProof
    target: SideProof
    between: str


@dataclass
class Proof:
    """What was run and how it came out: ``plain`` has a status for each other layer, ``versions`` both sides'."""

    layers: list[LayerProof] = field(default_factory=list)
    plain: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """Whether anything disagrees."""
        statuses = {side.status for each in self.layers for side in (each.source, each.target)}
        apart = [each.between for each in self.layers] + [*self.plain.values()]
        return DISAGREES in statuses or DIFFERENT in apart

    @property
    def proved(self) -> bool:
        """Whether everything ran on both sides and agrees; a source in the canonical layout is the reference itself."""
        good = all(
            each.target.status == AGREES and each.source.status in (AGREES, CANONICAL) and each.between == SAME
            for each in self.layers
        )
        return good and bool(self.layers) and set(self.plain.values()) <= {SAME}


@dataclass(frozen=True)
class Side:
    """One file of a conversion: where it is, its format, what birnn says that it holds, and the names in the file of
    the parts of each recurrent layer.
    """

    name: str
    path: Path
    format: str
    contents: Contents
    parts: Mapping[str, list[str]]


def prove(pool: Pool, source: Side, target: Side, names: Mapping[str, str], timeout_seconds: float) -> Proof:
    """Run both files, layer by layer; ``names`` are the source's names of the target's layers."""
    proof = Proof()
    layers = target.contents.recurrent
    cases = {layer.name: case_of(source_layer(source, names[layer.name])) for layer in layers}
    results: dict[str, dict[str, Arrays | str]] = {}
    plain: dict[str, Arrays | str] = {}
    for side in (source, target):
        own = names if side is source else {name: name for name in names}
        try:
            results[side.name], others = _run(pool, side, own, cases, proof, timeout_seconds)
        except _NotRunError as error:
            results[side.name] = dict.fromkeys(cases, str(error))
            others = dict.fromkeys((layer.name for layer in target.contents.plain), str(error))
        if side is target:
            plain = others
    for layer in layers:
        yard = yardstick(cases[layer.name], _precision(layer))
        pair = [results[side.name][layer.name] for side in (source, target)]
        first, second = (judged_side(each, yard, layer) for each in pair)
        proof.layers.append(LayerProof(layer.name, first, second, _between(pair, yard)))
    for each in target.contents.plain:
        proof.plain[each.name] = same_plain(each, plain[each.name])
    return proof


def source_layer(source: Side, name: str) -> RecurrentLayer:
    """A recurrent layer of the source by its name."""
    layer = source.contents.layers[name]
    assert isinstance(layer, RecurrentLayer)
    return layer


def _precision(layer: RecurrentLayer) -> str:
    """What a layer is run in: its own dtype, or float32 where that is narrower."""
    return "float64" if layer.weights["weight_ih_l0"].dtype.name == "float64" else "float32"


class _NotRunError(Exception):
    """A side could not be run; the text says why."""


def loader(format_name: str) -> Backend:
    """Whose environment loads files of a format: the one of its own writer where there is one, else its backend's."""
    own = LOADERS.get(format_name)
    general = FORMATS[format_name].backend
    if own is not None and (general is None or interpreter(own) is not None):
        return own
    return backends()[str(general)]


def _run(
    pool: Pool, side: Side, own: Mapping[str, str], cases: Mapping[str, Case], proof: Proof, timeout_seconds: float
) -> tuple[dict[str, Arrays | str], dict[str, Arrays | str]]:
    """A side's results by the target's names of the layers, and its plain layers; a text where there is none."""
    if side.format == "birnn":
        raise _NotRunError(CANONICAL)
    backend = loader(side.format)
    config = None
    if side.format == "keras-weights":
        config = json.dumps(model_config(list(single_layers(taken_apart(side.contents)))))
    asked: list[AskedRecurrent] = []
    apart: dict[str, tuple[str, ...]] = {}
    for name, case in cases.items():
        layer = source_layer(side, own[name])
        of_layer = [(name, case, tuple(side.parts[layer.name]))]
        if side.name == "source" and layer.sides:
            apart[name] = tuple(f"{name}, {which}" for which in SIDES)
            of_layer = [(apart[name][i], case_of_side(case, i), (each,)) for i, each in enumerate(layer.sides)]
        for asked_name, own_case, parts in of_layer:
            path = pool.folder / f"proof-{own_case.sha256()[:16]}.safetensors"
            write_case(own_case, path, durable=False)
            result = pool.folder / f"proof-{side.name}-{len(asked)}.safetensors"
            dtype, spec = _precision(layer), own_case.spec
            asked.append(AskedRecurrent(name=asked_name, spec=spec, parts=parts, case=path, dtype=dtype, result=result))
    plain = [
        AskedPlain(name=each.name, kind=each.kind, result=pool.folder / f"proof-plain-{number}.safetensors")
        for number, each in enumerate(side.contents.plain)
        if side.name == "target"
    ]
    request = RunCheckpoint(
        file=side.path.resolve(), format=side.format, config=config, layers=tuple(asked), plain=tuple(plain)
    )
    reply = pool.ask(backend, request, timeout_seconds)
    if isinstance(reply, NotDone):
        what = f"{backend.name} did not load it: " if reply.status == FAILED else ""
        raise _NotRunError(what + reply.reason)
    proof.versions[side.name] = reply.versions
    recurrent = {each.name: _read(each.result, reply.layers.get(each.name, "it is not in the reply")) for each in asked}
    for name, names in apart.items():
        sides = [recurrent.pop(each) for each in names]
        recurrent[name] = next((each for each in sides if isinstance(each, str)), "") or _whole(cases[name], sides)
    others = {each.name: _read(each.result, reply.plain.get(each.name, "it is not in the reply")) for each in plain}
    return recurrent, others


def _whole(case: Case, sides: Sequence[Arrays | str]) -> Arrays | str:
    """The result of a layer of those of its two directions; a text where they are not what was asked for."""
    try:
        return result_of_sides(case, [each for each in sides if not isinstance(each, str)])
    except (KeyError, ValueError, IndexError) as error:
        return f"its two directions have other tensors than were asked for: {error}"


def _read(path: Path, reason: str) -> Arrays | str:
    """The tensors of a result's file; a text where the worker gives a reason for having none, or the file is not to be
    read.
    """
    if reason:
        return reason
    try:
        return read(path)[0]
    except InputError as error:
        return str(error)


def judged_side(result: Arrays | str, yard: Yardstick, layer: RecurrentLayer) -> SideProof:
    """One side's result, held against the reference; a text is why there is none."""
    if isinstance(result, str):
        return SideProof(CANONICAL) if result == CANONICAL else SideProof(NOT_RUN, result)
    try:
        verdict = judge_trial(result, yard, explain=lambda wrong, yard: explained_conversion(wrong, yard, layer))
    except (KeyError, ValueError) as error:
        return SideProof(NOT_RUN, f"its result has other tensors than were asked for: {error}")
    reasons = "; ".join(verdict.reasons[:2])
    return SideProof(verdict.status, reasons, verdict.matches, *(_finite(verdict, name) for name in ("rms", "max")))


def _finite(verdict: Verdict, name: str) -> float | None:
    """A verdict's worst number of a kind, as JSON can have it: None for NaN and infinity."""
    worst = verdict.worst(name)
    return float(worst) if np.isfinite(worst) else None


def _between(results: list[Arrays | str], yard: Yardstick) -> str:
    """``SAME`` where two results are as near to each other as two correct ones are, or the source is the reference
    itself; ``DIFFERENT`` where they are not, and ``NOT_RUN`` where there are no two.
    """
    first, second = results
    if isinstance(second, str):
        return NOT_RUN
    if isinstance(first, str):
        return SAME if first == CANONICAL else NOT_RUN
    limits = {name: FURTHEST * limit for name, limit in thresholds()[yard.dtype].items()}
    for name, value in first.items():
        if name not in second or second[name].shape != value.shape:
            return DIFFERENT
        truth = yard.truth[name]
        if measure(name, truth + second[name].astype(truth.dtype) - value, yard).exceeds(limits):
            return DIFFERENT
    return SAME


def same_plain(layer: PlainLayer, result: Arrays | str) -> str:
    """Whether a framework has loaded a layer's very numbers."""
    if isinstance(result, str):
        return result
    for name, value in layer.arrays.items():
        wide = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
        if name not in result or result[name].shape != wide.shape or result[name].tobytes() != wide.tobytes():
            return DIFFERENT
    return SAME if result.keys() == layer.arrays.keys() else DIFFERENT


# What a converter does wrong, beside the mistakes that the suite knows.

Change = Callable[[Arrays, RecurrentLayer], Arrays]
"""A mistake in converting: canonical weights and the layer that they belong to, to the wrong weights."""


def _copied(weights: Arrays, layer: RecurrentLayer) -> Arrays:
    """The forward direction's weights in both directions."""
    return {name: weights[name.removesuffix(SUFFIXES[1])] for name in weights}


def _shifted(weights: Arrays, layer: RecurrentLayer) -> Arrays:
    """Each layer with the weights of the next, the last one with those of the first."""
    count = layer.kind.num_layers
    return {name: weights[_at(name, (_layer_of(name) + 1) % count)] for name in weights}


def _layer_of(name: str) -> int:
    """The number of the layer that a weight belongs to, by its canonical name."""
    return int(name.removesuffix(SUFFIXES[1]).rpartition("_l")[2])


def _at(name: str, layer: int) -> str:
    """The name of the same weight in another layer."""
    stem = name.removesuffix(SUFFIXES[1]).rpartition("_l")[0]
    return f"{stem}_l{layer}{SUFFIXES[1] if name.endswith(SUFFIXES[1]) else ''}"


def _reshaped(weights: Arrays, layer: RecurrentLayer) -> Arrays:
    """Input kernels whose numbers, read column by column, fill the rows, as when a transpose is reshaped back."""
    return {
        name: np.ascontiguousarray(value.T).reshape(value.shape) if name.startswith("weight_ih") else value
        for name, value in weights.items()
    }


def _without_b_hn(weights: Arrays, layer: RecurrentLayer) -> Arrays:
    """Weights whose recurrent biases are 0 in the last third: a GRU's b_hn, of the candidate."""
    return {name: _candidate_zeroed(value) if name.startswith("bias_hh") else value for name, value in weights.items()}


def _summed(weights: Arrays, layer: RecurrentLayer) -> Arrays:
    """Weights with both biases' sum as the input bias, and zeros as the recurrent bias."""
    changed = dict(weights)
    for name, value in weights.items():
        if name.startswith("bias_ih"):
            other = name.replace("bias_ih", "bias_hh")
            changed[name], changed[other] = summed(value, weights[other]), np.zeros_like(value)
    return changed


def _candidate_zeroed(bias: np.ndarray) -> np.ndarray:
    """A copy of a bias, (3·hidden_size,), with zeros for the last gate of three."""
    zeroed = bias.copy()
    zeroed[2 * len(bias) // 3 :] = 0
    return zeroed


CONVERTER_MISTAKES: dict[str, Change] = {
    "b_hn dropped": _without_b_hn,
    "bias_ih and bias_hh summed where two are meant": _summed,
    "the forward direction's weights copied to the reverse": _copied,
    "layers shifted by one": _shifted,
    "input kernel reshaped where it must be transposed": _reshaped,
}
"""Mistakes of converters alone, by what is said when one explains a wrong result."""


def explained_conversion(result: Arrays, yard: Yardstick, layer: RecurrentLayer) -> Explanation | None:
    """Which mistake of a converter gives the same wrong numbers: those that the suite knows, then those of its own."""
    known = explained(result, yard)
    if known is not None and known.matches:
        return known
    for name, case in _mistaken(yard.case, layer):
        if judge_trial(result, yardstick(case, yard.dtype), explain=None).status == AGREES:
            return Explanation(name)
    return known


def _mistaken(case: Case, layer: RecurrentLayer) -> Iterator[tuple[str, Case]]:
    """Each mistake that can be made of a case, and the case with its weights: other numbers in the same shapes."""
    for name, change in CONVERTER_MISTAKES.items():
        try:
            weights = change(case.weights, layer)
        except (KeyError, ValueError):
            continue  # it cannot be made of this layer
        same = all(weights[key].shape == value.shape for key, value in case.weights.items())
        if same and any(not np.array_equal(weights[key], value) for key, value in case.weights.items()):
            yield name, replace(case, weights=weights, file_sha256=None)
