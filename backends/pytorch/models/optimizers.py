"""torch.optim set so that it follows ``common.models.optimizers``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from backends.interface.layer import Arrays
from common.models.optimizers import (
    STATE,
    OptimizerSettings,
    decays,
    gradient_masks,
    state_shapes,
    trained_parameters,
)
from common.models.specification import Model

OWN_NAMES = {"momentum": "momentum_buffer", "first": "exp_avg", "second": "exp_avg_sq"}
"""torch.optim's names of what an optimizer keeps."""


class Optimizer:
    """torch.optim.SGD or AdamW on the trained parameters.

    AdamW has epsilon and decoupled decay where the rule has them. SGD's own decay goes through the momentum, so for it
    decay is written out, as is clipping: torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm (torch 2.13). Both run
    fused: one kernel for a parameter's step, where the default on a CPU has several.

    Parameters
    ----------
    settings
        Which optimizer, and its numbers.
    spec
        The model.
    parameters
        Its parameters by canonical name; they are moved in place.
    """

    def __init__(self, settings: OptimizerSettings, spec: Model, parameters: Mapping[str, torch.Tensor]) -> None:
        self.settings = settings
        self.count = 0
        self.trained = {name: parameters[name] for name in trained_parameters(spec)}
        self._shapes = state_shapes(spec, settings)
        self._masks = {
            name: torch.tensor(mask, dtype=self.trained[name].dtype, device=self.trained[name].device)
            for name, mask in gradient_masks(spec).items()
        }
        self._matrices = [value for value in self.trained.values() if decays(value.shape)]
        self._optimizer = self._make()

    def _make(self) -> torch.optim.Optimizer:
        """The framework's own optimizer with the numbers of the settings."""
        settings = self.settings
        if settings.name != "adam":
            momentum = settings.momentum if settings.name == "momentum" else 0
            return torch.optim.SGD(self.trained.values(), lr=settings.learning_rate, momentum=momentum, fused=True)
        vectors = [value for value in self.trained.values() if not decays(value.shape)]
        groups = [
            {"params": self._matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0},
        ]
        betas = (settings.beta1, settings.beta2)
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.epsilon, fused=True)

    def step(self, loss: torch.Tensor) -> torch.Tensor:
        """Move the trained parameters once; gives the global norm of their gradients before clipping, float64."""
        gradients = dict(zip(self.trained, torch.autograd.grad(loss, list(self.trained.values())), strict=True))
        gradients |= {name: gradients[name] * mask for name, mask in self._masks.items()}
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients.values()]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        scale = None if self.settings.clip_norm is None else (self.settings.clip_norm / norm).clamp(max=1)
        for name, gradient in gradients.items():
            # Never in place: autograd may give two parameters views of one gradient.
            self.trained[name].grad = gradient if scale is None else gradient * scale
        self.count += 1
        rate = self.settings.rate(self.count)
        if self.settings.name != "adam" and self.settings.weight_decay:
            with torch.no_grad():
                for matrix in self._matrices:
                    matrix.mul_(1 - rate * self.settings.weight_decay)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return norm

    def state(self) -> Arrays:
        """What the optimizer keeps under its canonical names, float64, and ``count`` () int64."""
        state = {name: np.zeros(shape) for name, shape in self._shapes.items()}
        for kind in STATE[self.settings.name]:
            for name, parameter in self.trained.items():
                kept = self._optimizer.state.get(parameter)
                if kept:
                    state[f"{kind}.{name}"] = kept[OWN_NAMES[kind]].double().cpu().numpy()
        return state | {"count": np.array(self.count, np.int64)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state`` of any framework gave."""
        self.count = int(arrays["count"])
        for name, parameter in self.trained.items():
            kept = {
                OWN_NAMES[kind]: torch.tensor(arrays[f"{kind}.{name}"], dtype=parameter.dtype, device=parameter.device)
                for kind in STATE[self.settings.name]
            }
            if self.settings.name == "adam":
                kept["step"] = torch.tensor(float(self.count), device=parameter.device)  # where fused wants it
            self._optimizer.state[parameter] = kept
