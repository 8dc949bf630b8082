"""Where JAX and Flax are silently wrong in bidirectional RNNs, measured in float32; probes.py goes on with the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from backends.interface.layer import Arrays
from backends.interface.probe import Observation, observed
from backends.jax_flax.layer.layout import canonical_gradients, linen_denses, load_cell, nnx_denses
from backends.jax_flax.layer.lengths import Tree, step_mask
from backends.jax_flax.layer.native import DIRECTIONS, NativeLinen, NativeNnx
from backends.jax_flax.probes.subject import (
    BATCH,
    C_0,
    CLOSE,
    FAR,
    FULL,
    GROWTH,
    H_0,
    HIDDEN_SIZE,
    INPUT_SIZE,
    LENGTHS,
    LONG,
    PADDING,
    PROBES,
    SEQ_LEN,
    Gradients,
    Run,
    X,
    apart,
    attempt,
    flax_bidirectional,
    linen_parameters,
    reference,
    run_linen,
    specification,
    weights_of,
)
from common.reference import Reference
from common.specification import NUM_DIRECTIONS, Cell


@PROBES.add(
    what="A length of 0 should leave the state at h_0; flax's final state is the one after all of the padding.",
    consequence="An empty sequence gets a state made of whatever the padding holds, and gradients flow into it.",
    way_out="Select the initial state with jnp.where(lengths > 0, final, initial).",
    harm="silent",
)
def length_0_runs_over_all_the_padding(run: Run = flax_bidirectional) -> Observation:
    h_n = run(X, np.array([5, 3, 0], np.int32), H_0)["h_n"][:, 2]
    from_initial, from_padding = apart(h_n, H_0[:, 2]), apart(h_n, reference("gru", X, None, H_0)["h_n"][:, 2])
    evidence = f"h_n of the empty row differs by {from_initial:.2g} from h_0 and by {from_padding:.2g} from a full run"
    return observed(from_initial > FAR and from_padding < CLOSE, from_initial < CLOSE, evidence)


@PROBES.add(
    what="A length greater than seq_len should be an error or mean seq_len; flax rotates the reverse half's time.",
    consequence="An off-by-one in the lengths leaves the forward half right and makes the reverse half wrong.",
    way_out="Check lengths on the host, before jit: 1 <= lengths <= seq_len.",
    harm="silent",
)
def length_past_the_end_rotates_reverse_time(run: Run = flax_bidirectional) -> Observation:
    output, error = attempt(run, X, FULL + 1, H_0)
    if error:
        return observed(False, True, f"raised {error}")
    forward, reverse = (apart(output["h_n"][way], reference("gru", X, None, H_0)["h_n"][way]) for way in (0, 1))
    evidence = f"no error; h_n is off by {forward:.2g} forward and by {reverse:.2g} in reverse, against a full run"
    return observed(reverse > FAR, max(forward, reverse) < CLOSE, evidence)


def masked_gradients(cell: Cell, x: np.ndarray, lengths: np.ndarray, growth: float = 1.0) -> Arrays:
    """The sum of linen's output, zeroed past the lengths, as "loss", and its gradients; recurrent weights are
    ``growth`` times the usual.
    """

    def loss(parameters: Tree) -> jax.Array:
        carries = tuple(zip(C_0, H_0, strict=True)) if cell == "lstm" else tuple(H_0)
        _, output = run_linen(cell, parameters, x, lengths, carries)
        return jnp.where(step_mask(jnp.asarray(lengths), x.shape[1]), output, 0).sum()

    spec, weights = specification(cell), weights_of(cell)
    weights |= {name: growth * value for name, value in weights.items() if name.startswith("weight_hh")}
    value, gradients = jax.value_and_grad(loss)(linen_parameters(cell, weights))
    return canonical_gradients(spec, linen_denses(spec), gradients[DIRECTIONS[0]]["cell"], 0, 0) | {
        "loss": np.asarray(value)
    }


lstm_gradients: Gradients = partial(masked_gradients, "lstm")
growing_gradients: Gradients = partial(masked_gradients, "rnn_relu", growth=GROWTH)


@PROBES.add(
    what="With the output masked past the lengths, NaN in the padding should not matter; the gradients become NaN.",
    consequence="A loss that is right and finite is followed by an update that makes the weights NaN.",
    way_out="Zero the padding of x with jnp.where before the layer, not only the output after it.",
    harm="silent",
    upstream="https://github.com/jax-ml/jax/issues/347",
)
def nan_in_the_padding_reaches_gradients(gradients: Gradients = lstm_gradients) -> Observation:
    finite, broken = (np.where(PADDING[..., None], np.float32(fill), X) for fill in (9, np.nan))
    by_finite, by_broken = (gradients(x, LENGTHS) for x in (finite, broken))
    bad, good = (float(np.isnan(each["weight_hh_l0"]).mean()) for each in (by_broken, by_finite))
    same_loss, same = (apart(by_finite[name], by_broken[name]) < CLOSE for name in ("loss", "weight_hh_l0"))
    evidence = f"{bad:.0%} of weight_hh's gradient is NaN, {good:.0%} with finite padding; the same loss: {same_loss}"
    return observed(bad > 0 == good and same_loss, same, evidence)


@PROBES.add(
    what="Zeros of padding behind the rows should not matter; a ReLU's state grows there, and gradients become NaN.",
    consequence="A model learns on short batches and gets NaN from the first batch with a long row.",
    way_out="Hold the state past the lengths with jnp.where, as jax/scratch does.",
    harm="silent",
)
def relu_overflows_in_the_padding(gradients: Gradients = growing_gradients) -> Observation:
    short = np.where(PADDING[..., None], np.float32(0), X)
    long = np.pad(short, ((0, 0), (0, LONG), (0, 0)))
    by_short, by_long = (gradients(x, LENGTHS) for x in (short, long))
    bad, good = (float(np.isnan(each["weight_hh_l0"]).mean()) for each in (by_long, by_short))
    size = np.abs(by_short["weight_hh_l0"]).max()
    same_loss, same = (
        apart(by_short[name], by_long[name]) < CLOSE * max(np.abs(by_short[name]).max(), size)
        for name in ("loss", "weight_hh_l0")
    )
    evidence = f"{bad:.0%} of weight_hh's gradient is NaN, {good:.0%} without padding; the same loss: {same_loss}"
    return observed(bad > 0 == good and same_loss, same, evidence)


@PROBES.add(
    what="Outputs past a length should be 0, as after packing in PyTorch; flax hands out states run over the padding.",
    consequence="A sum, mean or maximum over time mixes in the padding.",
    way_out="Mask the output: jnp.where((jnp.arange(seq_len) < lengths[:, None])[..., None], output, 0).",
    harm="silent",
    upstream="https://github.com/google/flax/pull/2604",
)
def output_past_the_length_is_live(run: Run = flax_bidirectional) -> Observation:
    output, right = run(X, LENGTHS, H_0)["output"], reference("gru", X, LENGTHS, H_0)["output"]
    past, within = np.abs(output[PADDING]).max(), apart(output[~PADDING], right[~PADDING])
    evidence = f"up to {past:.2g} past the lengths; within them the output is right to {within:.1g}"
    return observed(past > FAR and within < CLOSE, past == 0 and within < CLOSE, evidence)


def nnx_gru(x: np.ndarray, weights: Arrays) -> np.ndarray:
    """nnx.Bidirectional of nnx.GRUCells from zero states, with all of the canonical weights that the cells can hold."""
    spec = specification("gru", bias=False)
    tree: dict[str, Any] = {}
    for name, suffix, way in zip(DIRECTIONS, ("", "_reverse"), range(NUM_DIRECTIONS), strict=True):
        cell = load_cell(spec, nnx_denses(spec), weights, 0, way)
        first, second = (weights[f"{kind}_l0{suffix}"] for kind in ("bias_ih", "bias_hh"))
        cell["dense_i"]["bias"] = first + np.where(np.arange(len(second)) < 2 * HIDDEN_SIZE, second, 0)  # r, z, not n
        tree[name] = {"cell": cell}
    parameters, initial = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), (tree, tuple(np.zeros_like(H_0))))
    module = NativeNnx.build_layer(spec, 0, jnp.float32)
    return np.asarray(NativeNnx.apply_layer(module, parameters, jnp.asarray(x), initial_carry=initial))


@PROBES.add(
    what="nnx.GRUCell should be linen's and PyTorch's GRU; it lacks b_hn, which its own docstring has.",
    consequence="Weights ported from linen, PyTorch or Keras lose a bias, and a trained model answers differently.",
    way_out="Replace cell.dense_h by an nnx.Linear of the same shape with a bias; that is exact.",
    harm="silent",
    upstream="https://github.com/google/flax/issues/5594",
)
def nnx_gru_lacks_b_hn(run: Callable[[np.ndarray, Arrays], np.ndarray] = nnx_gru) -> Observation:
    errors, weights = [], weights_of("gru")
    for kept in (1, 0):
        for name in ("bias_hh_l0", "bias_hh_l0_reverse"):
            weights[name] = np.where(np.arange(3 * HIDDEN_SIZE) < 2 * HIDDEN_SIZE, 1, kept) * weights[name]
        right = Reference(specification("gru"), weights, np.float64).forward(X, None, 0 * H_0, 0 * H_0)["output"]
        errors.append(apart(run(X, dict(weights)), right))
    evidence = f"the output is off by {errors[0]:.2g} with PyTorch's weights, and by {errors[1]:.1g} with b_hn = 0"
    return observed(errors[0] > FAR and errors[1] < CLOSE, max(errors) < CLOSE, evidence)


@PROBES.add(
    what="An LSTM's state should be (h, c), as in PyTorch, Keras and the literature; flax's carry is (c, h).",
    consequence="A ported state is accepted, both being of one shape, and every output is wrong.",
    way_out="Swap the two at the border, in both directions.",
    harm="silent",
)
def lstm_carry_is_c_then_h(
    run: Callable[[Any, Any], Any] = lambda *states: run_linen(
        "lstm", linen_parameters("lstm"), X, FULL, tuple(zip(*states, strict=True))
    )[1],
) -> Observation:
    output = run(H_0, C_0)
    off, swapped = (apart(output, reference("lstm", X, None, *given)["output"]) for given in ((H_0, C_0), (C_0, H_0)))
    evidence = f"given (h, c) the output is off by {off:.2g}; it is right to {swapped:.1g} for the two swapped"
    return observed(off > FAR and swapped < CLOSE, off < CLOSE, evidence)


def time_major_inside(x: np.ndarray) -> np.ndarray:
    """linen.Bidirectional of two time-major RNNs; x and the output are (seq_len, batch, features)."""
    module = NativeLinen.build_layer(specification("gru"), 0, jnp.float32)
    forward, backward = (rnn.clone(time_major=True) for rnn in (module.forward_rnn, module.backward_rnn))
    return np.asarray(linen.Bidirectional(forward, backward).apply({"params": linen_parameters("gru")}, x))


@PROBES.add(
    what="RNN(time_major=True) should stay so inside Bidirectional; Bidirectional's own False overrides it.",
    consequence="The network runs over the batch instead of over time, with output of the right shape.",
    way_out="Set time_major on Bidirectional; it passes the option on.",
    harm="silent",
)
def bidirectional_overrides_time_major(run: Callable[[np.ndarray], np.ndarray] = time_major_inside) -> Observation:
    zeros = np.zeros((NUM_DIRECTIONS, SEQ_LEN, HIDDEN_SIZE))
    x = X.swapaxes(0, 1)  # (batch, seq_len, input_size) to (seq_len, batch, input_size)
    right = reference("gru", X, None, zeros[:, :BATCH], zeros[:, :BATCH])["output"].swapaxes(0, 1)
    off, over_batch = (apart(run(x), other) for other in (right, reference("gru", x, None, zeros, zeros)["output"]))
    evidence = f"the output is off by {off:.2g}, and differs by {over_batch:.1g} from a run over the batch axis"
    return observed(off > FAR and over_batch < CLOSE, off < CLOSE, evidence)


def reverse_half(x: np.ndarray) -> np.ndarray:
    """linen.RNN(reverse=True) on x, from zero states."""
    module = NativeLinen.build_layer(specification("gru"), 0, jnp.float32).backward_rnn.clone(reverse=True)
    return np.asarray(module.apply({"params": linen_parameters("gru")[DIRECTIONS[1]]}, x))


@PROBES.add(
    what="RNN(reverse=True) should give its output in the order of the input; it gives it in reversed time.",
    consequence="A bidirectional layer made by hand joins step t forward with step T - 1 - t in reverse.",
    way_out="Pass keep_order=True as well, or use Bidirectional, which does.",
    harm="silent",
)
def reverse_output_is_in_reversed_time(run: Callable[[np.ndarray], np.ndarray] = reverse_half) -> Observation:
    right = reference("gru", X, None, 0 * H_0)["output"][..., HIDDEN_SIZE:]
    off, flipped = apart(run(X), right), apart(run(X), right[:, ::-1])  # time reversed
    evidence = f"the output is off by {off:.2g} in the order of the input, and by {flipped:.1g} in reversed time"
    return observed(off > FAR and flipped < CLOSE, off < CLOSE, evidence)


@PROBES.add(
    what="With PyTorch's weights flax should train like PyTorch; its LSTM has one bias where PyTorch adds two.",
    consequence="A step of SGD moves flax's effective bias half as far, so equal weights part after the first update.",
    way_out="Freeze one of PyTorch's biases at 0, or double the learning rate of flax's (exact for SGD).",
    harm="silent",
    topic="two biases",
)
def one_bias_moves_half_as_far(gradients: Gradients = lstm_gradients) -> Observation:
    network = Reference(specification("lstm"), weights_of("lstm"), np.float64)
    d_output = np.where(PADDING[..., None], 0.0, np.ones_like(network.forward(X, LENGTHS, H_0, C_0)["output"]))
    two = network.backward(d_output, 0 * H_0, 0 * H_0)
    ratios = (two["grad.bias_ih_l0"] + two["grad.bias_hh_l0"]) / gradients(X, LENGTHS)["bias_ih_l0"]
    evidence = f"a step moves two biases together {ratios.min():.4f} to {ratios.max():.4f} times as far as flax's one"
    return observed(apart(ratios, 2) < 1e-3, apart(ratios, 1) < 1e-3, evidence)


@PROBES.add(
    what="nnx.OptimizedLSTMCell should start as LSTMCell does, each gate orthogonal; only its gates joined are.",
    consequence="Recurrent kernels start at half the norm, so the two cells, and linen's and nnx's, train differently.",
    way_out="Pass a recurrent_kernel_init that joins one orthogonal matrix for each gate.",
    harm="silent",
)
def joined_recurrent_kernel_starts_at_half_the_norm(
    cell: Callable[[int], Any] = lambda units: nnx.OptimizedLSTMCell(INPUT_SIZE, units, rngs=nnx.Rngs(0)),
) -> Observation:
    gates = jnp.split(cell(32).dense_h.kernel[...], 4, axis=1)
    norms = [np.linalg.norm(gate) / np.sqrt(len(gate)) for gate in gates]
    evidence = f"the gates' norms over that of an orthogonal matrix are {', '.join(f'{norm:.2f}' for norm in norms)}"
    return observed(all(0.4 < norm < 0.6 for norm in norms), apart(norms, 1) < CLOSE, evidence)


@PROBES.add(
    what="A float64 array should stay float64; without jax_enable_x64, jnp.asarray makes it float32 and says nothing.",
    consequence="A check meant to be in float64 runs in float32, and its errors are float32's.",
    way_out='Call jax.config.update("jax_enable_x64", True) before the first array.',
    harm="silent",
    upstream="https://docs.jax.dev/en/latest/default_dtypes.html",
)
def float64_becomes_float32(asarray: Callable[[np.ndarray], Any] = jnp.asarray) -> Observation:
    with jax.enable_x64(False):
        array = np.asarray(asarray(np.array([1 / 3])))
    evidence = f"jnp.asarray of float64 is {array.dtype}; 1/3 is off by {apart(array, 1 / 3):.1g}"
    return observed(array.dtype == np.float32, array.dtype == np.float64, evidence)


def ran(cell: Callable[[], Any], dtype: Any = np.float32) -> tuple[Any, str]:
    """The output's dtype, or None and the error, of an RNN of a new cell, linen's or nnx's, on x in ``dtype``."""

    def run() -> Any:
        made, x = cell(), jnp.asarray(X.astype(dtype))
        if isinstance(made, linen.Module):
            return linen.RNN(made).init_with_output(jax.random.key(0), x)[0].dtype
        return nnx.RNN(made)(x).dtype

    with jax.enable_x64(True):
        return attempt(run)


