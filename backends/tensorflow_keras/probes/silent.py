"""Where Keras is silently wrong in bidirectional RNNs, each measured; probes.py goes on with what is late or odd.

Each probe's parameter is the behaviour under test, the small function above it, so that a test can put another in its
place. Sizes are small and pairwise different; the padding of ``X`` is numbers like the rest of it, never zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras.layers import GRU, LSTM, Bidirectional, Masking

from backends.interface.probe import Observation, observed
from backends.tensorflow_keras.layer.layout import load_layer
from backends.tensorflow_keras.probes.subject import (
    BATCH,
    FEATURES,
    HIDDEN,
    MASK,
    PADDING,
    PROBES,
    SAME,
    SEQ_LEN,
    Behaviour,
    X,
    apart,
    filled,
    halves_apart,
    raised,
    run,
    same,
)
from common.cases.seeded import Shape, make_case
from common.judging.yardstick import run_reference
from common.specification import Specification
from common.weights import KINDS, weight_name


def unrolled_outputs() -> np.ndarray:
    """The outputs of a layer with ``unroll=True`` and a mask."""
    return run(Bidirectional(LSTM(HIDDEN, return_sequences=True, unroll=True)))[0]


@PROBES.add(
    what="unroll=True should change the speed alone; with a mask, Bidirectional zeroes real steps of the reverse half.",
    consequence="In a short row, reverse outputs survive only where a step and its mirror image are both real.",
    way_out="Leave unroll off wherever there is a mask, or flip each row by its length and unroll two plain layers.",
    harm="silent",
)
def unrolled_reverse_half_loses_real_steps(outputs: Behaviour = unrolled_outputs) -> Observation:
    right, unrolled = run(Bidirectional(LSTM(HIDDEN, return_sequences=True)))[0], outputs()
    forward, reverse = halves_apart(unrolled, right)
    mirrored = right[..., HIDDEN:] * MASK[:, ::-1, None]  # the mask of forward time laid on reversed time
    lost = int((MASK & ~unrolled[..., HIDDEN:].any(-1)).sum())
    evidence = f"against unroll=False the reverse outputs differ by {reverse:.2g}, the forward ones by {forward:.1g}; "
    evidence += f"{lost} of {MASK.sum()} real steps have reverse outputs of 0"
    as_known = forward < SAME and same(unrolled[..., HIDDEN:], mirrored) and lost > 0
    return observed(as_known, same(unrolled, right), evidence)


def outputs_in_a_graph(mask: np.ndarray) -> np.ndarray:
    """The outputs of a layer in a graph with a mask."""
    layer = filled(Bidirectional(LSTM(HIDDEN, return_sequences=True)))
    return tf.function(lambda x, mask: layer(x, mask=mask))(tf.constant(X), tf.constant(mask)).numpy()


@PROBES.add(
    what="A mask with more steps than the input should be refused; in a graph it shifts the mask of the reverse half.",
    consequence="After cropping the input alone the forward half is right, and the reverse half skips real steps.",
    way_out="Crop the mask with the input; run one batch eagerly, where the same call raises.",
    harm="silent",
)
def longer_mask_shifts_the_reverse_half(outputs: Behaviour = outputs_in_a_graph) -> Observation:
    right, longer = outputs(MASK), np.pad(MASK, ((0, 0), (0, 2)))
    if error := raised(lambda: outputs(longer)):
        return observed(False, True, f"raises {error[:100]}")
    shifted = outputs(longer)
    forward, reverse = halves_apart(shifted, right)
    evidence = f"two more steps in the mask move the forward half by {forward:.1g}, the reverse by {reverse:.2g}"
    return observed(forward < SAME < reverse, same(shifted, right), evidence)


@PROBES.add(
    what="A mask should travel with its tensor; arithmetic between Masking and the RNN drops it.",
    consequence="After `x * scale` or `x + position` the padding is read as steps, and the reverse half starts there.",
    way_out="Use layers that keep masks (Rescaling, Dense, Dropout), or pass mask= to the RNN yourself.",
    harm="silent",
    upstream="https://github.com/keras-team/keras/issues/18416",
)
def arithmetic_drops_the_mask(halve: Behaviour = lambda x: x * 0.5) -> Observation:
    layer, padded = Bidirectional(LSTM(HIDDEN)), tf.constant(np.where(PADDING[..., None], np.float32(0), X))
    right, without = run(layer, padded * 0.5)[0], run(layer, padded * 0.5, None)[0]
    output = run(layer, halve(Masking()(padded)), None)[0]
    off = apart(output, right), apart(output, without)
    evidence = f"outputs off by {off[0]:.2g}, and by {off[1]:.1g} from those without a mask"
    return observed(same(output, without), same(output, right), evidence)


def loss_and_gradients(x: np.ndarray) -> list[np.ndarray]:
    """The sum of a masked layer's outputs, and its gradients by the input and the variables."""
    layer, variable = filled(Bidirectional(LSTM(HIDDEN, return_sequences=True))), tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(variable, mask=tf.constant(MASK)))
    gradients = tape.gradient(loss, [variable, *(weight.value for weight in layer.trainable_variables)])
    return [np.asarray(part) for part in (loss, *gradients)]


