"""What JAX's implementations share: arrays to and from the device, compiled programs, training, and waiting."""

from __future__ import annotations

import re
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays, Implementation, Inputs, Training
from backends.interface.profile import MOST_TEXTS, added_up, most_important
from backends.jax_flax.layer import programs
from backends.jax_flax.layer.lengths import Results, States, Tree
from backends.jax_flax.layer.training import LayerTrainer, train_step
from common.specification import Specification
from common.training import trained_kernels
from common.weights import shapes

OURS = __name__.partition(".layer.")[0]
"""The package whose files the keys of kept programs are made from: a class from elsewhere is always traced."""
DTYPES = {
    "float16": jnp.float16,
    "bfloat16": jnp.bfloat16,
    "float32": jnp.float32,
    "float64": jnp.float64,
}
"""JAX's dtype for each of the suite's."""
PROGRAMS_KEPT = 150
"""Programs of one process before compiled ones are dropped. Each costs 130 to 640 memory mappings on a CPU, of which
Linux allows 65,530 (vm.max_map_count); past that LLVM aborts the process (jaxlib 0.10.2)."""


class JaxImplementation(Implementation):
    """An implementation on arrays; subclasses give ``load_weights``, ``run`` and ``canonical``."""

    parameters: Tree
    """The arrays that gradients are taken by, in the layout that ``run`` reads."""
    _reuses_programs = False

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        self._program = self.program(spec)

    @classmethod
    @abstractmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        """Output and final states by result name; a pure function, for JAX traces and compiles it."""

    @abstractmethod
    def canonical(self, gradients: Tree) -> Arrays:
        """Gradients in the layout of ``parameters`` under canonical names, in NumPy."""

    @classmethod
    def program(cls, spec: Specification) -> Specification:
        """What of ``spec`` the compiled program depends on: not on ``bias``, absent biases being zeros."""
        return spec.model_copy(update={"bias": True})

    def array(self, array: np.ndarray) -> jax.Array:
        """An array in the run's dtype on its device."""
        copy = np.array(array, DTYPES[self.dtype])  # device_put may keep the memory of what it is given
        return jax.device_put(copy, jax.devices(self.device)[0])

    def move_inputs(self, inputs: Inputs) -> None:
        initial = [inputs.h_0] if inputs.c_0 is None else [inputs.h_0, inputs.c_0]
        states = tuple(self.array(state) for state in initial)
        lengths = None
        if inputs.lengths is not None:
            lengths = jax.device_put(inputs.lengths.astype(np.int32), jax.devices(self.device)[0])
        self._inputs = (self.array(inputs.x), lengths, states)
        self._key = (type(self), self._program, self.dtype, self.device, inputs.x.shape, lengths is None)
        make_room(self._key)
        self._forward_has_room = False
        self._cotangents = {name: self.array(value) for name, value in inputs.cotangents.items()}

    def reuse_programs(self) -> None:
        self._reuses_programs = type(self).__module__.startswith(OURS)

    def forward(self) -> None:
        if not self._forward_has_room:  # a program besides that of forward_backward
            make_room((*self._key, "forward"))
            self._forward_has_room = True
        self._results = (self._call(_forward, self.parameters, *self._inputs), None, None)

    def forward_backward(self) -> None:
        results = self._call(_forward_backward, self.parameters, *self._inputs, self._cotangents)
        self._results = (*results, None)

    def _call(self, function: Any, *arguments: Any, static: tuple[bool, ...] = ()) -> Any:
        """The result of a compiled pass or step; ``static`` are its arguments that are no arrays, which come between
        the program and the arrays.
        """
        kept, program = None, (type(self), self._program, *static)
        if self._reuses_programs:
            what = (function.__name__, type(self).__qualname__, self._program, self.dtype, self.device, *static)
            kept = programs.program(lambda: function.lower(*program, *arguments), what, arguments)
        return function(*program, *arguments) if kept is None else kept(*arguments)

    def load_training(self, training: Training) -> None:
        self._trainer = LayerTrainer(training, self)
        make_room((*self._key, training.weight.shape))

    def train_step(self) -> None:
        _, _, has_biases, *arguments = self._step_arguments()
        loss, self.parameters, self._trainer.head = self._call(train_step, *arguments, static=(has_biases,))
        self._results = ({"loss": loss, "trained.head.weight": self._trainer.head["weight"]}, None, self.parameters)

    def _step_arguments(self) -> tuple[Any, ...]:
        trainer = self._trainer
        network = (type(self), self._program, self.spec.bias, self.parameters, *self._inputs)
        return (*network, trainer.head, trainer.labels, trainer.learning_rate)

    def synchronise(self) -> None:
        jax.block_until_ready(self._results)

    def extract(self) -> Arrays:
        results, gradients, trained = self._results
        arrays = {name: np.asarray(value) for name, value in results.items()}
        if gradients is not None:
            by_parameters, by_x, by_states = gradients
            arrays["grad.x"] = np.asarray(by_x)
            named = zip(("h_0", "c_0"), by_states, strict=False)
            arrays |= {f"grad.{name}": np.asarray(value) for name, value in named}
            by_name = self.canonical(by_parameters)
            arrays |= {f"grad.{name}": by_name[name] for name in shapes(self.spec)}
        if trained is not None:
            by_name = self.canonical(trained)
            arrays |= {f"trained.{name}": by_name[name] for name in trained_kernels(self.spec)}
        narrow = jnp.dtype(DTYPES[self.dtype]).itemsize < 4
        return {name: value.astype(np.float32) if narrow else value for name, value in arrays.items()}

    def kernels(self, work: str) -> list[str]:
        getattr(self, work)()  # what happens only at first is not of interest
        self.synchronise()
        network = (type(self), self._program, self.parameters, *self._inputs)
        program, arguments = {
            "forward": (_forward, network),
            "forward_backward": (_forward_backward, (*network, self._cotangents)),
            "train_step": (train_step, self._step_arguments() if work == "train_step" else ()),
        }[work]
        text = program.lower(*arguments).compile().as_text()
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                getattr(self, work)()
                self.synchronise()
            (file,) = Path(folder).rglob("*.xplane.pb")
            profile = jax.profiler.ProfileData.from_file(str(file))
        return [in_program(text), *most_important(added_up(in_profile(profile)), MOST_TEXTS - 1)]


