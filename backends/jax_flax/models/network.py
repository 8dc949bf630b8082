"""What JAX's models share: parameters, the rnn in one of the implementations, loss, answers and training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from backends.interface.layer import Arrays
from backends.interface.network import TrainedNetwork, stages
from backends.jax_flax.layer import programs
from backends.jax_flax.layer.implementation import DTYPES, OURS, JaxImplementation, make_room
from backends.jax_flax.layer.lengths import Results, Tree
from backends.jax_flax.models.optimizers import Numbers, Optimizer, move
from common.models.batch import Batch, check_batch, counted, dropout_name, labels
from common.models.optimizers import OptimizerName, OptimizerSettings
from common.models.specification import Model, parameters, rnn_prefix
from common.models.trace import Step

RNN = "rnn"
"""The name under which a network's parameters hold the rnn's; all others are there by their canonical names."""
Judged = tuple[jax.Array, tuple[jax.Array, Results]]
"""The loss, and beside it the number of right answers, and the logits with what comes on the way to them."""


class Program(NamedTuple):
    """What a network's compiled programs depend on beside dtypes and shapes: the network's class, the implementation's
    class, and the model's specification (``Any``, for each network reads its own kind).
    """

    network: type[JaxNetwork]
    kind: type[JaxImplementation]
    spec: Any


class JaxNetwork(TrainedNetwork[Optimizer]):
    """A model on arrays; subclasses give ``forward``, a pure function, for JAX traces and compiles it.

    A new shape of a batch is compiled anew; no batch is padded here.

    Parameters
    ----------
    spec, implementation, dtype, device
        As in ``Network``.
    kind
        The implementation's class.
    """

    parameters: Tree
    """What is trained: ``RNN``, a list with a tree for each of ``stages`` in the implementation's layout, and the other
    parameters by canonical name."""
    fixed: Results
    """A frozen embedding."""
    _reuses_programs = False

    def __init__(
        self, spec: Model, implementation: str, dtype: str, device: str, kind: type[JaxImplementation]
    ) -> None:
        super().__init__(spec, implementation, dtype, device)
        self._program = Program(type(self), kind, spec)
        self._rnn = [kind(stage, dtype, device) for stage in self.stages]

    @classmethod
    @abstractmethod
    def forward(cls, program: Program, parameters: Tree, batch: Results) -> tuple[jax.Array, Results]:
        """The logits (batch, seq_len, classes), (batch, classes) or (batch, target_len, target_size), 0 past a length;
        and what else of ``results`` comes on the way: ``vectors`` and ``attention``.

        ``batch`` as ``moved`` gives it; ``parameters`` are all of them.
        """

    @classmethod
    def total_loss(cls, program: Program, parameters: Tree, logits: jax.Array, batch: Results) -> jax.Array:
        """The sum of the losses of all counted labels ()."""
        losses = optax.softmax_cross_entropy_with_integer_labels(wide(logits), batch["labels"])
        return jnp.where(batch["counted"], losses, 0).sum()

    @classmethod
    def answers(cls, program: Program, parameters: Tree, logits: jax.Array, batch: Results) -> jax.Array:
        """The labels that the model gives, in the shape of the labels."""
        return best(logits)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._summed = self.summed_biases(self._rnn)
        self._loaded_biases = {name: weights[name].copy() for name in self._summed}
        self.parameters = self.tree(weights)
        self.fixed = {name: self.parameters.pop(name) for name in self.spec.frozen}
        if self._optimizer is not None:
            self.set_optimizer(self._optimizer.settings)

    def weights(self) -> Arrays:
        weights = self.canonical(self.parameters | self.fixed)
        weights = {name: value.astype(np.float64) for name, value in weights.items()}
        for name, summed in self._summed.items():
            weights[name] = np.where(summed, self._loaded_biases[name], weights[name])
            weights[name.replace("bias_hh", "bias_ih")] -= np.where(summed, weights[name], 0)
        return weights

    def reuse_programs(self) -> None:
        self._reuses_programs = all(kind.__module__.startswith(OURS) for kind in self._program[:2])

    def results(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch)
        arrays = self.moved(batch)
        self.make_room("results", arrays)
        loss, correct, passed, gradients = self.call(_results, self.parameters, self.fixed, arrays)
        results = {"loss": loss, "correct": correct} | passed
        results |= {f"grad.{name}": value for name, value in self.canonical(gradients).items()}
        return {name: array(value) for name, value in results.items()}

    def loss(self, batch: Batch) -> float:
        check_batch(self.spec, batch)
        arrays = self.moved(batch)
        self.make_room("loss", arrays)
        return float(self.call(_loss, self.parameters, self.fixed, arrays))

    def set_optimizer(self, settings: OptimizerSettings) -> None:
        self._optimizer = Optimizer(settings, self)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            check_batch(self.spec, batch)
            steps.append((*self._train_step(batch), max(int(counted(self.spec, batch).sum()), 1)))
        # Only now are numbers asked for: until then a step need not be waited for.
        return [Step(float(loss), int(correct) / number, float(norm)) for loss, correct, norm, number in steps]

    def _train_step(self, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The loss, the number of right answers and the gradients' norm, which need not be there yet."""
        optimizer, arrays = self.optimizer, self.moved(batch)
        self.make_room(optimizer.settings.name, arrays)
        *numbers, self.parameters, kept = self.call(
            _train_step,
            self.parameters,
            optimizer.kept,
            self.fixed,
            optimizer.numbers,
            optimizer.masks,
            arrays,
            static=(optimizer.settings.name,),
        )
        optimizer.moved(kept)
        return tuple(numbers)

    @property
    def device_used(self) -> Any:
        """JAX's own device."""
        return jax.devices(self.device)[0]

    def array(self, values: np.ndarray) -> jax.Array:
        """Values in the run's dtype on its device."""
        return self._rnn[0].array(values)

    def moved(self, batch: Batch) -> Results:
        """A batch on the device, floats in the run's dtype and integers in int32; whatever the model, a labelled one
        has ``labels`` and ``counted``.
        """
        arrays = {name: value for name, value in batch.items() if name not in ("targets", "target_lengths")}
        if "labels" in batch or "targets" in batch:
            arrays |= {"labels": labels(self.spec, batch), "counted": counted(self.spec, batch)}
        dtypes = {"f": DTYPES[self.dtype], "i": np.int32, "b": np.bool_}
        return jax.device_put(
            {name: np.asarray(value, dtypes[value.dtype.kind]) for name, value in arrays.items()}, self.device_used
        )

    def make_room(self, work: str, batch: Results) -> None:
        """Call it before a program that may have to be compiled."""
        shapes = tuple((name, value.shape) for name, value in sorted(batch.items()))
        make_room((self._program, work, self.dtype, self.device, shapes))

    def call(self, function: Any, *arguments: Any, static: tuple[str | int, ...] = ()) -> Any:
        """The result of a compiled function of these modules; ``static`` are its arguments that are no arrays, which
        come between the program and the arrays.
        """
        kept = None
        if self._reuses_programs:
            kinds = (kind.__qualname__ for kind in self._program[:2])
            what = (function.__name__, *kinds, self.spec, self.dtype, self.device, *static)
            kept = programs.program(lambda: function.lower(self._program, *static, *arguments), what, arguments)
        return function(self._program, *static, *arguments) if kept is None else kept(*arguments)

    def tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """Arrays by canonical name in the layout of ``parameters``, in the run's dtype on its device."""
        prefix = rnn_prefix(self.spec)
        tree: Tree = {name: self.array(value) for name, value in arrays.items() if not name.startswith(prefix)}
        return tree | {RNN: self._layers(arrays)}

    def canonical(self, tree: Tree) -> Arrays:
        """The inverse of ``tree``, in NumPy; of biases that a layout sums, each is the sum."""
        layers = [layer.canonical(of_layer) for layer, of_layer in zip(self._rnn, tree[RNN], strict=True)]
        canonical = self.join(layers) | {name: np.asarray(value) for name, value in tree.items() if name != RNN}
        return {name: canonical[name] for name in parameters(self.spec) if name in canonical}

    def _layers(self, arrays: Mapping[str, np.ndarray]) -> list[Tree]:
        """The rnn's arrays in the implementation's layout, for each of ``stages``."""
        layers = []
        for stage, of_stage in zip(self.stages, self.split(arrays), strict=True):
            layer = self._program.kind(stage, self.dtype, self.device)
            layer.load_weights(of_stage)
            layers.append(layer.parameters)
        return layers


