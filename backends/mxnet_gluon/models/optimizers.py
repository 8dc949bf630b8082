"""mxnet.optimizer set so that it follows ``common.models.optimizers``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import nd

from backends.interface.layer import Arrays
from backends.mxnet_gluon.layer.implementation import Graph
from backends.mxnet_gluon.layer.lengths import Tensor
from common.models.optimizers import (
    STATE,
    OptimizerSettings,
    decays,
    gradient_masks,
    state_shapes,
    trained_parameters,
)
from common.models.specification import Model


class WideSGD(mx.optimizer.SGD):
    """mxnet.optimizer.SGD for float64, in operations: the kernels of MXNet 1.9.1 round the learning rate and momentum
    to float32 in any dtype. The momentum is kept without the learning rate.
    """

    def update(self, index: str, weight: nd.NDArray, grad: nd.NDArray, state: nd.NDArray | None) -> None:
        self._update_count(index)
        if state is not None:
            state *= self.momentum
            state += grad
        weight -= self.lr * (grad if state is None else state)


class WideAdam(mx.optimizer.Adam):
    """mxnet.optimizer.Adam for float64, in operations, for the same reason as ``WideSGD``."""

    def update(self, index: str, weight: nd.NDArray, grad: nd.NDArray, state: tuple[nd.NDArray, nd.NDArray]) -> None:
        self._update_count(index)
        mean, variance = state
        mean *= self.beta1
        mean += (1 - self.beta1) * grad
        variance *= self.beta2
        variance += (1 - self.beta2) * nd.square(grad)
        t = self._index_update_count[index]
        rate = self.lr * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        weight -= rate * mean / (nd.sqrt(variance) + self.epsilon)


class Optimizer:
    """mxnet.optimizer.SGD or Adam on the trained parameters.

    MXNet's Adam adds epsilon to the root of the second moment that is not corrected yet, so it is given
    epsilon·√(1 − beta2^t) at step t. Its kernels take 1 − beta2 in float32 (1.3e-5 off for 0.999), which scales the
    moments; learning rate and epsilon make up for it. Decay of mxnet.optimizer goes through the moments, so it is
    written out here, and so is clipping: mxnet.gluon.utils.clip_global_norm waits for the norm.

    Parameters
    ----------
    settings
        Which optimizer, and its numbers.
    spec
        The model.
    parameters
        Its parameters by canonical name, each with its gradient; they are moved in place.
    """

    def __init__(self, settings: OptimizerSettings, spec: Model, parameters: Mapping[str, nd.NDArray]) -> None:
        self.settings = settings
        self.count = 0
        self.trained = {name: parameters[name] for name in trained_parameters(spec)}
        self._wide = next(iter(self.trained.values())).dtype == np.float64
        self._masks = {
            name: nd.array(mask, ctx=parameters[name].context, dtype=parameters[name].dtype)
            for name, mask in gradient_masks(spec).items()
        }
        self._changed = [name for name in self.trained if settings.clip_norm is not None or name in self._masks]
        self._graph = Graph(self._prepared, [])
        self.load_state({name: np.zeros(shape, np.int64) for name, shape in state_shapes(spec, settings).items()})

    def _own_scales(self) -> dict[str, float]:
        """What MXNet keeps after the last step, as a multiple of what the rule has."""
        settings = self.settings
        if self._wide:
            return dict.fromkeys(STATE[settings.name], 1.0)
        betas = {"first": settings.beta1, "second": settings.beta2}
        scales = {kind: float(1 - np.float32(beta)) / (1 - beta) for kind, beta in betas.items()}
        return {"momentum": -self._last_rate()} | scales

    def _last_rate(self) -> float:
        """The learning rate of the last step, before the first one its own."""
        return self.settings.rate(max(self.count, 1))

    def _own_rate(self, rate: float) -> float:
        """What MXNet is given for a learning rate."""
        if self.settings.name != "adam":
            return rate
        return rate * math.sqrt(self._scales["second"]) / self._scales["first"]

    def _make(self) -> mx.optimizer.Optimizer:
        """The framework's own optimizer with the numbers of the settings."""
        settings = self.settings
        options = {"learning_rate": self._own_rate(self._last_rate()), "begin_num_update": self.count}
        if settings.name != "adam":
            options["momentum"] = settings.momentum if settings.name == "momentum" else 0.0
            return (WideSGD if self._wide else mx.optimizer.SGD)(**options)
        options |= {"beta1": settings.beta1, "beta2": settings.beta2}
        return (WideAdam if self._wide else mx.optimizer.Adam)(**options)

    def _follow(self, rate: float) -> None:
        """Set the learning rate for the next step, and with it a momentum that MXNet keeps in units of it."""
        self._optimizer.set_learning_rate(self._own_rate(rate))
        if self.settings.name == "momentum" and not self._wide:
            for state in self._state.values():
                state *= -rate / self._scales["momentum"]
            self._scales["momentum"] = -rate

    def step(self, loss: nd.NDArray) -> nd.NDArray:
        """Move the trained parameters once; gives the global norm of their gradients before clipping, float64 (1,)."""
        loss.backward()
        self.count += 1
        settings = self.settings
        rate = settings.rate(self.count)
        if settings.varies:
            self._follow(rate)
        by_name = {name: value.grad for name, value in self.trained.items()}
        norm, *changed = self._graph(list(by_name.values()), list(self._masks.values()))
        by_name |= dict(zip(self._changed, changed, strict=True))
        if settings.name == "adam":
            corrected = (1 - settings.beta2**self.count) * self._scales["second"]
            self._optimizer.epsilon = settings.epsilon * math.sqrt(corrected)
        for name, value in self.trained.items():
            if settings.weight_decay and decays(value.shape):
                value -= value * (rate * settings.weight_decay)
            self._optimizer.update(name, value, by_name[name], self._state[name])
        return norm

    def _prepared(self, F: ModuleType, gradients: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """The norm, and the gradients that masks or clipping change."""
        by_name = dict(zip(self.trained, gradients, strict=True))
        by_name |= {name: by_name[name] * mask for name, mask in zip(self._masks, masks, strict=True)}
        squares = [F.sum(F.square(F.cast(gradient, "float64"))) for gradient in by_name.values()]
        norm = F.sqrt(F.add_n(*squares))
        if self.settings.clip_norm is not None:
            scale = F.minimum(self.settings.clip_norm / norm, 1)
            for name, value in self.trained.items():
                by_name[name] = F.broadcast_mul(by_name[name], F.cast(scale, value.dtype))
        return [norm, *(by_name[name] for name in self._changed)]

    def state(self) -> Arrays:
        """What the optimizer keeps under its canonical names, float64, and ``count`` () int64."""
        nd.waitall()
        arrays: Arrays = {}
        for i, kind in enumerate(STATE[self.settings.name]):
            for name, state in self._state.items():
                kept = state[i] if isinstance(state, tuple) else state
                arrays[f"{kind}.{name}"] = kept.asnumpy().astype(np.float64) / self._scales[kind]
        return arrays | {"count": np.array(self.count, np.int64)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state`` of any framework gave."""
        self.count = int(arrays["count"])
        self._scales = self._own_scales()
        self._optimizer = self._make()
        self._state: dict[str, Any] = {}  # as MXNet's optimizers take it: None, an array, or a pair
        for name, value in self.trained.items():
            kept = [
                nd.array(arrays[f"{kind}.{name}"] * self._scales[kind], ctx=value.context, dtype=value.dtype)
                for kind in STATE[self.settings.name]
            ]
            self._state[name] = tuple(kept) if len(kept) > 1 else next(iter(kept), None)
