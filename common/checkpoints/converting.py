"""Converting contents to a format: a verdict on each layer, and what is written.

**exact**: read back, every number is the same to the last bit. **re-parameterised**: two biases are summed, so the
layer computes the same and trains differently. **impossible**: the format's layer is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from common.checkpoints.blocks import same_bits
from common.checkpoints.contents import Contents, Half, PlainLayer, RecurrentKind, RecurrentLayer, summed
from common.checkpoints.table import FORMATS, Format
from common.errors import InputError

EXACT, REPARAMETERISED, IMPOSSIBLE, LEFT_OUT = "exact", "re-parameterised", "impossible", "left out"
"""The verdicts on a layer."""


@dataclass(frozen=True)
class LayerVerdict:
    """What becomes of one layer, with the reasons where it is not exact, and what is left to the program."""

    layer: str
    what: str
    verdict: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def renamed(contents: Contents, names: Mapping[str, str]) -> Contents:
    """The contents with layers under new names.

    Raises
    ------
    InputError
        If there is no layer of a name, or two get the same.
    """
    for name in names:
        if name not in contents.layers:
            raise InputError(f"--layer must name layers of the file ({', '.join(contents.layers)}); got {name!r}")
    layers = [replace(layer, name=names.get(name, name)) for name, layer in contents.layers.items()]
    by_name = {layer.name: layer for layer in layers}
    if len(by_name) != len(layers):
        raise InputError("--layer must give each layer a name of its own; got one twice")
    if contents.checkpoint is not None and names:
        raise InputError(
            "--layer must not rename the layers of a checkpoint of birnn train, which are looked up by name"
        )
    return replace(contents, layers=by_name)


def require_told(contents: Contents) -> None:
    """Raise an ``InputError`` where neither the file nor ``--spec`` says what a recurrent layer is."""
    for layer in contents.recurrent:
        if layer.kind.untold and not layer.unusual:
            keys = ", ".join(layer.kind.untold)
            raise InputError(
                f"the layer {layer.name} ({layer.kind}): its file does not tell {keys}; say it with --spec"
            )


def judged(contents: Contents, target: str, only_rnn: bool = False) -> list[LayerVerdict]:
    """A verdict on each layer, in the contents' order."""
    return [
        _recurrent(layer, target) if isinstance(layer, RecurrentLayer) else _plain(layer, target, only_rnn)
        for layer in contents.layers.values()
    ]


def kept(contents: Contents, verdicts: list[LayerVerdict]) -> Contents:
    """The contents without what is left out."""
    left = {each.layer for each in verdicts if each.verdict == LEFT_OUT}
    layers = {name: layer for name, layer in contents.layers.items() if name not in left}
    return replace(contents, layers=layers, checkpoint=None if left else contents.checkpoint)


def _plain(layer: PlainLayer, target: str, only_rnn: bool) -> LayerVerdict:
    """The verdict on a layer around the recurrent ones."""
    shapes = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in layer.arrays.items())
    what = f"{layer.kind}: {shapes}"
    if only_rnn:
        return LayerVerdict(layer.name, what, LEFT_OUT)
    held = FORMATS[target]
    if layer.kind == "tensor" and not held.tensors:
        reason = f"no row of the table says what it is in {target}: leave it out with --only-rnn, or say it with --spec"
        return LayerVerdict(layer.name, what, IMPOSSIBLE, (reason,))
    reasons = tuple(
        f"{target} holds {', '.join(held.dtypes)}; got {value.dtype}"
        for value in layer.arrays.values()
        if value.dtype.name not in held.dtypes and not held.tensors
    )
    return LayerVerdict(layer.name, what, IMPOSSIBLE if reasons else EXACT, reasons[:1])


