"""What a script of torch.nn alone is made of."""

from __future__ import annotations

from string import Template

from common.cases.fuzzed import Draw

MODULES = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
"""torch.nn's modules by cell."""
IMPORTS = """import numpy as np
import torch
from safetensors.numpy import load_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence"""
"""The script's imports."""
RUN = Template("""dtype = torch.$dtype
layer = torch.nn.$module($arguments, batch_first=True, bidirectional=$bidirectional, dtype=dtype)
layer.load_state_dict({name: torch.tensor(value, dtype=dtype) for name, value in weights.items()})


def run(x):
    layer.zero_grad()
    x, *initial = (torch.tensor(value, dtype=dtype, requires_grad=True) for value in (x, *states))
    rows = x
    if lengths is not None:
        rows = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    output, final = layer(rows, tuple(initial) if len(initial) == 2 else initial[0])
    if lengths is not None:
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
    final = final if isinstance(final, tuple) else (final,)
    results = {"output": output, **dict(zip(("h_n", "c_n"), final))}
    if cotangents:
        given = [torch.tensor(value, dtype=dtype) for value in cotangents.values()]
        torch.autograd.backward([results[name] for name in cotangents], given)
        leaves = {"x": x, **dict(zip(("h_0", "c_0"), initial)), **dict(layer.named_parameters())}
        for name, leaf in leaves.items():
            results[f"grad.{name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return {name: value.detach().double().numpy() for name, value in results.items()}
""")
"""The layer with the case's weights, and ``run``, which gives every result in float64."""


def parts(draw: Draw) -> dict[str, str]:
    """The script's parts for a draw, merged by concat or of one direction."""
    spec = draw.spec()
    arguments = f"{spec.input_size}, {spec.hidden_size}, num_layers={spec.num_layers}, bias={spec.bias}"
    if spec.cell == "rnn_relu":
        arguments += ', nonlinearity="relu"'
    module = MODULES[spec.cell]
    return {
        "layer": f"torch.nn.{module}",
        "imports": IMPORTS,
        "run": RUN.substitute(
            dtype=draw.dtype, module=module, arguments=arguments, bidirectional=spec.num_directions == 2
        ),
        "versions": '"torch", torch.__version__',
    }
