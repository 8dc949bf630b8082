"""What PyTorch's implementations cannot do, and why; imports no framework."""

from __future__ import annotations

from backends.interface.gaps import Gap, has_empty_row

GAPS = (
    Gap(
        implementations=("native", "manual"),
        what="GRU with reset_after=false",
        reason="torch.nn.GRU applies the reset gate after the recurrent product only",
        applies=lambda request: not request.spec.reset_after,
        link="https://pytorch.org/docs/stable/generated/torch.nn.GRU.html",
    ),
    Gap(
        implementations=("native",),
        what="lengths of 0",
        reason="torch.nn.utils.rnn.pack_padded_sequence raises for a length of 0",
        applies=lambda request: has_empty_row(request),
        link="https://github.com/pytorch/pytorch/issues/11514",
    ),
    Gap(
        implementations=("native",),
        what="directions of different sizes",
        reason="torch.nn's bidirectional layers have one hidden_size for both directions",
        applies=lambda request: request.spec.hidden_size_reverse is not None,
    ),
    Gap(
        implementations=("tuned",),
        what="directions of different sizes",
        reason="torch/tuned runs both directions as a batch of two, for which they need one hidden_size",
        applies=lambda request: request.spec.hidden_size_reverse is not None,
    ),
    Gap(
        implementations=("tuned",),
        what="LSTM",
        reason="a loop like torch/tuned's took 1.9 times as long as torch.nn.LSTM, oneDNN's on a CPU (torch 2.13)",
        applies=lambda request: request.spec.cell == "lstm",
        slower=True,
    ),
    Gap(
        implementations=("tuned",),
        what="GRU with reset_after=false",
        reason="torch/tuned has one recurrent product a step, and this GRU needs two in sequence",
        applies=lambda request: not request.spec.reset_after,
    ),
    Gap(
        implementations=("tuned",),
        what="GPUs",
        reason="torch/tuned is written for CPUs: on a GPU torch.nn.RNN and GRU have the fused kernels of cuDNN",
        applies=lambda request: request.device == "gpu",
        read=True,
        slower=True,
    ),
)
"""What PyTorch's implementations do not do."""