@PROBES.add(
    what="An nnx.SimpleCell should compute in its input's dtype or refuse it, as nnx's others; it computes in float32.",
    consequence="A float64 input is cut to float32 silently.",
    way_out="Pass dtype and param_dtype both.",
    harm="silent",
)
def nnx_simple_cell_cuts_float64(
    cell: Callable[[], Any] = lambda: nnx.SimpleCell(INPUT_SIZE, HIDDEN_SIZE, rngs=nnx.Rngs(0)),
) -> Observation:
    dtype, error = ran(cell, np.float64)
    return observed(dtype == np.float32, dtype == np.float64, error or f"float64 in, {dtype} out")


@PROBES.add(
    what="A float32 product should be a float32 product; on recent GPUs and on TPUs JAX rounds its inputs first.",
    consequence="Accelerator and CPU differ by more than float32's rounding, with the same weights and input.",
    way_out='Call jax.config.update("jax_default_matmul_precision", "highest").',
    harm="silent",
    upstream="https://github.com/jax-ml/jax/issues/7010",
)
def float32_products_are_rounded_on_accelerators(
    product: Callable[[Any, Any], Any] = lambda a, b: jnp.matmul(a, b, precision="default"),
) -> Observation:
    if jax.default_backend() == "cpu":
        return Observation("not applicable", "no accelerator here")
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    right, plain = a.astype(np.float64) @ b, a @ b
    ratio = apart(product(a, b), right) / apart(plain, right)
    return observed(ratio > 50, ratio < 10, f"the error is {ratio:.3g} times NumPy's in float32")