def run_rnn(program: Program, parameters: Tree, x: jax.Array, batch: Results) -> tuple[jax.Array, jax.Array]:
    """The top layer's output (batch, seq_len, output_size) and h_n (num_layers·2, batch, hidden_size) from zero
    states, with dropout's factors between the layers where the batch has them.
    """
    rnn = program.spec.recurrent
    states = []
    for i, stage in enumerate(stages(program.spec)):
        zeros = jnp.zeros((stage.num_directions * stage.num_layers, len(x), rnn.state_size), x.dtype)
        initial = (zeros, zeros) if rnn.cell == "lstm" else (zeros,)
        results = program.kind.run(program.kind.program(stage), parameters[RNN][i], x, batch.get("lengths"), initial)
        states.append(results["h_n"])
        x = results["output"]
        if dropout_name(i) in batch:
            x = x * batch[dropout_name(i)]
    return x, jnp.concatenate(states)


def lookup(table: jax.Array, tokens: jax.Array) -> jax.Array:
    """Rows of an embedding table (…, width); in a narrow format the table's gradient is added up in float32."""
    return wide(table)[tokens].astype(table.dtype)


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """(…, in) to (…, out); the weight is (out, in)."""
    return x @ weight.T + bias


def head(parameters: Tree, x: jax.Array) -> jax.Array:
    """The linear layers with ReLU between them, (…, readout_size) to (…, classes)."""
    count = sum(name.startswith("head.") for name in parameters) // 2
    for i in range(count):
        x = jax.nn.relu(x) if i > 0 else x
        x = linear(x, parameters[f"head.{i}.weight"], parameters[f"head.{i}.bias"])
    return x


