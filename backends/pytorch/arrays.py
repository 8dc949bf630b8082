"""What a hand-written layer takes and gives in PyTorch: tensors, and autograd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

from backends.interface.arrays import FrameworkArrays, Function, Outputs


class TorchArrays(FrameworkArrays):
    """PyTorch's tensors."""

    def array(self, value: np.ndarray) -> torch.Tensor:
        device = "cuda" if self.device == "gpu" else "cpu"
        if value.dtype.kind != "f":
            return torch.tensor(value, device=device)
        return torch.tensor(value, dtype=getattr(torch, self.dtype), device=device)

    def numpy(self, value: Any) -> np.ndarray:
        tensor = value.detach().cpu()
        if tensor.dtype == torch.bfloat16:  # which NumPy does not know by itself
            return tensor.float().numpy().astype(ml_dtypes.bfloat16)
        return tensor.numpy()

    def wait(self, values: Outputs) -> None:
        if self.device == "gpu":
            torch.cuda.synchronize()

    def gradients(self, function: Function, arrays: Mapping[str, Any], cotangents: Outputs) -> tuple[Outputs, Outputs]:
        leaves = {name: value.detach().clone().requires_grad_() for name, value in arrays.items()}
        outputs = function(leaves)
        total = sum((outputs[name] * cotangents[name]).sum() for name in cotangents)
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return outputs, {name: value for name, value in zip(leaves, gradients, strict=True) if value is not None}


ARRAYS = TorchArrays
"""The kind of arrays of this framework."""
