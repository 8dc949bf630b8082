"""TensorFlow's programs on disk: the same bits without tracing and optimizing, and never a program of anything else."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.kept_files import DIGEST
from backends.interface.layer import inputs_of
from backends.interface.network import Network
from backends.worker.execution import execute
from common.case import Case
from common.models.batch import Batch
from common.models.optimizers import OptimizerSettings
from common.models.small_cases import ModelCase, model_cases
from common.models.specification import SequenceModel, initialise
from common.models.trace import Step
from tests.cases import a_case, a_training
from tests.frameworks.conftest import only_with

TENSORFLOW = only_with("tensorflow")

import tensorflow as tf  # noqa: E402 (where it is missing, the file has been skipped)
from tensorflow.core.framework.optimized_function_graph_pb2 import OptimizedFunctionGraph  # noqa: E402

from backends.tensorflow_keras.layer import implementation, programs  # noqa: E402
from backends.tensorflow_keras.models import network as models  # noqa: E402
from backends.tensorflow_keras.models.sequence_model import SequenceNetwork  # noqa: E402

CASE = a_case("gru", lengths=(5, 0, 1))
FORWARD = a_case("gru", lengths=(5, 0, 1), with_cotangents=False)
"""Where any program does, the one that is traced soonest."""
MODELS = {case.name: case for case in model_cases()}
ADAM = OptimizerSettings(name="adam", learning_rate=0.02, epsilon=1e-3, weight_decay=0.1, clip_norm=0.5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for programs, in a process that knows none."""
    monkeypatch.setenv(programs.FOLDER, str(tmp_path))
    monkeypatch.setattr(programs, "_KNOWN", {})
    yield tmp_path
    programs.forget(0)  # what the runtime knows by a name it does not take anew


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes that are traced, as they come."""
    passes: list[str] = []
    graph, step = implementation._graph, models.TensorFlowNetwork._train_step
    of_model = models.TensorFlowNetwork._graph

    def noted(*arguments: object) -> Callable:
        passes.append(str(arguments[-1]))
        return graph(*arguments)

    def noted_of_model(network: models.TensorFlowNetwork, work: str, tensors: Any) -> Callable:
        passes.append(work)
        return of_model(network, work, tensors)

    def noted_step(*arguments: Any) -> Any:
        passes.append("train_step")
        return step(*arguments)

    monkeypatch.setattr(implementation, "_graph", noted)
    monkeypatch.setattr(models.TensorFlowNetwork, "_graph", noted_of_model)
    monkeypatch.setattr(models.TensorFlowNetwork, "_train_step", noted_step)
    return passes


def run(name: str = "scratch", case: Case = CASE) -> dict[str, np.ndarray]:
    """What an implementation gives, in a process that may have forgotten the programs it knew."""
    programs.forget(0)
    return execute(TENSORFLOW, case, name, "float32", "cpu").tensors


@pytest.mark.parametrize("name", TENSORFLOW.implementations)
def test_a_kept_program_gives_the_same_bits_untraced(
    folder: Path, traced: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(programs.FOLDER, "")
        as_users_have_it = run(name)
    kept, loaded = run(name), run(name)
    assert traced == ["forward_backward"] * 2
    for other in (kept, loaded):
        assert as_users_have_it.keys() == other.keys()
        assert all(as_users_have_it[each].tobytes() == other[each].tobytes() for each in other)


@pytest.mark.parametrize("name", ["native", "tuned"])
def test_a_kept_train_step_moves_the_variables_that_it_is_given(
    folder: Path, traced: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for kept in ("", str(folder), str(folder)):
        monkeypatch.setenv(programs.FOLDER, kept)
        programs.forget(0)
        layer = TENSORFLOW.implementations[name](CASE.spec, "float32", "cpu")
        layer.reuse_programs()
        layer.load_weights(CASE.weights)
        layer.move_inputs(inputs_of(CASE))
        layer.load_training(a_training(CASE))
        for _ in range(2):
            layer.train_step()
        results.append({key: value.tobytes() for key, value in layer.extract().items()})
    assert results[0] == results[1] == results[2]
    assert traced == ["train_step"] * 3  # without a folder, for each call


def test_a_kept_program_is_not_optimized_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is the graph in the file: with one operation changed there, and only there, it is another result."""
    optimized = programs._optimized

    def changed(*arguments: Any) -> bytes:
        graph = OptimizedFunctionGraph.FromString(optimized(*arguments))
        for node in graph.function_graph.node:
            node.op = {"Sigmoid": "Tanh"}.get(node.op, node.op)
        return graph.SerializeToString()

    monkeypatch.setattr(programs, "_optimized", changed)
    first, loaded = run(), run()
    assert np.abs(first["output"] - loaded["output"]).max() > 0.01
    assert programs.GRAPHS not in os.environ


