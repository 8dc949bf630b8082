"""A failure as a few lines of the framework alone, without birnn, ready for a report to its maintainers."""

from __future__ import annotations

from common.cases.fuzzed import Draw
from common.specification import Specification

MODULES = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}

TORCH = '''"""torch.nn.{module} on a case of which the right numbers are known: {about}.

Run it in the folder of {file}, which holds inputs, weights, cotangents and the right results, in float64.
"""

import torch
from safetensors.torch import load_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

case = load_file("{file}")
dtype = torch.{dtype}
layer = torch.nn.{module}({arguments}, batch_first=True, bidirectional=True, dtype=dtype)
weights = {{name: value.to(dtype) for name, value in case.items() if name.startswith("weights.")}}
layer.load_state_dict({{name.removeprefix("weights."): value for name, value in weights.items()}})
x = case["inputs.x"].to(dtype).requires_grad_()
shape = ({states}, x.shape[0], {hidden_size})
states = [case.get(f"inputs.{{name}}", torch.zeros(shape)).to(dtype).requires_grad_() for name in {names}]
initial = tuple(states) if len(states) == 2 else states[0]
if "inputs.lengths" in case:
    packed = pack_padded_sequence(x, case["inputs.lengths"], batch_first=True, enforce_sorted=False)
    packed, final = layer(packed, initial)
    output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
else:
    output, final = layer(x, initial)
final = final if isinstance(final, tuple) else (final,)
results = {{"output": output, **dict(zip(("h_n", "c_n"), final))}}
wanted = {{name: case[f"cotangents.{{name}}"].to(dtype) for name in results if f"cotangents.{{name}}" in case}}
if wanted:
    sum((results[name] * value).sum() for name, value in wanted.items()).backward()
    results |= {{"grad.x": x.grad, **{{f"grad.{{name}}": state.grad for name, state in zip({names}, states)}}}}
    results |= {{f"grad.{{name}}": value.grad for name, value in layer.named_parameters()}}
print("torch", torch.__version__)
for name, value in results.items():
    value = torch.zeros_like(case[f"expected.{{name}}"]) if value is None else value.detach().double()
    right = case[f"expected.{{name}}"]
    print(f"{{name:28}} largest error {{(value - right).abs().max():.3e}}, largest number {{right.abs().max():.3e}}")
'''


def script(implementation: str, draw: Draw, file: str) -> str | None:
    """A script for the maintainers of ``implementation``'s framework, which reads the case from ``file`` beside it.

    None where the failure is in code of this suite, or in a framework whose weights have another layout.
    """
    spec = draw.spec()
    if implementation != "torch/native" or spec.merge != "concat" or spec.hidden_size_reverse is not None:
        return None
    return TORCH.format(
        about=draw,
        file=file,
        module=MODULES[spec.cell],
        dtype=draw.dtype,
        arguments=_arguments(spec),
        states=2 * spec.num_layers,
        hidden_size=spec.hidden_size,
        names='("h_0", "c_0")' if spec.cell == "lstm" else '("h_0",)',
    )


def _arguments(spec: Specification) -> str:
    sizes = f"{spec.input_size}, {spec.hidden_size}, num_layers={spec.num_layers}, bias={spec.bias}"
    return f'{sizes}, nonlinearity="relu"' if spec.cell == "rnn_relu" else sizes
