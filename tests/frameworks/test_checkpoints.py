"""What birnn writes for a framework, loaded by its own loader and run natively: it agrees, and every mistake that a
converter can make is found and named.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.registry import BUILT_IN
from backends.studies.conversions import CONVERTER_MISTAKES, SideProof, judged_side, same_plain
from backends.worker.checkpoints import run_checkpoint
from backends.worker.messages import AskedPlain, AskedRecurrent, RunCheckpoint
from common.case import write_case
from common.checkpoints.contents import Arrays, Contents, PlainLayer, RecurrentLayer, kind_of
from common.checkpoints.formats.keras import model_config, single_layers
from common.checkpoints.proof_case import case_of
from common.checkpoints.table import FORMATS
from common.checkpoints.told import parts_in
from common.errors import InputError
from common.judging.agreement import AGREES, DISAGREES
from common.judging.mistakes.weights import weight_mistakes
from common.judging.yardstick import yardstick
from common.specification import Specification
from common.tensorfile import read
from common.weights import SUFFIXES, initialise

DEEP = Specification(cell="gru", input_size=6, hidden_size=3, num_layers=2, bias=True, merge="concat")
LAYERS = {
    "deep": DEEP,
    "lstm": Specification(cell="lstm", input_size=4, hidden_size=3, num_layers=1, bias=True, merge="sum"),
    "single": Specification(cell="rnn_relu", input_size=2, hidden_size=3, num_layers=2, bias=True, num_directions=1),
}


def formats(framework: Framework) -> list[str]:
    """The formats that a framework's environment loads."""
    return [name for name, held in FORMATS.items() if held.backend == framework.name]


def layer_of(name: str, spec: Specification, target: str) -> RecurrentLayer:
    """A layer with random weights; without a b_hn where the target has none."""
    weights = {key: value.astype(np.float32) for key, value in initialise(spec, np.random.default_rng(0)).items()}
    if target == "flax-nnx":
        weights = {key: value * (not key.startswith("bias_hh")) for key, value in weights.items()}
    return RecurrentLayer(name, kind_of(spec), weights)


def contents_for(target: str, **changed: RecurrentLayer) -> Contents:
    """What is written: recurrent layers, an embedding, a dense layer and, where the format has them, other tensors."""
    random = np.random.default_rng(1)
    layers: dict[str, RecurrentLayer | PlainLayer] = {
        "embedding": PlainLayer("embedding", "embedding", {"weight": random.normal(size=(5, 2)).astype(np.float32)}),
        **{name: layer_of(name, spec, target) for name, spec in LAYERS.items()},
    }
    dense = {"weight": random.normal(size=(2, 3)).astype(np.float32), "bias": random.normal(size=2).astype(np.float32)}
    layers["head.0"] = PlainLayer("head.0", "dense", dense)
    if FORMATS[target].tensors:
        scores: Arrays = {"transitions": random.normal(size=(4, 4)), "start": np.ones(4, np.float32)}
        layers["crf"] = PlainLayer("crf", "tensor", scores)
    return Contents("birnn", {**layers, **changed})


def loaded(framework: Framework, target: str, contents: Contents, folder: Path, *names: str) -> dict[str, Arrays]:
    """What the framework gives for a file of some contents; plain layers with the recurrent ones of these names."""
    path = folder / f"f{FORMATS[target].ending or '.bin'}"
    try:
        with path.open("w+b") as file:
            FORMATS[target].write(contents, file)
    except InputError as error:
        pytest.skip(str(error))
    asked = []
    for name in names:
        layer = contents.layers[name]
        assert isinstance(layer, RecurrentLayer)
        write_case(case_of(layer), folder / f"{name}.case")
        parts = tuple(parts_in(layer, target))
        spec, result = layer.kind.specification(), folder / f"{name}.result"
        asked.append(
            AskedRecurrent(
                name=name, spec=spec, parts=parts, case=folder / f"{name}.case", dtype="float32", result=result
            )
        )
    plain = [
        AskedPlain(name=each.name, kind=each.kind, result=folder / f"{each.name}.plain") for each in contents.plain
    ]
    config = None
    if target == "keras-weights":
        import json

        config = json.dumps(model_config(list(single_layers(contents))))
    request = RunCheckpoint(file=path, format=target, config=config, layers=tuple(asked), plain=tuple(plain))
    reply = run_checkpoint(framework, request)
    assert set(reply.layers.values()) | set(reply.plain.values()) == {""}, reply
    files = {each.name: each.result for each in asked} | {each.name: each.result for each in plain}
    return {name: read(file)[0] for name, file in files.items()}


