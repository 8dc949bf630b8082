"""What a script of MXNet's Gluon alone is made of."""

from __future__ import annotations

from string import Template

from common.cases.fuzzed import Draw

LAYERS = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
"""Gluon's layers by cell."""
IMPORTS = """import re

import mxnet as mx
import numpy as np
from mxnet import autograd, nd
from safetensors.numpy import load_file"""
"""The script's imports."""
RUN = Template("""dtype = "$dtype"
layer = mx.gluon.rnn.$layer($arguments, layout="NTC", bidirectional=$bidirectional, dtype=dtype)
layer.initialize(mx.init.Zero())
layer.hybridize()
kinds = {"weight_ih": "i2h_weight", "weight_hh": "h2h_weight", "bias_ih": "i2h_bias", "bias_hh": "h2h_bias"}
parameters = {}
for name, value in weights.items():
    kind, k, reverse = re.fullmatch("(.*)_l([0-9]+)(_reverse)?", name).groups()
    parameters[name] = getattr(layer, ("r" if reverse else "l") + k + "_" + kinds[kind])
    parameters[name].set_data(nd.array(value, dtype=dtype))


def run(x):
    x, *initial = (nd.array(value, dtype=dtype) for value in (x, *states))
    for leaf in (x, *initial):
        leaf.attach_grad()
    with autograd.record():
        output, final = layer(x, initial)  # every row is full
    results = {"output": output, **dict(zip(("h_n", "c_n"), final))}
    if cotangents:
        given = [nd.array(value, dtype=dtype) for value in cotangents.values()]
        autograd.backward([results[name] for name in cotangents], given)
        gradients = {"x": x.grad, **dict(zip(("h_0", "c_0"), (state.grad for state in initial)))}
        gradients |= {name: parameter.grad() for name, parameter in parameters.items()}
        results |= {f"grad.{name}": value for name, value in gradients.items()}
    return {name: value.asnumpy().astype(np.float64) for name, value in results.items()}
""")
"""The layer with the case's weights, and ``run``, which gives every result in float64."""


def parts(draw: Draw) -> dict[str, str]:
    """The script's parts for a draw of full rows, merged by concat or of one direction."""
    spec = draw.spec()
    arguments = f"{spec.hidden_size}, num_layers={spec.num_layers}, input_size={spec.input_size}"
    if spec.cell.startswith("rnn"):
        arguments += f', activation="{spec.cell.removeprefix("rnn_")}"'
    return {
        "layer": f"mxnet.gluon.rnn.{LAYERS[spec.cell]}",
        "imports": IMPORTS,
        "run": RUN.substitute(
            dtype=draw.dtype, layer=LAYERS[spec.cell], arguments=arguments, bidirectional=spec.num_directions == 2
        ),
        "versions": '"mxnet", mx.__version__',
    }
