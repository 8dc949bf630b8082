"""Where PyTorch is silently wrong in bidirectional RNNs, each measured; probes.py goes on with what is late or odd.

Probes run in float64, unless they are about another precision: what they find then is no rounding.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backends.interface.probe import Observation, observed
from backends.pytorch.probes.subject import (
    BIASES,
    ENDS,
    FAR,
    HIDDEN,
    LENGTHS,
    OPTIMISERS,
    PROBES,
    RATE,
    SAME,
    STEPS,
    Groups,
    Prepare,
    a_layer,
    apart,
    draw,
    each_row_alone,
)
from common.reference import Reference
from common.specification import Specification


def run_layer(layer: nn.RNNBase, *inputs: Tensor) -> Any:
    """Call the layer."""
    return layer(*inputs)


@PROBES.add(
    what="Padding that is cut off afterwards ought to do no harm; without packing, the reverse half starts in it.",
    consequence="Valid outputs and the final state of every short row depend on what the padding holds.",
    way_out="Pack with pack_padded_sequence(..., enforce_sorted=False), or reverse by length as `manual` does.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/issues/517",
)
def padding_fed_without_packing(run: Callable[..., Any] = run_layer) -> Observation:
    layer, x = a_layer(nn.GRU), draw(3, 5, 4)
    (output, h_n), (right, right_h_n) = run(layer, x), each_row_alone(layer, x)
    valid = (torch.arange(5) < torch.tensor(LENGTHS)[:, None])[..., None]
    forward, reverse = (apart(a, b) for a, b in zip((output * valid).chunk(2, -1), right.chunk(2, -1), strict=True))
    state = apart(h_n, right_h_n)
    evidence = f"valid outputs are off by {forward:.2g} forward and {reverse:.2g} reverse, h_n by {state:.2g}"
    return observed(forward < SAME and reverse > FAR and state > FAR, max(forward, reverse, state) < SAME, evidence)


def layer_by_default() -> nn.RNNBase:
    """A layer as it is without ``batch_first``."""
    return a_layer(batch_first=False)


@PROBES.add(
    what="An x of shape (batch, seq_len, input_size) ought to run over seq_len; the default is over batch.",
    consequence="Every row's output depends on the other rows, shapes are as expected, and training goes on.",
    way_out="Pass batch_first=True to the layer, to pack_padded_sequence and to pad_packed_sequence.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/issues/1538",
)
def time_runs_over_the_batch(build: Callable[[], nn.RNNBase] = layer_by_default) -> Observation:
    layer, x = build(), draw(3, 5, 4)
    changed = x + torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    leak = apart(layer(x)[0][1:], layer(changed)[0][1:])
    return observed(leak > FAR, leak == 0, f"adding 1 to row 0 of x moves the outputs of the other rows by {leak:.2g}")


def last_output(layer: nn.RNNBase, x: Tensor) -> Tensor:
    """The output of the last step."""
    return layer(x)[0][:, -1]


@PROBES.add(
    what="`output[:, -1]` ought to be the final state of both directions; its reverse half has seen one step only.",
    consequence="A classifier on output[:, -1] gets half of its features from the last step alone.",
    way_out="Take torch.cat([h_n[-2], h_n[-1]], dim=-1), which packing makes right for short rows too.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/issues/3587",
)
def last_output_is_no_final_state(summary: Callable[[nn.RNNBase, Tensor], Tensor] = last_output) -> Observation:
    layer, x = a_layer(nn.GRU), draw(3, 5, 4)
    last, h_n = summary(layer, x), layer(x)[1]
    forward, reverse = (apart(half, state) for half, state in zip(last.chunk(2, -1), h_n, strict=True))
    one_step = apart(last[:, HIDDEN:], layer(x[:, -1:])[1][1])
    evidence = f"the reverse half is {reverse:.2g} from h_n[1], and {one_step:.2g} from a run over the last step alone"
    return observed(one_step < SAME and reverse > FAR, max(forward, reverse) < SAME, evidence)


def directions_first(h_n: Tensor) -> Tensor:
    """The top layer's states, with h_n taken to be ordered by direction."""
    return h_n.view(2, -1, *h_n.shape[1:])[:, -1]


@PROBES.add(
    what="The rows of h_n ought to be named by their shape; read as (2, num_layers, ...) they are the wrong layers.",
    consequence="The `last layer` then holds an inner layer's state in place of the forward one, of the right shape.",
    way_out="Read h_n.view(num_layers, 2, batch, hidden_size): layers first, then directions.",
    harm="silent",
)
def states_are_layers_first(top: Callable[[Tensor], Tensor] = directions_first) -> Observation:
    output, h_n = a_layer(nn.GRU, 2)(draw(3, 5, 4))
    forward, reverse = top(h_n)
    wrong, inner = apart(forward, output[:, -1, :HIDDEN]), apart(forward, h_n[1])
    right = max(wrong, apart(reverse, output[:, 0, HIDDEN:])) < SAME
    evidence = f"the top layer's forward state is off by {wrong:.2g}, and {inner:.2g} from layer 0's reverse state"
    return observed(wrong > FAR and inner == 0, right, evidence)