@PROBES.add(
    what="Masked steps should not count; with NaN in the padding the loss is right and every gradient holds NaN.",
    consequence="One step of the optimizer turns the whole model into NaN, after a loss that looked healthy.",
    way_out="Overwrite the padding with zeros before the layer: the mask selects results, it does not skip work.",
    harm="silent",
    upstream="https://github.com/tensorflow/tensorflow/issues/38349",
)
def nan_in_the_padding_reaches_gradients(run_it: Behaviour = loss_and_gradients) -> Observation:
    (right, *_), (loss, *gradients) = run_it(X), run_it(np.where(PADDING[..., None], np.float32(np.nan), X))
    broken = sum(bool(np.isnan(gradient).any()) for gradient in gradients)
    evidence = f"the loss changes by {apart(loss, right):.1g}; {broken} of {len(gradients)} gradients hold NaN"
    return observed(same(loss, right) and broken > 0, same(loss, right) and broken == 0, evidence)


def gru_with(variables: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The last output of a float64 GRU with these variables."""
    layer = GRU(HIDDEN, dtype="float64")
    layer.build(x.shape)
    layer.set_weights(variables)
    return layer(x).numpy()


@PROBES.add(
    what="A GRU's gates should lie r, z, n as in PyTorch, cuDNN, MXNet and Flax; Keras has z, r, n, in equal shapes.",
    consequence="Weights that are only transposed load without complaint, and the two gates have changed places.",
    way_out="Swap the first two thirds of the kernel, the recurrent kernel and both rows of the bias.",
    harm="silent",
    upstream="https://github.com/keras-team/keras/issues/8720",
)
def gru_gates_lie_in_another_order(final_state: Behaviour = gru_with) -> Observation:
    spec = Specification(cell="gru", input_size=FEATURES, hidden_size=HIDDEN, num_layers=1, bias=True, merge="concat")
    case = make_case("gates", spec, Shape(BATCH, SEQ_LEN), seed=0, with_states=False, with_cotangents=False, source="")
    right = run_reference(case, np.float64)["h_n"][0]
    w_ih, w_hh, b_ih, b_hh = (case.weights[weight_name(kind, 0, 0)] for kind in KINDS)
    off = apart(final_state([w_ih.T, w_hh.T, np.stack([b_ih, b_hh])], case.x), right)
    off_swapped = apart(final_state(list(load_layer(spec, case.weights, 0, 0).values()), case.x), right)
    evidence = f"off the float64 reference by {off:.2g} loaded as r, z, n, by {off_swapped:.1g} as z, r, n"
    return observed(off_swapped < SAME < off, off < SAME, evidence)


@PROBES.add(
    what="Too many initial states should be refused; a bidirectional GRU reads the first of each half of the list.",
    consequence="Given h_0 of two stacked layers, the reverse half starts from the second layer's forward state.",
    way_out="Pass exactly two states, forward and reverse, to each Bidirectional GRU.",
    harm="silent",
)
def extra_initial_states_are_dropped(layer: Behaviour = lambda: Bidirectional(GRU(HIDDEN))) -> Observation:
    four = list(np.random.default_rng(1).normal(size=(4, BATCH, HIDDEN)).astype(np.float32))
    if error := raised(lambda: run(layer(), initial_state=four)):
        return observed(False, True, f"raises {error[:100]}")
    of_four, first_two, of_halves = (run(layer(), initial_state=chosen)[0] for chosen in (four, four[:2], four[::2]))
    off, other = apart(of_four, of_halves), apart(of_four, first_two)
    evidence = f"four states given; off by {off:.1g} from a run with states 0 and 2, by {other:.2g} with 0 and 1"
    return observed(same(of_four, of_halves), False, evidence)


@PROBES.add(
    what="Bidirectional(layer, weights=…) should start from those weights; the argument is taken and never used.",
    consequence="A model made from pretrained weights starts from random ones.",
    way_out="Build the layer and call set_weights: forward kernel, recurrent kernel, bias, then the backward ones.",
    harm="silent",
    upstream="https://github.com/keras-team/keras/issues/8957",
)
def weights_argument_is_ignored(wrap: Behaviour = Bidirectional) -> Observation:
    given = filled(Bidirectional(LSTM(HIDDEN))).get_weights()
    layer = wrap(LSTM(HIDDEN), weights=given)
    layer.build(X.shape)
    equal = sum(same(one, other) for one, other in zip(layer.get_weights(), given, strict=True))
    return observed(equal == 0, equal == len(given), f"{equal} of {len(given)} variables have the values given")


@PROBES.add(
    what="Wrapping a trained layer should keep its weights; Bidirectional copies its configuration and draws new ones.",
    consequence="A pretrained forward half is lost without a word.",
    way_out="After building, copy them: wrapper.forward_layer.set_weights(layer.get_weights()).",
    harm="silent",
)
def wrapping_a_layer_discards_its_weights(wrap: Behaviour = Bidirectional) -> Observation:
    trained = filled(LSTM(HIDDEN))
    wrapper = wrap(trained)
    wrapper.build(X.shape)
    off = apart(trained.get_weights()[0], wrapper.forward_layer.get_weights()[0])
    return observed(off > SAME, off < SAME, f"the wrapped kernel differs from the layer's by {off:.2g}")


@PROBES.add(
    what="A float64 layer should give float64 inside Bidirectional; the wrapper casts input and output to float32.",
    consequence="The states come back as float64, so the run looks exact and is not.",
    way_out="Give dtype to both: Bidirectional(LSTM(…, dtype='float64'), dtype='float64').",
    harm="silent",
)
def wrapper_casts_its_float64_layers(wrap: Behaviour = Bidirectional) -> Observation:
    x, layer = X.astype(np.float64) + 1e-9, LSTM(HIDDEN, return_state=True, dtype="float64")
    (_, right, _), (output, h_n, *_) = run(layer, x), run(wrap(layer), x)
    evidence = f"output {output.dtype}; states {h_n.dtype}, off by {apart(h_n, right):.1g} from the layer alone"
    exact = output.dtype == np.float64 and apart(h_n, right) < 1e-14
    return observed(output.dtype == np.float32 and h_n.dtype == np.float64 and not exact, exact, evidence)


@PROBES.add(
    what="float64 input should give float64 output; a default layer casts it to float32.",
    consequence="What is reported as double precision has the errors of single precision.",
    way_out="Set dtype='float64' on every layer and on Bidirectional, or keras.config.set_floatx('float64').",
    harm="silent",
)
def float64_input_is_cut_to_float32(layer: Behaviour = LSTM) -> Observation:
    dtype = run(layer(HIDDEN), X.astype(np.float64))[0].dtype
    return observed(dtype == np.float32, dtype == np.float64, f"float64 input gives {dtype} output")


@PROBES.add(
    what="The two directions should start from different weights; under a seeded initializer they start equal.",
    consequence="Both halves begin with the same kernel in just the runs that were meant to be repeatable.",
    way_out="Pass a backward_layer with its own seed, or seed with keras.utils.set_random_seed instead.",
    harm="silent",
)
def seeded_initializer_makes_the_halves_equal(wrap: Behaviour = Bidirectional) -> Observation:
    layer = wrap(LSTM(HIDDEN, kernel_initializer=keras.initializers.GlorotUniform(seed=1)))
    layer.build(X.shape)
    off = apart(layer.forward_layer.get_weights()[0], layer.backward_layer.get_weights()[0])
    return observed(off == 0, off > SAME, f"forward and backward kernel differ by {off:.2g}")


def backwards(x: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The output of a layer that reads time from its end, and the mask that Keras puts on it."""
    output = filled(GRU(HIDDEN, go_backwards=True, return_sequences=True))(x)
    return output.numpy(), np.asarray(output._keras_mask)


@PROBES.add(
    what="Outputs and mask should be in the input's time; go_backwards reverses the outputs and leaves the mask.",
    consequence="The next layer takes padding for steps and steps for padding; joined to a forward layer, times mix.",
    way_out="Use Bidirectional, or flip the outputs by keras.ops.flip(…, axis=1) and pass the mask on yourself.",
    harm="silent",
    upstream="https://github.com/keras-team/keras/issues/6022",
)
def go_backwards_reverses_outputs_but_not_the_mask(layer: Behaviour = backwards) -> Observation:
    output, mask = layer(Masking()(tf.constant(np.where(PADDING[..., None], np.float32(0), X))))
    real = output.any(-1)  # a GRU's outputs are 0 only before its first real step
    evidence = f"{(mask & ~real).sum()} empty steps are marked as real and {(real & ~mask).sum()} real ones as padding"
    reversed_time = bool((real == MASK[:, ::-1]).all())
    return observed(reversed_time and bool((mask == MASK).all()), bool((mask == real).all()), evidence)


@PROBES.add(
    what="Outputs past the length should be 0, as in Bidirectional; a single layer repeats its last real output there.",
    consequence="Means, maxima and sums over time count the last step once for every padded one.",
    way_out="Pass zero_output_for_mask=True to the layer, or multiply the outputs by the mask.",
    harm="silent",
    upstream="https://github.com/tensorflow/tensorflow/issues/49738",
)
def single_layer_repeats_its_last_output(layer: Behaviour = LSTM) -> Observation:
    output = run(layer(HIDDEN, return_sequences=True))[0]
    last = output[np.arange(BATCH), MASK.sum(1) - 1]
    repeated = np.where(PADDING[..., None], last[:, None], output)
    largest = float(np.abs(output[PADDING]).max())
    evidence = f"outputs up to {largest:.2g} past the length, {apart(output, repeated):.1g} from the last real output"
    return observed(largest > SAME and same(output, repeated), largest == 0, evidence)


@PROBES.add(
    what="A constant bias_initializer should fill the bias; unit_forget_bias, on by default, sets one gate to 1.",
    consequence="An LSTM set up like another framework's starts from other biases in one gate of four.",
    way_out="Pass unit_forget_bias=False whenever you pass bias_initializer.",
    harm="silent",
)
def unit_forget_bias_overrides_the_initializer(layer: Behaviour = LSTM) -> Observation:
    module = layer(HIDDEN, bias_initializer=keras.initializers.Constant(5.0))
    module.build(X.shape)
    i, f, g, o = np.split(module.get_weights()[2], 4)
    rest = bool((np.stack([i, g, o]) == 5).all())
    return observed(rest and bool((f == 1).all()), rest and bool((f == 5).all()), f"asked for 5; forget gate {f[0]:g}")


# Errors that come late or in the wrong place.


def joined(parts: Callable[..., list[tf.Tensor]], *arguments: tf.Tensor) -> tf.Tensor:
    """The parts side by side, eagerly."""
    return tf.concat(parts(*arguments), axis=2)


def joined_by_xla(parts: Callable[..., list[tf.Tensor]], *arguments: tf.Tensor) -> tf.Tensor:
    """The parts side by side, compiled by XLA."""
    return tf.function(joined, jit_compile=True)(parts, *arguments)


@PROBES.add(
    what="jit_compile=True should change the speed alone; on a CPU, some products joined by tf.concat come out wrong.",
    consequence="A GRU's gradients written by hand are wrong at one shape and dtype, and right at others.",
    way_out="Join outside of what XLA compiles, and hold compiled results against uncompiled ones at your own sizes.",
    harm="silent",
)
def xla_joins_products_wrongly(join: Behaviour = joined_by_xla) -> Observation:
    def parts(r: tf.Tensor, z: tf.Tensor, n: tf.Tensor, h: tf.Tensor) -> list[tf.Tensor]:
        return [r * n, z * (1 - z), n * h]

    arguments = [tf.constant(part) for part in np.random.default_rng(0).normal(size=(4, 6, 4, 5))]  # float64
    off = apart(join(parts, *arguments), joined(parts, *arguments))
    evidence = f"three products, float64 of (6, 4, 5), joined along the last axis: off by {off:.2g}"
    return observed(off > SAME, off < 1e-12, evidence)


def pulled_back(cotangents: np.ndarray) -> np.ndarray:
    """The gradient of Σ cotangents·tanh(x) by x."""
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.tanh(x)
    return tape.gradient(y, x, tf.constant(cotangents)).numpy()


@PROBES.add(
    what="Gradients below 1.2e-38 should be what float32 holds of them; on a CPU subnormal numbers are taken for 0.",
    consequence="Small gradients vanish earlier than in PyTorch and MXNet, and agree with neither.",
    way_out="Scale the loss up and the gradients down, or compute in float64.",
    harm="silent",
    upstream="https://github.com/tensorflow/tensorflow/issues/11902",
)
def subnormal_gradients_are_flushed_to_0(gradients: Behaviour = pulled_back) -> Observation:
    if tf.config.list_physical_devices("GPU"):
        return Observation("not applicable", "needs a CPU alone")
    right = (1e-39 * (1 - np.tanh(X.astype(np.float64)) ** 2)).astype(np.float32)
    zeros = int((gradients(np.full_like(X, 1e-39)) == 0).sum())
    evidence = f"{zeros} of {X.size} gradients between {right.min():.1g} and {right.max():.1g} are 0"
    return observed(zeros == X.size, zeros == 0, evidence)