def in_program(text: str) -> str:
    """How many loops, products and library calls a compiled program has, from its HLO text; fusions are counted with
    what is inside them.
    """
    steps = [f"while of {n} steps" for n in re.findall(r'"known_trip_count":\{"n":"(\d+)"\}', text)]
    operations = re.findall(r"^\s*(?:ROOT )?%\S+ = .*? ([a-z][a-z-]*)\(", text, re.MULTILINE)
    loops = Counter(steps + ["while"] * (operations.count("while") - len(steps)))
    libraries = Counter(re.findall(r'custom_call_target="([^"]+)"|"kind":"(__\w+)"', text))
    counted = [*loops.items(), *((name, operations.count(name)) for name in ("dot", "convolution"))]
    counted += [("".join(name), count) for name, count in libraries.most_common(4)]
    return "program: " + ", ".join(f"{name} ×{count}" for name, count in counted if count)


def in_profile(profile: jax.profiler.ProfileData) -> Iterator[tuple[str, float]]:
    """Each operation that ran, with its time in ns: a GPU's kernels where one took part, else the CPU's operations
    without their numbers, and without the loops around them.
    """
    planes = {plane.name: list(plane.lines) for plane in profile.planes}
    on_gpu = [line for name, lines in planes.items() if "GPU" in name for line in lines if "Stream" in line.name]
    for line in on_gpu:
        yield from ((event.name, event.duration_ns) for event in line.events)
    for line in [] if on_gpu else [line for line in planes["/host:CPU"] if line.name != "python"]:
        for event in line.events:
            name = re.sub(r"[.\d]+$", "", event.name)
            if re.fullmatch(r"[\w-]+", name) and name not in ("while", "call", "conditional"):
                yield name, event.duration_ns


# The programs are functions of a module, so that all cases with the same program and shapes share a compilation.

_kept: set[tuple] = set()


def make_room(key: tuple) -> None:
    """Drop all compiled programs when ``key`` would be one too many; those still wanted are compiled again."""
    if key not in _kept and len(_kept) >= PROGRAMS_KEPT:
        jax.clear_caches()
        programs.forget()
        _kept.clear()
    _kept.add(key)


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    implementation: type[JaxImplementation],
    program: Specification,
    parameters: Tree,
    x: jax.Array,
    lengths: jax.Array | None,
    states: States,
) -> Results:
    """The compiled forward pass."""
    return implementation.run(program, parameters, x, lengths, states)


@partial(jax.jit, static_argnums=(0, 1))
def _forward_backward(
    implementation: type[JaxImplementation],
    program: Specification,
    parameters: Tree,
    x: jax.Array,
    lengths: jax.Array | None,
    states: States,
    cotangents: Results,
) -> tuple[Results, tuple[Tree, jax.Array, States]]:
    """The compiled pass that also gives the gradients by parameters, input and first states."""
    results, pull_back = jax.vjp(
        lambda parameters, x, states: implementation.run(program, parameters, x, lengths, states), parameters, x, states
    )
    return results, pull_back(cotangents)