@PROBES.add(
    what="With batch_first=True h_0 ought to be batch first, or refused; where batch is 2·num_layers it is misread.",
    consequence="Rows start from each other's states and directions, in batches of that one size.",
    way_out="Give h_0 and read h_n as (2·num_layers, batch, hidden_size) always.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/issues/19675",
)
def batch_first_leaves_states_out(run: Callable[..., Any] = run_layer) -> Observation:
    layer, x, h_0 = a_layer(nn.GRU), draw(2, 5, 4), draw(2, 2, HIDDEN)
    error = apart(run(layer, x, h_0)[0], layer(x, h_0.transpose(0, 1).contiguous())[0])
    evidence = f"h_0 as (batch, 2, hidden_size) with batch = 2 gives outputs that are off by {error:.2g}"
    return observed(error > FAR, error < SAME, evidence)


def one_rate(layer: nn.RNNBase) -> Groups:
    """All parameters in one group."""
    return [{"params": list(layer.parameters())}]


def half_rate_for_biases(layer: nn.RNNBase) -> Groups:
    """The parameters with half the learning rate for both biases."""
    rates = {"weight": RATE, "bias": RATE / 2}
    return [{"params": [value], "lr": rates[name.split("_")[0]]} for name, value in layer.named_parameters()]


def one_bias(layer: nn.RNNBase) -> Groups:
    """The parameters with every bias_hh frozen."""
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(not name.startswith("bias_hh"))
    return one_rate(layer)


def tied_biases(layer: nn.RNNBase) -> Groups:
    """The parameters with both biases of a direction tied into one."""
    for end in ENDS:
        half = nn.Parameter((getattr(layer, f"bias_ih_{end}") + getattr(layer, f"bias_hh_{end}")).detach() / 2)
        setattr(layer, f"bias_ih_{end}", half)
        setattr(layer, f"bias_hh_{end}", half)
    return one_rate(layer)


def trained(prepare: Prepare, optimiser: Callable[..., Any], steps: int, max_norm: float = math.inf) -> nn.RNNBase:
    """The layer after some steps on Σ output²; ``prepare`` gives the optimiser's parameter groups."""
    layer, x = a_layer(), draw(3, 5, 4)
    stepper = optimiser(prepare(layer), lr=RATE)
    for _ in range(steps):
        stepper.zero_grad()
        layer(x)[0].square().sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), max_norm)
        stepper.step()
    return layer


def first_steps(prepare: Prepare) -> list[float]:
    """How far b_ih + b_hh moves in one step of SGD and of Adam, over how far a single bias moves."""
    start = a_layer()
    layers = [[trained(how, optimiser, 1) for how in (prepare, one_bias)] for optimiser in OPTIMISERS]
    pairs = [[sum(getattr(layer, name) - getattr(start, name) for name in BIASES) for layer in pair] for pair in layers]
    return [(two.norm() / one.norm()).item() for two, one in pairs]


def drift(prepare: Prepare, optimiser: Callable[..., Any], max_norm: float = math.inf) -> float:
    """How far outputs are from those of the layer with one bias after 50 steps from equal weights."""
    two, one = (trained(how, optimiser, STEPS, max_norm) for how in (prepare, one_bias))
    return apart(two(draw(3, 5, 4))[0], one(draw(3, 5, 4))[0])


@PROBES.add(
    what="Equal weights ought to train equally; the sum b_ih + b_hh takes both biases' steps, a single bias takes one.",
    consequence="A layer with two biases and one with one (Keras, flax) drift apart from the first step.",
    way_out="Freeze bias_hh (of a GRU only rows r and z), or halve both biases' rate (without clipping or decay).",
    harm="silent",
    topic="two biases",
    upstream="https://github.com/onnx/onnx/issues/1127",
)
def two_biases_step_twice_as_far(prepare: Prepare = one_rate) -> Observation:
    sgd, adam = first_steps(prepare)
    apart_sgd, apart_adam = (drift(prepare, optimiser) for optimiser in OPTIMISERS)
    known = max(abs(sgd - 2), abs(adam - 2)) < SAME and min(apart_sgd, apart_adam) > FAR
    expected = max(abs(sgd - 1), abs(adam - 1), apart_sgd, apart_adam) < SAME
    evidence = f"an LSTM's effective bias moves {sgd:.4f} (SGD) and {adam:.4f} (Adam) times as far as a single one; "
    evidence += f"after {STEPS} steps outputs are {apart_sgd:.2g} and {apart_adam:.2g} apart"
    return observed(known, expected, evidence)


