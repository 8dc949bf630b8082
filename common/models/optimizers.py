"""The training rule: which gradients count, clipping, weight decay, schedules and the three optimizers, in NumPy.

Two biases: where ``bias_hh`` is only ever added to ``bias_ih``, training both would move their sum twice as far as one
bias (measured 2.0000 for SGD and Adam). So rows of ``bias_hh`` that are only added stay as they are: their gradient
counts as 0 in the norm, the moments and the update. A framework with one summed bias then trains equally. The rows
that are trained are the third gate's of a reset-after GRU, which the reset gate multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from common.errors import from_validation
from common.models.specification import Arrays, Model, Share, parameters

OptimizerName = Literal["sgd", "momentum", "adam"]
"""The names of the optimizers."""
ScheduleName = Literal["constant", "linear", "cosine"]
"""The names of the schedules of the learning rate."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number not below 0."""
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
"""A share that is kept, from 0 to below 1."""
STATE: dict[OptimizerName, tuple[str, ...]] = {"sgd": (), "momentum": ("momentum",), "adam": ("first", "second")}
"""What each optimizer keeps for a parameter."""


class OptimizerSettings(BaseModel):
    """An optimizer and all its numbers.

    For a parameter p with gradient g, step t = 1, 2, …:

    - ``sgd``: p ← p − learning_rate·g
    - ``momentum``: m ← momentum·m + g, p ← p − learning_rate·m (Polyak 1964, as torch.optim.SGD writes it)
    - ``adam``: first ← beta1·first + (1 − beta1)·g, second ← beta2·second + (1 − beta2)·g²,
      p ← p − learning_rate·(first/(1 − beta1^t)) / (√(second/(1 − beta2^t)) + epsilon) (Kingma and Ba 2015,
      arXiv:1412.6980, algorithm 1: epsilon is added to the root of the bias-corrected second moment)

    Before that p ← p − learning_rate·weight_decay·p for matrices (kernels, embeddings), not for vectors: decay
    decoupled from the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101). With ``clip_norm`` all gradients are
    first multiplied by min(1, clip_norm / norm), norm being that of all trained parameters' gradients together.

    Step t's learning_rate is ``rate(t)``. With a ``warm_up`` of w steps it is learning_rate·t / (w + 1) in these,
    rising in equal parts (Goyal et al. 2017, arXiv:1706.02677, section 2.2, from 0). Behind them, with ``steps`` = T
    and p = (t − 1 − w) / (T − w), the part of the rest that is done:

    - ``constant``: learning_rate
    - ``linear``: learning_rate·(1 − p)
    - ``cosine``: learning_rate·(1 + cos πp) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, down to 0
      and without restarts)

    ``warm_up`` is the share of T that w is, at least one step where it is not 0; ``steps`` are those of the whole
    training, known when it begins. In JSON the three are there where they are not the constant schedule's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: OptimizerName
    learning_rate: Positive
    momentum: Decay = 0.9
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    clip_norm: Positive | None = None
    schedule: ScheduleName = "constant"
    warm_up: Share = 0.0
    steps: Annotated[int, Field(strict=True, ge=1)] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        left_out = () if self.varies else ("schedule", "warm_up", "steps")
        return {name: value for name, value in dump(self).items() if name not in left_out}

    @property
    def varies(self) -> bool:
        """Whether the learning rate is not the same in all steps."""
        return self.schedule != "constant" or self.warm_up > 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 1 on; behind the last one it stays.

        Raises
        ------
        ValueError
            If it varies, and ``steps`` does not say over how many.
        """
        if not self.varies:
            return self.learning_rate
        if self.steps is None:
            raise ValueError(f"steps must be given for a schedule; it is {self.schedule} and they are not")
        warm_up = min(max(1, round(self.warm_up * self.steps)), self.steps - 1) if self.warm_up else 0
        step = min(step, self.steps)
        if step <= warm_up:
            return self.learning_rate * step / (warm_up + 1)
        done = (step - 1 - warm_up) / (self.steps - warm_up)
        return self.learning_rate * _SHARES[self.schedule](done)

    def over(self, steps: int) -> OptimizerSettings:
        """The settings for a training of so many steps, where its length makes a difference."""
        return self.model_copy(update={"steps": steps}) if self.varies else self