def test_no_two_functions_of_a_program_share_a_name_of_the_runtimes_cache(folder: Path) -> None:
    """It knows a function by its name up to the last underscore, and by the number of its nodes."""
    run("tuned")
    (program,) = programs._KNOWN.values()
    assert isinstance(program, programs.Program)
    assert len({name.rpartition(b"_")[0] for name in program.functions}) == len(program.functions) > 3


def test_other_shapes_lengths_and_surroundings_are_other_programs(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(case=FORWARD)
    run(case=a_case("gru", seq_len=6, lengths=(5, 0, 1), with_cotangents=False))
    run(case=a_case("gru", lengths=None, with_cotangents=False))
    run(case=a_case("gru", lengths=(5, 0, 1), bias=False, with_cotangents=False))
    for name in ("_sources", "_files_of_tensorflow"):
        monkeypatch.setattr(programs, name, lambda *_: "changed")
        run(case=FORWARD)
    assert len(traced) == len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"\x00" * 64,
        lambda content: content[:DIGEST] + zlib.compress(zlib.decompress(content[DIGEST:])[:-99], 1),
    ],
)
def test_a_damaged_program_is_traced_and_kept_anew(
    folder: Path, traced: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = run(case=FORWARD)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert all(np.array_equal(value, first[name]) for name, value in run(case=FORWARD).items())
    assert len(traced) == 2
    assert len(file.read_bytes()) > len(whole) // 2
    run(case=FORWARD)
    assert len(traced) == 2


def test_a_class_from_elsewhere_is_always_traced(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is in no key."""
    theirs = type("Scratch", (TENSORFLOW.implementations["scratch"],), {"__module__": "theirs"})
    monkeypatch.setattr(TENSORFLOW, "implementations", {"scratch": theirs})
    run(case=FORWARD)
    run(case=FORWARD)
    assert len(traced) == 2
    assert not list(folder.iterdir())


def test_nothing_is_kept_where_functions_run_eagerly_or_no_folder_is_named(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.config.run_functions_eagerly(True)
    try:
        run(case=FORWARD)
    finally:
        tf.config.run_functions_eagerly(False)
    monkeypatch.setenv(programs.FOLDER, "")
    run(case=FORWARD)
    assert len(traced) == 2
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setenv(programs.FOLDER, str(folder / "file"))
    run(case=FORWARD)
    assert traced == ["forward"]
    assert [*folder.iterdir()] == [folder / "file"]


def test_programs_unused_for_longest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a process starts."""
    monkeypatch.setattr(programs, "MOST_BYTES", 10)
    for number in range(2):
        (folder / str(number)).write_bytes(bytes(10))
        os.utime(folder / str(number), (9 - number, 9 - number))
    type(TENSORFLOW)()
    assert [*folder.iterdir()] == [folder / "0"]


def test_what_is_timed_is_the_traced_function(folder: Path, traced: list[str]) -> None:
    """A kept program is called past tf.function, whose own time is part of what users wait for."""
    for _ in range(2):
        network = TENSORFLOW.implementations["scratch"](CASE.spec, "float32", "cpu")
        network.load_weights(CASE.weights)
        network.move_inputs(inputs_of(CASE))
        network.forward()
    assert traced == ["forward", "forward"]
    assert not list(folder.iterdir())


# Models.


def opened(case: ModelCase, implementation: str = "scratch", settings: OptimizerSettings = ADAM) -> Network:
    """A case's network as a worker opens it for a training, in a process that may have forgotten its programs."""
    network = TENSORFLOW.network(case.spec, implementation, "float32", "cpu")
    network.reuse_programs()
    network.load_weights(case.weights)
    network.set_optimizer(settings)
    return network


def trained(network: Network, batch: Batch) -> list[Any]:
    """What a model gives before and after two steps of training."""
    given = [*network.results(batch).values(), network.loss(batch)]
    given += [astuple(step) for step in network.train([batch] * 2)]
    given += [*network.weights().values(), *network.optimizer_state().values()]
    return [*given, *network.predict({"x": batch["x"]}).values()]


def decoded(network: Network, batch: Batch) -> list[Any]:
    """A beam search's answers, for which each step of a decoder is run by itself."""
    return [*network.beam({name: batch[name] for name in ("tokens", "lengths")}, 3, 2).values()]


@pytest.mark.parametrize(
    ("work", "name", "passes"),
    [
        (trained, "pipeline", {"judge", "judge_alone", "train_step", "answered"}),
        (decoded, "translator-bidirectional", {"begin", "go_on"}),
    ],
)
def test_a_models_kept_programs_give_the_same_bits_untraced(
    folder: Path,
    traced: list[str],
    work: Callable[[Network, Batch], list[Any]],
    name: str,
    passes: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results, of_each = [], []
    for kept in ("", str(folder), str(folder)):
        monkeypatch.setenv(programs.FOLDER, kept)
        programs.forget(0)
        traced.clear()
        results.append([np.asarray(value).tobytes() for value in work(opened(MODELS[name]), MODELS[name].batch)])
        of_each.append(set(traced))
    assert results[0] == results[1] == results[2]
    assert of_each == [passes, passes, set()]


def test_networks_that_share_a_train_step_move_their_own_variables(folder: Path, traced: list[str]) -> None:
    """And go on with it when other programs have taken its place in memory, and when its file is gone. A GRU's mask of
    the biases that are trained is read like the variables where it is larger than TensorFlow writes into a program.
    """
    case = MODELS["language"]
    assert isinstance(case.spec, SequenceModel)
    spec = case.spec.model_copy(update={"rnn": case.spec.rnn.model_copy(update={"hidden_size": 50})})
    case = replace(case, spec=spec, weights=initialise(spec, np.random.default_rng(1)))
    opened(case).train([case.batch])
    traced.clear()
    cases = [case, replace(case, weights={name: value / 2 for name, value in case.weights.items()})]
    expected = [opened(each).train([case.batch] * 3) for each in cases]
    assert expected[0] != expected[1]
    networks = [opened(each) for each in cases]
    taken: list[list[Step]] = [[], []]
    for _ in range(3):
        for network, steps in zip(networks, taken, strict=True):
            steps += network.train([case.batch])
            programs.forget(0)
    assert taken == expected
    assert traced == []
    for file in folder.iterdir():
        file.unlink()
    assert opened(case).train([case.batch] * 3) == expected[0]
    assert traced == ["train_step", "judge"]


def test_another_optimizer_is_another_train_step_and_one_that_is_timed_is_traced(
    folder: Path, traced: list[str]
) -> None:
    case = MODELS["pipeline"]
    for rate in (0.1, 0.2):
        opened(case, settings=OptimizerSettings(name="sgd", learning_rate=rate)).train([case.batch])
    timed = TENSORFLOW.network(case.spec, "scratch", "float32", "cpu")
    timed.load_weights(case.weights)
    timed.set_optimizer(OptimizerSettings(name="sgd", learning_rate=0.1))
    timed.train([case.batch])
    assert traced == ["train_step", "judge"] * 3
    assert len(list(folder.iterdir())) == 2


def test_tracing_a_model_enters_no_file_of_ours_that_is_in_no_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: set[str] = set()
    before, root = sys.getprofile(), Path(models.__file__).parents[3]
    for work in ("forward", "total_loss"):
        method = getattr(SequenceNetwork, work)

        def noted(*arguments: Any, method: Callable = method) -> Any:
            sys.setprofile(lambda frame, *_: entered.add(frame.f_code.co_filename))
            try:
                return method(*arguments)
            finally:
                sys.setprofile(before)

        monkeypatch.setattr(SequenceNetwork, work, noted)
    models._graph.cache_clear()
    case = MODELS["tagger-crf"]
    opened(case, "native").loss(case.batch)
    ours = {str(Path(file).relative_to(root).parent) for file in entered if Path(file).is_relative_to(root)}
    ours = {folder for folder in ours if not folder.startswith((".", "tests"))}
    assert {"backends/tensorflow_keras/models", "common/models/crf"} <= ours <= set(models.OF_MODELS)