@cache
def meant(target: str) -> RecurrentLayer:
    """The layer that the mistakes are made with, as it should be."""
    return layer_of("deep", DEEP, target)


def test_every_format_agrees_and_other_layers_are_the_same_to_the_last_bit(
    framework: Framework, tmp_path: Path
) -> None:
    for target in formats(framework):
        folder = tmp_path / target
        folder.mkdir()
        contents = contents_for(target)
        results = loaded(framework, target, contents, folder, *LAYERS)
        for layer in contents.recurrent:
            proof = judged_side(results[layer.name], yardstick(case_of(layer), "float32"), layer)
            assert proof.status == AGREES, (target, layer.name, proof)
        for each in contents.plain:
            assert same_plain(each, results[each.name]) == "same", (target, each.name)
            wrong = replace(each, arrays={key: value + 1 for key, value in each.arrays.items()})
            assert same_plain(wrong, results[each.name]) == "different"


def proof_of(framework: Framework, target: str, weights: Arrays, folder: Path) -> SideProof:
    """The proof of a layer that a converter has written with these weights."""
    wrong = replace(meant(target), weights={key: value.astype(np.float32) for key, value in weights.items()})
    results = loaded(framework, target, contents_for(target, deep=wrong), folder, "deep")
    return judged_side(results["deep"], yardstick(case_of(meant(target)), "float32"), meant(target))


def swapped_gates(weights: Arrays) -> Arrays:
    """r and z exchanged, as Keras has them."""
    return {name: np.concatenate([np.split(value, 3)[i] for i in (1, 0, 2)]) for name, value in weights.items()}


def transposed(weights: Arrays) -> Arrays:
    changed = dict(weights)
    for name, value in weights.items():
        if name.startswith("weight_hh"):
            changed[name] = np.concatenate([gate.T for gate in np.split(value, 3)])
    return changed


def swapped_directions(weights: Arrays) -> Arrays:
    other = {
        name: name.removesuffix(SUFFIXES[1]) if name.endswith(SUFFIXES[1]) else name + SUFFIXES[1] for name in weights
    }
    return {name: weights[other[name]] for name in weights}


def known(name: str) -> set[str]:
    """Names of the suite's mistakes that contain a text."""
    return {mistake.name for mistake in weight_mistakes(DEEP) if name in mistake.name}


def test_every_mistake_of_a_converter_is_found_and_named(framework: Framework, tmp_path: Path) -> None:
    target = formats(framework)[0]
    layer = meant(target)
    planted = {
        "gates r, z, n loaded in the order z, r, n": swapped_gates(layer.weights),
        "recurrent kernel transposed": transposed(layer.weights),
        "the two directions' weights swapped": swapped_directions(layer.weights),
        **{name: change(layer.weights, layer) for name, change in CONVERTER_MISTAKES.items()},
    }
    assert known("transposed") == {"recurrent kernel transposed"}
    assert len(planted) == 8
    if framework.compiles:  # each is a program of its own, and what is judged is the same
        planted = {name: planted[name] for name in [*planted][:1] + [*CONVERTER_MISTAKES][2:3]}
    for number, (name, weights) in enumerate(planted.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        proof = proof_of(framework, target, weights, folder)
        assert proof.status == DISAGREES, (target, name)
        assert name in proof.matches, (target, name, proof.matches)


def test_each_format_belongs_to_a_framework_of_the_suite() -> None:
    backends = {held.backend for held in FORMATS.values()} - {None}
    assert backends == {backend.name for backend in BUILT_IN}