@PROBES.add(
    what="Tying the two biases ought to make them one; the tied one is added twice and gets the gradient of both.",
    consequence="With SGD the effective bias moves further per step than with two biases, not less.",
    way_out="Freeze bias_hh instead (of a GRU only the rows r and z).",
    harm="silent",
    topic="two biases",
)
def tied_biases_step_further_still(prepare: Prepare = tied_biases) -> Observation:
    sgd, adam = first_steps(prepare)
    evidence = f"the effective bias moves {sgd:.4f} times as far as a single one with SGD, {adam:.4f} with Adam"
    return observed(abs(sgd - 4) < SAME and abs(adam - 2) < FAR, max(abs(sgd - 1), abs(adam - 1)) < SAME, evidence)


@PROBES.add(
    what="Halving the biases' learning rate ought to make two biases train as one; the global norm counts both.",
    consequence="Under clipping every weight takes other steps than with one bias.",
    way_out="Freeze bias_hh, or zero its gradient in a hook (of a GRU only rows r and z): exact under clipping too.",
    harm="silent",
    topic="two biases",
)
def clipping_counts_both_biases(prepare: Prepare = half_rate_for_biases) -> Observation:
    free, clipped = (max(drift(prepare, optimiser, bound) for optimiser in OPTIMISERS) for bound in (math.inf, 0.5))
    evidence = f"after {STEPS} steps outputs are {free:.2g} apart without clipping, {clipped:.2g} clipped to norm 0.5"
    return observed(free < SAME and clipped > FAR, max(free, clipped) < SAME, evidence)


def sum_biases(layer: nn.RNNBase, rows: slice = slice(None)) -> None:
    """Move rows of bias_hh into bias_ih."""
    with torch.no_grad():
        for end in ENDS:
            given, moved = (getattr(layer, f"{kind}_{end}")[rows] for kind in ("bias_ih", "bias_hh"))
            given += moved
            moved.zero_()


@PROBES.add(
    what="Adding bias_hh to bias_ih ought to change nothing; in a GRU the reset gate scales the candidate's bias_hh.",
    consequence="A checkpoint converted to one bias (flax.nnx, Keras reset_after=False) gives other numbers.",
    way_out="Add the rows r and z only and keep bias_hh's rows n.",
    harm="silent",
)
def gru_biases_do_not_add(merge: Callable[[nn.RNNBase], None] = sum_biases) -> Observation:
    errors = []
    for cell in (nn.GRU, nn.LSTM):
        layer, x = a_layer(cell), draw(3, 5, 4)
        before = layer(x)[0]
        merge(layer)
        errors.append(apart(layer(x)[0], before))
    gru, lstm = errors
    return observed(gru > FAR and lstm < SAME, max(errors) < SAME, f"a GRU is off by {gru:.2g}, an LSTM by {lstm:.2g}")


@PROBES.add(
    what="A GRU ought to reset the state before the recurrent product (Cho et al. 2014); torch's resets the product.",
    consequence="Weights trained with the paper's equations give other numbers, and there is no option for them.",
    way_out="Write the cell out, as `scratch` does with reset_after=false.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/issues/8153",
)
def gru_resets_after_the_product(run: Callable[..., Any] = run_layer) -> Observation:
    layer, x = a_layer(nn.GRU), draw(3, 5, 4)
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    zero, output = torch.zeros(2, 3, HIDDEN).numpy(), run(layer, x)[0]
    sizes: Any = {
        "cell": "gru",
        "input_size": 4,
        "hidden_size": HIDDEN,
        "num_layers": 1,
        "bias": True,
        "merge": "concat",
    }
    specs = [Specification(**sizes, reset_after=reset_after) for reset_after in (False, True)]
    rights = [Reference(spec, weights, "float64").forward(x.numpy(), None, zero, zero)["output"] for spec in specs]
    before, after = (apart(output, torch.tensor(right)) for right in rights)
    evidence = f"outputs are {before:.2g} from the paper's equations and {after:.2g} from resetting after the product"
    return observed(after < SAME and before > FAR, before < SAME, evidence)


TF32_ERRORS = """
import torch; torch.manual_seed(0)
layer, x = torch.nn.LSTM(512, 512, bidirectional=True).cuda(), torch.randn(64, 32, 512).cuda()
def run(): return layer(x)[0].double()
with torch.no_grad():
    default = run()
    torch.backends.cudnn.allow_tf32 = False
    exact = run()
    layer, x = layer.double(), x.double()
    print(*[(output - run()).abs().max().item() for output in (default, exact)])
"""
"""A program that prints the errors of a float32 LSTM on the GPU, by default and without TF32."""


