"""What a script of Keras on TensorFlow alone is made of."""

from __future__ import annotations

from string import Template

from common.cases.fuzzed import Draw

LAYERS = {"rnn_tanh": "SimpleRNN", "rnn_relu": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
"""Keras' layers by cell."""
IMPORTS = """import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file"""
"""The script's imports."""
RUN = Template("""dtype, sizes, kinds = "$dtype", $sizes, $kinds
ends = ("", "_reverse")[: len(sizes)]
order = $order  # of the gates, canonical to Keras', and back


def tensor(value):
    return tf.constant(value.astype(tf.as_dtype(dtype).as_numpy_dtype))


def reordered(value):
    gates = np.split(value, len(order))
    return np.concatenate([gates[i] for i in order])


def keras_layout(k):
    for end in ends:
        kernel, recurrent, *biases = (reordered(weights[f"{kind}_l{k}{end}"]) for kind in kinds)
        yield from (kernel.T, recurrent.T)  # (gates·units, in) to (in, gates·units)
        if biases:
            yield np.stack(biases) if $two_biases else biases[0] + biases[1]


def canonical_layout(k, gradients):
    gradients = iter(gradients)
    for end in ends:
        own = [next(gradients).T, next(gradients).T]
        if len(kinds) > 2:
            bias = next(gradients)
            own += list(bias) if $two_biases else [bias, bias]
        yield from ((f"grad.{kind}_l{k}{end}", reordered(value)) for kind, value in zip(kinds, own))


layers, width = [], x.shape[-1]
for k in $layers:
    options = {"return_sequences": True, "return_state": True, "use_bias": $bias, "dtype": dtype$options}
    options |= {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    halves = [keras.layers.$layer(units, go_backwards=i == 1, **options) for i, units in enumerate(sizes)]
    layers.append($together)
    layers[k].build((None, None, width))
    width = $width
    for variable, value in zip(layers[k].trainable_variables, keras_layout(k)):
        variable.assign(tensor(value))


@tf.function(autograph=False)
def network(x, lengths, states, cotangents):
    mask = None if lengths is None else tf.sequence_mask(lengths, x.shape[1])
    finals, count = [], len(states)
    with tf.GradientTape() as tape:
        tape.watch([x, states])
        output = x
        for k, layer in enumerate(layers):
            initial = [state[len(sizes) * k + i, :, :units] for i, units in enumerate(sizes) for state in states]
            output, *final = layer(output, initial_state=initial, mask=mask)
            finals += [final[i : i + count] for i in range(0, len(final), count)]
        rows = [[tf.pad(row, ((0, 0), (0, max(sizes) - row.shape[1]))) for row in each] for each in zip(*finals)]
        results = {"output": output, **dict(zip(("h_n", "c_n"), map(tf.stack, rows)))}
    if not cotangents:
        return results, None
    sources = [x, states, [layer.trainable_variables for layer in layers]]
    wanted, zero = [results[name] for name in cotangents], tf.UnconnectedGradients.ZERO
    return results, tape.gradient(wanted, sources, list(cotangents.values()), unconnected_gradients=zero)


def run(x):
    given = tensor(x), None if lengths is None else tf.constant(lengths), [tensor(state) for state in states]
    results, gradients = network(*given, {name: tensor(value) for name, value in cotangents.items()})
    if gradients:
        by_x, by_states, by_variables = gradients
        results |= {"grad.x": by_x, **dict(zip(("grad.h_0", "grad.c_0"), by_states))}
        for k, own in enumerate(by_variables):
            results |= dict(canonical_layout(k, [value.numpy().astype(np.float64) for value in own]))
    return {name: np.asarray(value, np.float64) for name, value in results.items()}
""")
"""The layers with the case's weights, and ``run``, which gives every result in float64."""
KINDS = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
"""The canonical weights of a direction; the first two where there are no biases."""


def parts(draw: Draw) -> dict[str, str]:
    """The script's parts for a draw, merged otherwise than by a learned merge."""
    spec = draw.spec()
    options = f', "activation": "{spec.cell.removeprefix("rnn_")}"'
    if not spec.cell.startswith("rnn"):
        options = ', "use_cudnn": False'
    if spec.cell == "gru":
        options += f', "reset_after": {spec.reset_after}'
    together = f'keras.layers.Bidirectional(halves[0], "{spec.merge}", backward_layer=halves[1], dtype=dtype)'
    if spec.num_directions == 1:
        options, together = options + ', "zero_output_for_mask": True', "halves[0]"
    content = {
        "dtype": draw.dtype,
        "sizes": spec.hidden_sizes,
        "kinds": KINDS if spec.bias else KINDS[:2],
        "order": [1, 0, 2] if spec.cell == "gru" else list(range(spec.num_gates)),
        "two_biases": spec.cell == "gru" and spec.reset_after,
        "layers": f"range({spec.num_layers})",
        "bias": spec.bias,
        "options": options,
        "layer": LAYERS[spec.cell],
        "together": together,
        "width": spec.output_size,
    }
    name = f"keras.layers.{LAYERS[spec.cell]}"
    return {
        "layer": f"{f'Bidirectional({name})' if spec.num_directions == 2 else name} on TensorFlow",
        "imports": IMPORTS,
        "run": RUN.substitute(content),
        "versions": '"keras", keras.__version__, "tensorflow", tf.__version__',
    }
