"""What ONNX Runtime cannot do beside gradients, and why; imports no framework."""

from __future__ import annotations

from backends.interface.gaps import Gap, has_empty_row

LAYERS = "https://onnx.ai/onnx/operators/onnx__LSTM.html"
"""The operators' specification."""
KERNELS = "https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md"
"""The types that each operator has a kernel for."""
SMALL = 0.1
"""The size of numbers below which an error of 9e-8 is many times that of a plain loop."""

GAPS = (
    Gap(
        implementations=("native",),
        what="float64",
        reason="ONNX Runtime 1.31.1 has no RNN in double, and its GRU and LSTM raise 'does not support double yet'",
        applies=lambda request: request.dtype == "float64",
        link=KERNELS,
    ),
    Gap(
        implementations=("native",),
        what="lengths of 0",
        reason="the final state of a row of length 0 is 0 in ONNX Runtime 1.31.1, not its initial state",
        applies=has_empty_row,
    ),
    Gap(
        implementations=("native",),
        what="an RNN with tanh whose numbers are all small",
        reason=(
            "the tanh of the RNN of ONNX Runtime 1.31.1 is up to 9e-8 off however small it is: of states near 1e-4 it "
            "loses four digits, and what is below 3e-8 it makes 0"
        ),
        applies=lambda request: request.spec.cell == "rnn_tanh" and request.largest < SMALL,
    ),
    Gap(
        implementations=("native",),
        what="bfloat16",
        reason="ONNX's RNN, GRU and LSTM of opset 14, which ONNX Runtime 1.31.1 has, take no bfloat16",
        applies=lambda request: request.dtype == "bfloat16",
        link=LAYERS,
    ),
    Gap(
        implementations=("native",),
        what="directions of different sizes",
        reason="ONNX's RNN, GRU and LSTM have one hidden_size for both directions",
        applies=lambda request: request.spec.hidden_size_reverse is not None,
        link=LAYERS,
    ),
    Gap(
        implementations=("native",),
        what="merge weighted",
        reason="birnn writes no ONNX graph with a learned merge",
        applies=lambda request: request.spec.merge == "weighted",
    ),
)
"""What ONNX Runtime's implementation does not do."""