def errors_on_the_gpu() -> list[float]:
    """The largest error of a float32 LSTM with the settings of a fresh process, and without TF32."""
    done = subprocess.run([sys.executable, "-c", TF32_ERRORS], capture_output=True, text=True, check=True)
    return [float(error) for error in done.stdout.split()]


@PROBES.add(
    what="In float32 a GPU ought to multiply in float32; cuDNN's RNNs take TF32 by default, matmul does not.",
    consequence="Outputs carry 10 bits of mantissa, so a layer and its hand-written equations disagree on a GPU only.",
    way_out="Set torch.backends.cudnn.allow_tf32 = False.",
    harm="silent",
    upstream="https://github.com/pytorch/pytorch/pull/40737",
)
def tf32_is_on_by_default(errors: Callable[[], list[float]] = errors_on_the_gpu) -> Observation:
    if not torch.cuda.is_available():
        return Observation("not applicable", "TF32 is a matter of NVIDIA GPUs; torch sees none here")
    default, exact = errors()
    evidence = f"the error of a float32 LSTM is {default:.2g} by default and {exact:.2g} without TF32"
    return observed(default > 10 * exact, default < 2 * exact, evidence)


def onnx_final_state(x: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """H (2, batch, HIDDEN) of a bidirectional ONNX LSTM by onnx.reference; x is (seq_len, batch, 4), float32."""
    import onnx
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    shapes = {"W": (2, 4 * HIDDEN, 4), "R": (2, 4 * HIDDEN, HIDDEN), "B": (2, 8 * HIDDEN)}
    weights = {name: draw(*shape, dtype=torch.float32).numpy() for name, shape in shapes.items()}
    node = helper.make_node(
        "LSTM", ["X", *weights, "sequence_lens"], ["", "Y_h"], hidden_size=HIDDEN, direction="bidirectional"
    )
    inputs = [
        helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, None),
        helper.make_tensor_value_info("sequence_lens", onnx.TensorProto.INT32, None),
    ]
    output = helper.make_tensor_value_info("Y_h", onnx.TensorProto.FLOAT, None)
    kept = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(helper.make_graph([node], "lstm", inputs, [output], kept))
    return ReferenceEvaluator(model).run(None, {"X": x, "sequence_lens": np.array(lengths, np.int32)})[0]


@PROBES.add(
    what="onnx.reference, the standard's own evaluator, ought to stop each row at sequence_lens; it ignores them.",
    consequence="Held against it, a right export of a ragged batch looks wrong, and one without lengths looks right.",
    way_out="Compare lengths with onnxruntime, or run each row alone and trimmed.",
    harm="silent",
)
def onnx_reference_ignores_lengths(final_state: Callable[..., np.ndarray] = onnx_final_state) -> Observation:
    x = draw(5, 3, 4, dtype=torch.float32).numpy()
    by_length, padded = final_state(x, LENGTHS), onnx_final_state(x, (5, 5, 5))
    rows = [onnx_final_state(x[:length, row : row + 1], (length,)) for row, length in enumerate(LENGTHS)]
    off, moved = (float(np.abs(by_length - other).max()) for other in (np.concatenate(rows, 1), padded))
    evidence = f"h is {off:.2g} from that of each row alone, and {moved:.2g} from that without lengths"
    return observed(off > FAR and moved == 0, off < FAR, evidence)


def in_int8(layer: nn.RNNBase) -> nn.Module:
    """The layer that quantize_dynamic makes of another."""
    from torch.ao.quantization import default_dynamic_qconfig  # here, for it takes a while

    from backends.pytorch.int8 import quantized

    return quantized(layer, default_dynamic_qconfig)


@PROBES.add(
    what="A row's output ought not to depend on the other rows of its batch; quantize_dynamic rounds the activations "
    "of all rows with one scale, so that one large row coarsens every other.",
    consequence="A sentence gets another tag when it is answered together with others, and nothing says so.",
    way_out="Answer rows one by one, or those of like size together; or keep activations in float32, as "
    "`birnn predict --quantize int8` does.",
    harm="silent",
)
def int8_rows_depend_on_their_batch(make: Callable[[nn.RNNBase], nn.Module] = in_int8) -> Observation:
    layer = a_layer(dtype=torch.float32)
    x = draw(3, 5, 4, dtype=torch.float32)
    large = x.clone()
    large[2] *= 100
    with torch.no_grad():
        answer, beside_large = (make(layer)(each)[0][0] for each in (x, large))
        off, moved = apart(answer, layer(x)[0][0]), apart(answer, beside_large)
    evidence = f"row 0 is {off:.2g} off in int8, and {moved:.2g} away when row 2 is 100 times larger"
    return observed(moved > FAR, moved < FAR / 100, evidence)