def _recurrent(layer: RecurrentLayer, target: str) -> LayerVerdict:
    """The verdict on a recurrent layer, by the target's row of the table and by what comes back of its weights."""
    kind, held = layer.kind, FORMATS[target]
    dtype = layer.weights["weight_ih_l0"].dtype.name
    reasons = [*layer.unusual, *_refusals(kind, held, target)]
    if dtype not in held.dtypes:
        reasons.append(f"{target} holds {', '.join(held.dtypes)}; got {dtype}")
    what = f"{kind}, {dtype}"
    if reasons:
        return LayerVerdict(layer.name, what, IMPOSSIBLE, tuple(reasons))
    changes = list(_changes(layer, held, target))
    if any(change.startswith("!") for change in changes):
        return LayerVerdict(layer.name, what, IMPOSSIBLE, tuple(change[1:] for change in changes if change[0] == "!"))
    notes = tuple(_notes(kind, held, target))
    return LayerVerdict(layer.name, what, REPARAMETERISED if changes else EXACT, tuple(changes), notes)


def _refusals(kind: RecurrentKind, held: Format, target: str) -> Iterator[str]:
    """Reasons why a format's layer cannot be the one of this kind, whatever its weights are."""
    if kind.merge in held.refused_merges:
        yield f"{target} has no learned merge"
    if kind.reset_after is False and not held.reset_before:
        yield f"a GRU of {target} resets after the recurrent product, and this one before it"
    if kind.hidden_size_reverse is not None and not held.uneven:
        yield f"both directions of a layer of {target} have one size, and these have {kind.hidden_sizes}"


def _changes(layer: RecurrentLayer, held: Format, target: str) -> Iterator[str]:
    """Sentences on what does not come back to the last bit; what cannot be held at all begins with ``!``."""
    kind = layer.kind
    summed_in = []
    for k in range(kind.num_layers):
        for direction, half in enumerate(layer.halves(k)):
            back = held.layout.unpack(held.layout.pack(kind, half), f"the layer {layer.name}")
            back = back if kind.bias else back.without_bias()
            if _same(half, back):
                continue
            if not _same(_with_sum(kind, half), _with_sum(kind, back)):
                yield f"!a GRU of {target} has no b_hn, the recurrent bias of its candidate, and this one's is not zero"
                return
            summed_in.append(f"l{k}{'_reverse' if direction else ''}")
    if summed_in:
        gates = " of r and z" if kind.gates == "gru" and kind.reset_after else ""
        where = summed_in[0] if len(summed_in) == 1 else f"{summed_in[0]} to {summed_in[-1]}"
        yield (
            f"bias_ih and bias_hh{gates} are summed ({where}), as {target} has one: it computes the same, and trained "
            "on, the sum moves half as far a step"
        )


def _same(a: Half, b: Half) -> bool:
    """Whether two halves are equal to the last bit."""
    pairs = ((getattr(a, name), getattr(b, name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return all(same_bits(first, second) for first, second in pairs)


def _with_sum(kind: RecurrentKind, half: Half) -> Half:
    """The half with the sum of its biases in bias_ih, but for that of a reset-after GRU's candidate, which is none."""
    if half.bias_ih is None or half.bias_hh is None:
        return half
    total = summed(half.bias_ih, half.bias_hh)
    if kind.gates != "gru" or not kind.reset_after:
        return replace(half, bias_ih=total, bias_hh=np.zeros_like(total))
    apart = 2 * half.weight_hh.shape[1]
    return replace(
        half,
        bias_ih=np.concatenate([total[:apart], half.bias_ih[apart:]]),
        bias_hh=np.concatenate([np.zeros_like(total[:apart]), half.bias_hh[apart:]]),
    )


def _notes(kind: RecurrentKind, held: Format, target: str) -> Iterator[str]:
    """Sentences on what is left to the program in the target, or written otherwise than it was."""
    if kind.directions == 2 and kind.merge not in held.merges:
        yield f"that the halves are merged by {kind.merge} is the program's to do in {target}"
    if not kind.bias and not held.without_bias:
        yield f"a layer of {target} has biases; they are zeros"
    if kind.num_layers > 1 and not (held.stacks and kind.merge in (None, "concat")):
        yield f"the stack is {kind.num_layers} layers, one after the other, in {target}"
