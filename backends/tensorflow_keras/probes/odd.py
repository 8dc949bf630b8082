"""Known divergences of Keras in bidirectional RNNs: those of silent_probes.py, then what raises late or is odd."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.layers import GRU, LSTM, Bidirectional

from backends.interface.probe import Observation, observed
from backends.tensorflow_keras.probes.silent import PROBES  # so that those come first
from backends.tensorflow_keras.probes.subject import HIDDEN, MASK, Behaviour, X, filled, raised, run, same


@PROBES.add(
    what="dtype='bfloat16' should work or be refused at once; it is taken, and building the layer raises.",
    consequence="The error names an operation Qr: the default recurrent initializer, orthogonal, has no bfloat16.",
    way_out="Pass another recurrent_initializer, or use the policy mixed_bfloat16, whose weights are float32.",
    harm="late",
    upstream="https://github.com/keras-team/keras/issues/16970",
)
def bfloat16_raises_in_the_initializer(layer: Behaviour = LSTM) -> Observation:
    module = Bidirectional(layer(HIDDEN, dtype="bfloat16"), dtype="bfloat16")
    error = raised(lambda: module.build(X.shape))
    return observed("bfloat16" in error and "Qr" in error, not error, f"building raises {error[:66] or 'nothing'}")


def left_padded_on_gpu() -> np.ndarray:
    """The output of a layer on a GPU for rows that are padded on the left."""
    layer = filled(Bidirectional(LSTM(HIDDEN)))
    return tf.function(lambda x, mask: layer(x, mask=mask))(tf.constant(X), tf.constant(MASK[:, ::-1])).numpy()


@PROBES.add(
    what="A mask that is padded on the left works on a CPU; on a GPU the same model's cuDNN kernel asserts against it.",
    consequence="A model that ran on the CPU fails on a GPU at its first batch with left padding or an empty row.",
    way_out="Pad on the right, or pass use_cudnn=False to the wrapped layer.",
    harm="late",
    upstream="https://github.com/tensorflow/tensorflow/issues/43103",
)
def cudnn_refuses_left_padding(outputs: Behaviour = left_padded_on_gpu) -> Observation:
    if not tf.config.list_physical_devices("GPU"):
        return Observation("not applicable", "no GPU here; without one Keras takes its loop, which has no such limit")
    error = raised(outputs)
    return observed("right-padded" in error, not error, f"raises {error[:90] or 'nothing'}")


# Surprises.


def restored(layer: keras.Layer) -> keras.Layer:
    """A layer made anew from its configuration."""
    return Bidirectional.from_config(layer.get_config())


@PROBES.add(
    what="A layer restored from its configuration should be the same; use_cudnn=False comes back as 'auto'.",
    consequence="A model saved with cuDNN off, for its masks or for export, meets cuDNN again after loading on a GPU.",
    way_out="After loading, set use_cudnn = False on forward_layer and backward_layer.",
    harm="surprise",
    upstream="https://github.com/keras-team/keras/issues/21533",
)
def use_cudnn_is_not_saved(restore: Behaviour = restored) -> Observation:
    layer = Bidirectional(LSTM(HIDDEN, use_cudnn=False))
    before, after = layer.forward_layer.use_cudnn, restore(layer).forward_layer.use_cudnn
    return observed(before is False and after == "auto", after is False, f"use_cudnn was {before}, then {after!r}")


@PROBES.add(
    what="A BiLSTM's states should come as both h, then both c; Keras' flat list is h, c forward, then h, c reverse.",
    consequence="Read or passed in PyTorch's order, a cell state stands for a hidden state, in a shape that fits.",
    way_out="Unpack by name: output, forward_h, forward_c, backward_h, backward_c.",
    harm="surprise",
)
def states_are_flat_by_direction(states: Behaviour = lambda layer: run(layer)[1:]) -> Observation:
    output, *_ = run(Bidirectional(LSTM(HIDDEN)))  # the last outputs are h of both directions
    hidden = [output[:, :HIDDEN], output[:, HIDDEN:]]
    given = states(Bidirectional(LSTM(HIDDEN, return_state=True)))
    places = [next((place for place, state in enumerate(given) if same(state, h)), None) for h in hidden]
    return observed(places == [0, 2], places == [0, 1], f"among {len(given)} states h stands at {places}")


@PROBES.add(
    what="One gate should have one bias, as in Keras' LSTM; a GRU has two, in one variable of shape (2, 3·units).",
    consequence="Their sum moves twice as far per step of SGD, and a bias saved with reset_after=False does not fit.",
    way_out="Freeze one of the two rows, or compare with a framework that has two biases as well.",
    harm="surprise",
    topic="two biases",
)
def gru_bias_moves_twice_as_far(layer: Behaviour = GRU) -> Observation:
    module, rate, gates = filled(layer(HIDDEN)), 0.1, slice(2 * HIDDEN)  # z and r
    bias = module.cell.bias
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(tf.constant(X)))
    before, gradient = bias.numpy(), tf.convert_to_tensor(tape.gradient(loss, bias.value))
    keras.optimizers.SGD(rate).apply([gradient], [bias])
    moved = np.atleast_2d(bias.numpy() - before).sum(0)[gates]  # a gate's whole bias, of one row or two
    times = float(np.median(moved / (-rate * np.atleast_2d(gradient)[0, gates])))
    evidence = f"bias {before.shape}; one step of SGD moves the gates' bias by {times:.4f} of rate × gradient"
    return observed(abs(times - 2) < 0.01, abs(times - 1) < 0.01, evidence)


def with_a_home(home: Path) -> dict[str, str]:
    """The environment variables that give a process its own home."""
    return {"HOME": str(home)}


@PROBES.add(
    what="Importing a library should write nothing; `import keras` makes ~/.keras/keras.json, and takes floatx, "
    "epsilon and the backend from one that is there.",
    consequence="A forgotten file changes the dtype of every program, and where home cannot be written so does one "
    "that any user may put into /tmp/.keras.",
    way_out="Set KERAS_HOME to a folder of the program's own.",
    harm="surprise",
)
def importing_writes_into_home(variables: Behaviour = with_a_home) -> Observation:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
        # The file is written before the backend is imported, whether that works or not; TensorFlow's takes seconds.
        environment = kept | {"KERAS_BACKEND": "numpy"} | variables(home)
        subprocess.run([sys.executable, "-c", "import keras"], env=environment, capture_output=True, check=False)
        written = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return observed(
        ".keras/keras.json" in written, not written, f"in an empty home there is {written or 'nothing'} afterwards"
    )


@PROBES.add(
    what="tanh should be within two spacings of the right answer, as C libraries' are; here it is several off near ±1.",
    consequence="Where tanh saturates its slope, 1 − y², is all rounding, and a small gradient is another one.",
    way_out="Compare such gradients with what rounding alone may change, as birnn verify does.",
    harm="surprise",
)
def tanh_is_several_spacings_off(tanh: Behaviour = tf.tanh) -> Observation:
    x = np.linspace(-10, 10, 20_001, dtype=np.float32)
    right = np.tanh(x.astype(np.float64))
    off = float((np.abs(np.asarray(tanh(x)) - right) / np.spacing(np.abs(right).astype(np.float32))).max())
    return observed(off > 3, off <= 2, f"up to {off:.2f} spacings of float32 off, of {x.size} numbers from −10 to 10")


def kernels_after_quantize() -> dict[str, str]:
    """The dtype of the first kernel of each kind of layer of a model after ``quantize("int8")``."""
    layers = [keras.Input(X.shape[1:]), Bidirectional(LSTM(HIDDEN)), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    with warnings.catch_warnings(action="ignore"):
        model.quantize("int8")
    first = {layer.name.partition("_")[0]: layer.weights for layer in model.layers}
    return {name: next(w.dtype for w in weights if w.name == "kernel") for name, weights in first.items()}


@PROBES.add(
    what='`model.quantize("int8")` ought to quantize a model\'s kernels; those of recurrent layers stay float32, after '
    "a warning.",
    consequence="A model that is mostly an LSTM hardly gets smaller, and its layers compute as before.",
    way_out="Convert it to LiteRT with `tf.lite.Optimize.DEFAULT`, whose kernels of 1024 numbers or more are int8.",
    harm="surprise",
)
def quantize_leaves_recurrent_layers_in_float32(kernels: Behaviour = kernels_after_quantize) -> Observation:
    dtypes = kernels()
    evidence = ", ".join(f"the kernel of {name} is {dtype}" for name, dtype in dtypes.items())
    known = {"bidirectional": "float32", "dense": "int8"}
    return observed(dtypes == known, set(dtypes.values()) == {"int8"}, evidence)
