"""Known divergences of PyTorch in bidirectional RNNs: those of silent_probes.py, then what raises late or is odd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.interface.probe import Observation, observed
from backends.pytorch.probes.silent import PROBES, in_int8  # so that those come first
from backends.pytorch.probes.subject import FAR, LENGTHS, a_layer, apart, draw


def repadded(layer: nn.RNNBase, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """The output of a layer on a packed input, padded again."""
    packed, _ = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(packed, batch_first=True)[0]


@PROBES.add(
    what="Packing and padding again ought to give back seq_len steps; it gives as many as the longest row has.",
    consequence="Masks, targets and the shares of other devices no longer fit, and the error comes where they meet.",
    way_out="Pass total_length=x.shape[1] to pad_packed_sequence.",
    harm="late",
    upstream="https://github.com/pytorch/pytorch/issues/1591",
)
def packing_shortens_seq_len(run: Callable[..., Tensor] = repadded) -> Observation:
    steps = run(a_layer(), draw(3, 5, 4), (3, 2, 1)).shape[1]
    return observed(steps == 3, steps == 5, f"5 steps with lengths 3, 2, 1 come back as {steps}")


@PROBES.add(
    what="A row of length 0 ought to give zeros and its h_0, as in Keras; packing refuses it.",
    consequence="One empty row in a batch stops the run.",
    way_out="Clamp the lengths to 1 and mask the outputs and states of the empty rows, as `manual` does.",
    harm="surprise",
    upstream="https://github.com/pytorch/pytorch/issues/11514",
)
def packing_refuses_length_0(run: Callable[..., Tensor] = repadded) -> Observation:
    try:
        output = run(a_layer(), draw(3, 5, 4), (5, 3, 0))
    except RuntimeError as error:
        return observed("has to be greater than 0" in str(error), False, f"RuntimeError: {error}")
    left = output[2].abs().max().item()
    return observed(False, left == 0, f"outputs of the empty row are at most {left:.2g}")


def float32_layer(cell: type[nn.RNNBase], x: Any) -> Tensor:
    """The output of a float32 layer on a tensor or on a PackedSequence."""
    return a_layer(cell, dtype=torch.float32)(x)[0].data  # of a tensor or of a PackedSequence


@PROBES.add(
    what="Autocast on the CPU ought to treat all layers alike; what runs in bfloat16 hangs on the cell and on packing.",
    consequence="Packing an LSTM's input, or changing the cell, changes the precision with nothing said.",
    way_out="Cast the layer and its input, or switch autocast off around recurrent layers.",
    harm="surprise",
)
def autocast_hangs_on_cell_and_packing(run: Callable[..., Tensor] = float32_layer) -> Observation:
    x, by_layer = draw(3, 5, 4, dtype=torch.float32), {}
    for name, given in (("padded", x), ("packed", pack_padded_sequence(x, LENGTHS, batch_first=True))):
        for cell in (nn.RNN, nn.GRU, nn.LSTM):
            with torch.autocast("cpu", torch.bfloat16):
                by_layer[f"{cell.__name__} {name}"] = str(run(cell, given).dtype).removeprefix("torch.")
    dtypes = set(by_layer.values())
    evidence = ", ".join(f"{name} {dtype}" for name, dtype in by_layer.items())
    return observed(dtypes == {"float32", "bfloat16"}, len(dtypes) == 1, evidence)


def with_dropout(num_layers: int) -> Callable[[Tensor], Tensor]:
    """A layer of this many layers with dropout, as a function of its input."""
    with warnings.catch_warnings(action="ignore"):
        layer = a_layer(num_layers=num_layers, dropout=0.5)
    return lambda x: layer(x)[0]


@PROBES.add(
    what="`dropout=0.5` ought to drop half of a layer's outputs; it acts between layers, never on the last one.",
    consequence="One layer trains without any dropout (after a warning), and a stack's output is dense.",
    way_out="Put nn.Dropout after the layer.",
    harm="surprise",
)
def dropout_spares_the_last_layer(build: Callable[[int], Callable[[Tensor], Tensor]] = with_dropout) -> Observation:
    x = draw(3, 5, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, two = build(1), build(2)
        change, inner = (apart(layer(x), layer(x)) for layer in (one, two))
        dropped = (two(x) == 0).double().mean().item()
    evidence = f"two runs of one layer are {change:.2g} apart, of two {inner:.2g}; {dropped:.0%} of outputs are 0"
    return observed(change == 0 and inner > FAR and dropped == 0, change > FAR and dropped > 0.25, evidence)


@PROBES.add(
    what="quantize_dynamic ought to quantize what it is told to, or refuse; it leaves nn.RNN in float32, and takes "
    "nn.GRU and nn.LSTM.",
    consequence="A model is as large and as slow as before, and its file says nothing of why.",
    way_out="Look at the type of each module afterwards; nn.RNNCell is quantized.",
    harm="surprise",
)
def quantize_dynamic_leaves_rnn_in_float32(make: Callable[[nn.RNNBase], nn.Module] = in_int8) -> Observation:
    kept = {}
    for cell in (nn.RNN, nn.GRU, nn.LSTM):
        kept[cell.__name__] = isinstance(make(a_layer(cell, dtype=torch.float32)), nn.RNNBase)
    evidence = ", ".join(f"{name} {'stays float32' if same else 'is quantized'}" for name, same in kept.items())
    return observed([*kept.values()] == [True, False, False], not any(kept.values()), evidence)
