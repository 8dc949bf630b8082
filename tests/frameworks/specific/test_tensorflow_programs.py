"""TensorFlow's programs on disk: the same bits without tracing and optimizing, and never a program of anything else."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.kept_files import DIGEST
from backends.interface.layer import inputs_of
from backends.worker.execution import execute
from common.case import Case
from tests.cases import a_case
from tests.frameworks.conftest import only_with

TENSORFLOW = only_with("tensorflow")

import tensorflow as tf  # noqa: E402 (where it is missing, the file has been skipped)
from tensorflow.core.framework.optimized_function_graph_pb2 import OptimizedFunctionGraph  # noqa: E402

from backends.tensorflow_keras.layer import implementation, programs  # noqa: E402

CASE = a_case("gru", lengths=(5, 0, 1))


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
    graph = implementation._graph

    def noted(*arguments: object) -> Callable:
        passes.append(str(arguments[-1]))
        return graph(*arguments)

    monkeypatch.setattr(implementation, "_graph", noted)
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
    run()
    run(case=a_case("gru", seq_len=6, lengths=(5, 0, 1)))
    run(case=a_case("gru", lengths=None))
    run(case=a_case("gru", lengths=(5, 0, 1), bias=False))
    for name in ("_sources", "_files_of_tensorflow"):
        monkeypatch.setattr(programs, name, lambda: "changed")
        run()
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
    first = run()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert all(np.array_equal(value, first[name]) for name, value in run().items())
    assert len(traced) == 2
    assert len(file.read_bytes()) > len(whole) // 2
    run()
    assert len(traced) == 2


def test_a_class_from_elsewhere_is_always_traced(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is in no key."""
    theirs = type("Scratch", (TENSORFLOW.implementations["scratch"],), {"__module__": "theirs"})
    monkeypatch.setattr(TENSORFLOW, "implementations", {"scratch": theirs})
    run()
    run()
    assert len(traced) == 2
    assert not list(folder.iterdir())


def test_nothing_is_kept_where_functions_run_eagerly_or_no_folder_is_named(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.config.run_functions_eagerly(True)
    try:
        run()
    finally:
        tf.config.run_functions_eagerly(False)
    monkeypatch.setenv(programs.FOLDER, "")
    run()
    assert len(traced) == 2
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setenv(programs.FOLDER, str(folder / "file"))
    run()
    assert traced == ["forward_backward"]
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
