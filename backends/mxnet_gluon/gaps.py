"""What MXNet's implementations cannot do, and why; imports no framework."""

from __future__ import annotations

from backends.interface.gaps import Gap, Request, has_empty_row


def has_padding(request: Request) -> bool:
    """Whether some row is shorter than the sequence; lengths that are all full ask nothing of a layer."""
    return request.lengths is not None and bool((request.lengths < request.seq_len).any())


GAPS = (
    Gap(
        implementations=("native", "manual"),
        what="GRU with reset_after=false",
        reason="mxnet.gluon.rnn.GRU and GRUCell apply the reset gate after the recurrent product only",
        applies=lambda request: not request.spec.reset_after,
        link="https://mxnet.apache.org/versions/1.9.1/api/python/docs/api/gluon/rnn/index.html",
    ),
    Gap(
        implementations=("native",),
        what="directions of different sizes",
        reason="mxnet.gluon.rnn's bidirectional layers have one hidden_size for both directions",
        applies=lambda request: request.spec.hidden_size_reverse is not None,
    ),
    Gap(
        implementations=("native",),
        what="lengths shorter than the sequence, on the CPU",
        reason="the fused layer of MXNet 1.9.1 on the CPU ignores sequence lengths in float32 and raises in float64",
        applies=lambda request: request.device == "cpu" and has_padding(request),
        link="https://github.com/apache/mxnet/issues/19323",
    ),
    Gap(
        implementations=("native",),
        what="lengths shorter than the sequence, on a GPU, but for LSTM",
        reason="use_sequence_length of MXNet 1.9.1 works for LSTM only: for RNN and GRU it lands in the place of c_0",
        applies=lambda request: request.device == "gpu" and has_padding(request) and request.spec.cell != "lstm",
        link="https://github.com/apache/mxnet/issues/20524",
        read=True,
    ),
    Gap(
        implementations=("native",),
        what="lengths of 0, on a GPU",
        reason="cudnnSetRNNDataDescriptor, which MXNet 1.9.1 hands the lengths to, refuses a length of 0",
        applies=lambda request: request.device == "gpu" and has_empty_row(request),
        link="https://github.com/tensorflow/tensorflow/issues/43103",
        read=True,
    ),
    Gap(
        implementations=("native",),
        what="rnn_relu in float64, on the CPU",
        reason="relu of the fused layer of MXNet 1.9.1 on the CPU rounds every state to float32",
        applies=lambda request: (
            request.device == "cpu" and request.spec.cell == "rnn_relu" and request.dtype == "float64"
        ),
        link="https://github.com/apache/mxnet/blob/1.9.1/src/operator/rnn_impl.h",
    ),
    Gap(
        implementations=("native",),
        what="gradients of an RNN of three layers or more in float64, on the CPU",
        reason=(
            "the fused layer of MXNet 1.9.1 on the CPU takes an inner layer's output for its input in grad.weight_ih, "
            "which apache/mxnet#18203 put right for GRU alone"
        ),
        applies=lambda request: (
            request.device == "cpu"
            and request.dtype == "float64"
            and request.spec.cell.startswith("rnn")
            and request.spec.keeps_directions  # else one-layer modules in a row
            and request.spec.num_layers > 2
            and request.gradients
        ),
        link="https://github.com/apache/mxnet/pull/18203",
    ),
    Gap(
        implementations=("native", "manual"),
        what="float16, on the CPU",
        reason="the fused layer and FullyConnected, which the cells use, raise in float16 on the CPU in MXNet 1.9.1",
        applies=lambda request: request.device == "cpu" and request.dtype == "float16",
        link="https://github.com/apache/mxnet/issues/12700",
    ),
    Gap(
        implementations=("native",),
        what="bfloat16",
        reason="the fused layer of MXNet 1.9.1 has no bfloat16 ('Unknown type enum 12')",
        applies=lambda request: request.dtype == "bfloat16",
    ),
    Gap(
        implementations=("manual", "scratch"),
        what="bfloat16",
        reason=(
            "MXNet 1.9.1 truncates bfloat16 where it should round: an LSTM's gradients over 30 steps are 15 times as "
            "far off as a plain loop's"
        ),
        applies=lambda request: request.dtype == "bfloat16",
    ),
)
"""What MXNet's implementations do not do."""