def pulled_back(cotangents: np.ndarray) -> np.ndarray:
    """The gradient of Σ cotangents·tanh(x) by x."""
    return np.asarray(jax.vjp(jnp.tanh, jnp.asarray(X))[1](jnp.asarray(cotangents))[0])


@PROBES.add(
    what="Gradients below 1.2e-38 should be what float32 holds of them; XLA on a CPU takes subnormal numbers for 0.",
    consequence="Small gradients vanish earlier than in PyTorch and MXNet, and agree with neither.",
    way_out="Scale the loss up and the gradients down, or compute in float64.",
    harm="silent",
    upstream="https://github.com/jax-ml/jax/issues/16200",
)
def subnormal_gradients_are_flushed_to_0(gradients: Callable[[np.ndarray], np.ndarray] = pulled_back) -> Observation:
    if jax.default_backend() != "cpu":
        return Observation("not applicable", "needs a CPU backend")
    right = (1e-39 * (1 - np.tanh(X.astype(np.float64)) ** 2)).astype(np.float32)
    zeros = int((gradients(np.full_like(X, 1e-39)) == 0).sum())
    evidence = f"{zeros} of {X.size} gradients between {right.min():.1g} and {right.max():.1g} are 0"
    return observed(zeros == X.size, zeros == 0, evidence)
