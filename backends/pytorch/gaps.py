"""What PyTorch's implementations cannot do, and why; imports no framework."""

from __future__ import annotations

from backends.base import Gap, has_empty_row

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
)