_SHARES: dict[ScheduleName, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""What each schedule multiplies the learning rate by when a part of it is done."""


def optimizer_from_json(content: Mapping[str, Any], what: str = "optimizer") -> OptimizerSettings:
    """Check ``content`` and make settings of it; an ``InputError`` says what does not fit."""
    try:
        return OptimizerSettings.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, what) from None


def trained_parameters(spec: Model) -> list[str]:
    """The parameters that training moves, in the order of ``parameters``: all but a frozen embedding and those
    ``bias_hh`` that are only added to ``bias_ih``.
    """
    fixed = {name for name in parameters(spec) if _is_bias_hh(name) and not _resets(spec)} | spec.frozen
    return [name for name in parameters(spec) if name not in fixed]


def gradient_masks(spec: Model) -> Arrays:
    """A mask for each trained parameter with frozen rows: 1 where a row is trained and 0 where not, (rows,) float64.

    These are the ``bias_hh`` of reset-after GRUs, whose rows r and z are only added to ``bias_ih``.
    """
    every = parameters(spec)
    return {
        name: np.repeat([0.0, 0.0, 1.0], every[name][0] // 3)  # rows r, z, n
        for name in trained_parameters(spec)
        if _is_bias_hh(name)
    }


def _is_bias_hh(name: str) -> bool:
    """Whether a parameter is a recurrent bias."""
    return name.rpartition(".")[2].startswith("bias_hh")


def _resets(spec: Model) -> bool:
    """Whether the reset gate multiplies a recurrent bias."""
    rnn = spec.recurrent
    return rnn.cell == "gru" and rnn.reset_after


def decays(shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies to a parameter of this shape: to matrices alone."""
    return len(shape) == 2


def trained_gradients(spec: Model, results: Mapping[str, np.ndarray]) -> Arrays:
    """The gradients by which training moves: those of the trained parameters, frozen rows set to 0.

    ``results`` holds raw gradients as ``grad.<parameter>``; the names that come back have no ``grad.``.
    """
    masks = gradient_masks(spec)
    raw = {name: results[f"grad.{name}"] for name in trained_parameters(spec)}
    return {name: value * masks[name].astype(value.dtype) if name in masks else value for name, value in raw.items()}


def global_norm(gradients: Mapping[str, np.ndarray]) -> float:
    """The root of the sum of all squares, in at least float64."""
    squares = [np.square(value.astype(np.promote_types(value.dtype, np.float64))).sum() for value in gradients.values()]
    return float(np.sqrt(sum(squares)))


class Optimizer:
    """An optimizer in NumPy, in the dtype of the parameters it is given.

    Parameters
    ----------
    settings
        Which one, and its numbers.

    Attributes
    ----------
    state
        By ``momentum``, ``first`` or ``second``, then by parameter name; empty before the first step.
    count
        Steps taken.
    """

    def __init__(self, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.state: dict[str, Arrays] = {kind: {} for kind in STATE[settings.name]}
        self.count = 0

    def step(self, weights: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Arrays:
        """The weights after one step; those without a gradient are the same arrays as before."""
        self.count += 1
        rate = self.settings.rate(self.count)
        scale = self.clip_scale(global_norm(gradients))
        moved = dict(weights)
        for name, gradient in gradients.items():
            before = weights[name]
            if decays(before.shape):
                before = before - before * (rate * self.settings.weight_decay)
            direction = self.direction(name, gradient if scale == 1 else gradient * scale)
            moved[name] = (before - rate * direction).astype(weights[name].dtype, copy=False)
        return moved

    def clip_scale(self, norm: float) -> float:
        """What clipping multiplies all gradients by."""
        limit = self.settings.clip_norm
        return 1.0 if limit is None or norm <= limit else limit / norm

    def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """What −rate multiplies, with the state moved on."""
        settings = self.settings
        if settings.name == "sgd":
            return gradient
        before = {kind: self.state[kind].get(name, np.zeros_like(gradient)) for kind in self.state}
        if settings.name == "momentum":
            self.state["momentum"][name] = settings.momentum * before["momentum"] + gradient
            return self.state["momentum"][name]
        first = settings.beta1 * before["first"] + (1 - settings.beta1) * gradient
        second = settings.beta2 * before["second"] + (1 - settings.beta2) * np.square(gradient)
        self.state["first"][name], self.state["second"][name] = first, second
        corrected = np.sqrt(second / (1 - settings.beta2**self.count))
        return first / (1 - settings.beta1**self.count) / (corrected + settings.epsilon)

    def state_arrays(self) -> Arrays:
        """The state as ``<kind>.<parameter>`` float64 and ``count`` () int64, as checkpoints hold it."""
        arrays = {
            f"{kind}.{name}": np.asarray(value, np.float64)
            for kind, values in self.state.items()
            for name, value in values.items()
        }
        return arrays | {"count": np.array(self.count, np.int64)}

    def load_state_arrays(self, arrays: Mapping[str, np.ndarray], dtype: np.dtype | type = np.float64) -> None:
        """Take over what ``state_arrays`` gave, the moments in ``dtype``."""
        self.count = int(arrays["count"])
        for kind, values in self.state.items():
            values.clear()
            prefix = f"{kind}."
            values.update(
                {
                    name.removeprefix(prefix): value.astype(dtype)
                    for name, value in arrays.items()
                    if name.startswith(prefix)
                }
            )


def state_shapes(spec: Model, settings: OptimizerSettings) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of an optimizer's state, as checkpoints hold it."""
    shapes = parameters(spec)
    arrays: dict[str, tuple[int, ...]] = {
        f"{kind}.{name}": shapes[name] for kind in STATE[settings.name] for name in trained_parameters(spec)
    }
    return arrays | {"count": ()}
