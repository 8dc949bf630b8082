"""JAX's programs made for CUDA on this machine: none of them leaves the GPU, and each lane has its precision.

No kernel runs: that a program can be made says nothing of its numbers, nor whether XLA's compiler for GPUs takes it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import LANES
from backends.interface.gaps import request_of
from backends.interface.layer import inputs_of
from common.models.optimizers import OptimizerSettings
from common.models.small_cases import model_cases
from common.tasks.task import unlabelled
from common.training import Training
from tests.cases import a_case
from tests.frameworks.conftest import only_with

JAX = only_with("jax")

import jax  # noqa: E402, after the skip
import jax.numpy as jnp  # noqa: E402

APART = ("silent", "odd", "subject", "by_hand", "framework")
"""Modules whose programs compute no result of an implementation."""
LEAVES_THE_GPU = re.compile(r"custom_call @\S*(?:callback|python|[Hh]ost)\S*|stablehlo\.(?:infeed|outfeed|send|recv)\b")
CASES = {
    "ragged": a_case("gru", lengths=(5, 3, 1)),
    "full": a_case("rnn_tanh", lengths=None),
    "two layers, learned merge": a_case("rnn_relu", num_layers=2, merge="weighted"),
    "reset before": a_case("gru_before", lengths=None, bias=False),
    "unequal": a_case("lstm", lengths=None, hidden_size_reverse=3),
}
OF_TUNED = {
    "batch last": a_case("lstm", batch=16, lengths=None, hidden_size=4, input_size=3),
    "pieces": a_case("gru", batch=2, seq_len=2048, lengths=None, hidden_size=64, input_size=4),
}
TRAINED = ("ragged", "reset before")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """The text of every program that is called, by its function's name; made for CUDA, and not run: zeros come back.

    All functions that are compiled are there from the start, those that were not called with no text.
    """
    texts: dict[str, list[str]] = {}
    modules = {name: module for name, module in sys.modules.items() if name.startswith("backends.jax_flax.")}
    for name, module in modules.items():
        for attribute, function in list(vars(module).items()):
            own = str(getattr(function, "__module__", "")).startswith("backends.")
            if not own or not hasattr(function, "trace"):
                continue
            key = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
            if name.rpartition(".")[2] not in APART:
                texts.setdefault(key, [])
                monkeypatch.setattr(module, attribute, made_for_cuda(function, texts[key]))
    yield texts
    JAX.use_lane("exact")


def made_for_cuda(function: Any, texts: list[str]) -> Callable[..., Any]:
    """``function`` lowered for CUDA when it is called, its text put into ``texts``."""

    def call(*arguments: Any) -> Any:
        traced = function.trace(*arguments)
        texts.append(traced.lower(lowering_platforms=("cuda",)).as_text())
        return jax.tree.map(lambda out: jnp.zeros(out.shape, out.dtype), traced.out_info)

    return call


def products(text: str) -> list[bool]:
    """Of each matrix product of a program whether it asks for full precision."""
    return ["HIGHEST" in line for line in text.splitlines() if "stablehlo.dot_general" in line]


@pytest.mark.parametrize("way", list(JAX.implementations))
@pytest.mark.parametrize("lane", LANES)
def test_every_program_of_an_implementation_is_made_for_cuda(
    programs: dict[str, list[str]], way: str, lane: str
) -> None:
    JAX.use_lane(lane)
    reached = []
    chosen = CASES | (OF_TUNED if way == "tuned" else {}) if lane == "exact" else {"ragged": CASES["ragged"]}
    for name, case in chosen.items():
        if JAX.refusal(way, request_of(case, "float32", "cpu")):
            continue
        reached.append(name)
        run = JAX.implementations[way](case.spec, "float32", "cpu")
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        run.forward_backward()
        if name in TRAINED:
            run.forward()
            head = np.zeros((7, case.spec.output_size))
            run.load_training(Training(head, np.zeros(7), np.zeros((case.batch, case.seq_len), np.int64), 0.1))
            run.train_step()
    own = {key: texts for key, texts in programs.items() if key.split(".")[0] in ("implementation", "training")}
    assert len(reached) >= len(chosen) - 1
    assert set(own) == {"implementation._forward", "implementation._forward_backward", "training.train_step"}
    assert len(own["implementation._forward_backward"]) == len(reached)
    for key, texts in own.items():
        assert texts, key
        for text in texts:
            assert not LEAVES_THE_GPU.findall(text)
            assert set(products(text)) == {lane == "exact"}


@pytest.mark.parametrize("way", list(JAX.implementations))
def test_every_program_of_a_network_is_made_for_cuda(programs: dict[str, list[str]], way: str) -> None:
    models = {case.name: case for case in model_cases()}
    names = ["masked-tokens", *(["translator-bidirectional-attention"] if way == "tuned" else [])]
    for case in (models[name] for name in names):
        network = JAX.network(case.spec, way, "float32", "cpu")
        network.load_weights(case.weights)
        network.set_optimizer(OptimizerSettings(name="adam", learning_rate=0.01, clip_norm=1.0))
        network.results(case.batch)
        network.train([case.batch])
        network.loss(case.batch)
        if case.spec.kind == "seq2seq":
            network.decode(unlabelled(case.batch), 3)
            network.beam(unlabelled(case.batch), 3, 2)
        else:
            network.predict(unlabelled(case.batch))
    others = {key: texts for key, texts in programs.items() if not key.startswith(("implementation.", "training."))}
    of_translators = {"seq2seq._decode", "seq2seq._begin", "seq2seq._go_on"}
    assert {key for key, texts in others.items() if not texts} == (set() if way == "tuned" else of_translators)
    for texts in others.values():
        assert not [operation for text in texts for operation in LEAVES_THE_GPU.findall(text)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_precisions_are_made_for_cuda(programs: dict[str, list[str]], dtype: str) -> None:
    case = CASES["ragged"]
    for kind in JAX.implementations.values():
        run = kind(case.spec, dtype, "cpu")
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        run.forward_backward()
    texts = programs["implementation._forward_backward"]
    assert len(texts) == len(JAX.implementations)
    short = {"bfloat16": "bf16", "float64": "f64"}[dtype]
    for text in texts:
        assert f"x{short}>" in text
        assert not LEAVES_THE_GPU.findall(text)


def test_a_program_that_calls_the_host_is_noticed() -> None:
    def leaves(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x) @ x

    def prints(x: jax.Array) -> jax.Array:
        jax.debug.print("{}", x)
        return x @ x

    # Without a GPU's client such a program is not even made (jax 0.10.2); with one its text tells.
    for function in (leaves, prints):
        with pytest.raises(ValueError, match="lowering platform cuda"):
            jax.jit(function).trace(jnp.ones((3, 3))).lower(lowering_platforms=("cuda",))
        on_cpu = jax.jit(function).trace(jnp.ones((3, 3))).lower().as_text()
        assert LEAVES_THE_GPU.findall(on_cpu)