def wide(x: jax.Array) -> jax.Array:
    """The array in at least float32, what softmax and means are computed in."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def best(logits: jax.Array) -> jax.Array:
    """The first largest logit of each position, int32 (jnp.argmax gives the first)."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def array(x: jax.Array | np.ndarray) -> np.ndarray:
    """The array in NumPy, float32 for narrower floats, int64 for integers."""
    values = np.asarray(x)
    if jnp.issubdtype(values.dtype, jnp.floating):
        return values.astype(np.float32) if values.dtype.itemsize < 4 else values
    return values.astype(np.int64)


def _judged(parameters: Tree, fixed: Results, program: Program, batch: Results) -> Judged:
    """The loss, and the number of right answers, and the logits with what comes on the way to them."""
    given = parameters | fixed
    logits, passed = program.network.forward(program, given, batch)
    real = batch["counted"]
    right = (program.network.answers(program, given, logits, batch) == batch["labels"]) & real
    total = program.network.total_loss(program, given, logits, batch)
    loss = total / jnp.maximum(real.sum(), 1).astype(total.dtype)
    return loss, (right.sum(), {"logits": logits} | passed)


# The programs are functions of a module, so that networks with the same program and shapes share a compilation.


@partial(jax.jit, static_argnums=0)
def _results(
    program: Program, parameters: Tree, fixed: Results, batch: Results
) -> tuple[jax.Array, jax.Array, Results, Tree]:
    """The loss, the number of right answers, the logits with what comes on the way to them, and the gradients by
    ``parameters``.
    """
    (loss, (correct, passed)), gradients = jax.value_and_grad(_judged, has_aux=True)(parameters, fixed, program, batch)
    return loss, correct, passed, gradients


@partial(jax.jit, static_argnums=0)
def _loss(program: Program, parameters: Tree, fixed: Results, batch: Results) -> jax.Array:
    """The loss alone."""
    return _judged(parameters, fixed, program, batch)[0]


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _train_step(
    program: Program,
    name: OptimizerName,
    parameters: Tree,
    kept: Tree,
    fixed: Results,
    numbers: Numbers,
    masks: Tree,
    batch: Results,
) -> tuple[jax.Array, jax.Array, jax.Array, Tree, Tree]:
    """The loss, the number of right answers, the gradients' norm, and the parameters and the optimizer's state moved
    once.
    """
    (loss, (correct, _)), gradients = jax.value_and_grad(_judged, has_aux=True)(parameters, fixed, program, batch)
    norm, parameters, kept = move(name, numbers, masks, parameters, gradients, kept)
    return loss, correct, norm, parameters, kept
