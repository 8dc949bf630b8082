"""JAX's programs on disk: the same bits without tracing and lowering, and a program of anything else is never run."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.kept_files import DIGEST
from backends.interface.layer import inputs_of
from backends.interface.network import Network
from backends.worker.execution import execute
from common.case import Case
from common.models.optimizers import OptimizerSettings
from common.models.small_cases import model_cases
from common.tasks.task import unlabelled
from tests.cases import a_case, a_training
from tests.frameworks.conftest import only_with

JAX = only_with("jax")

import jax  # noqa: E402 (where it is missing, the file has been skipped)
from jax._src import compilation_cache  # noqa: E402

from backends.jax_flax.layer import implementation, programs  # noqa: E402

CASE = a_case("rnn_tanh", lengths=(5, 0, 1), with_cotangents=False)
BY_NAME = {case.name: case for case in model_cases()}
ROOT = Path(programs.__file__).parents[3]
MODELS = {"tagger": BY_NAME["tagger-crf"], "translator": BY_NAME["translator-bidirectional"]}
"""Models of one layer that need all programs together."""
OTHER = MODELS["tagger"].spec.model_copy(update={"dropout": 0.5})
"""A model of the tagger's parameters that differs from it where no program shows it."""
CALLERS = ("tests/", "common/answers/")
"""Where programs are called from; a location tells of the callers, too."""
INSTALLED = "site-packages"
"""Is in the names of files that are not ours, and that may lie in a folder of ours: tox's environments do."""
SETTINGS = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
"""What workers set in their environment, so that JAX keeps everything."""


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Path]:
    """A folder for JAX's cache, an empty one."""
    settings = {**SETTINGS, "jax_compilation_cache_dir": str(tmp_path / "jax-cache")}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path / "jax-cache"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for programs, in a process that knows none; beside the cache that JAX has here, so that little
    is compiled, or beside a new one where it has none.
    """
    if not compilation_cache.is_persistent_cache_enabled():
        request.getfixturevalue("entries")
    monkeypatch.setenv(programs.FOLDER, str(tmp_path / "programs"))
    programs.forget()
    yield tmp_path / "programs"
    programs.forget()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The implementations that are traced, as they come."""
    names: list[str] = []
    kinds: Any = JAX.implementations
    for name, kind in kinds.items():

        def noted(cls: type, *arguments: object, name: str = name, run: Callable = kind.run.__func__) -> object:
            names.append(name)
            return run(cls, *arguments)

        monkeypatch.setattr(kind, "run", classmethod(noted))
    return names


def run(name: str = "scratch", case: Case = CASE) -> dict[str, np.ndarray]:
    """What an implementation gives, in a process that has forgotten the programs it knew."""
    jax.clear_caches()
    programs.forget()
    return execute(JAX, case, name, "float32", "cpu").tensors


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two results have the same tensors, to the last bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize(("name", "with_cotangents"), [("native-linen", False), ("native-nnx", False), ("tuned", True)])
def test_a_kept_program_gives_the_same_bits_untraced(
    folder: Path, traced: list[str], name: str, with_cotangents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = a_case("rnn_tanh", lengths=(5, 2, 1), with_cotangents=with_cotangents)  # which Flax does, too
    with monkeypatch.context() as patch:
        patch.setenv(programs.FOLDER, "")
        as_users_have_it = run(name, case)
    kept = run(name, case)
    assert traced == [name] * 2
    assert same(as_users_have_it, kept)
    assert same(as_users_have_it, run(name, case))
    assert traced == [name] * 2


def test_a_kept_train_step_gives_the_same_bits_untraced(folder: Path, traced: list[str]) -> None:
    """With biases, and with zeros in their place that stay."""

    def trained(bias: bool, reused: bool) -> dict[str, np.ndarray]:
        jax.clear_caches()
        programs.forget()
        case = a_case("rnn_tanh", bias=bias, lengths=None)
        network = JAX.implementations["scratch"](case.spec, "float32", "cpu")
        network.load_weights(case.weights)
        network.move_inputs(inputs_of(case))
        network.load_training(a_training(case, learning_rate=0.5))
        if reused:
            network.reuse_programs()
        network.train_step()
        network.train_step()
        return network.extract()

    for number, bias in enumerate((True, False), start=1):
        as_it_is_timed, kept = trained(bias, reused=False), trained(bias, reused=True)
        assert len(list(folder.iterdir())) == number
        traced.clear()
        assert same(as_it_is_timed, kept)
        assert same(as_it_is_timed, trained(bias, reused=True))
        assert traced == []


def opened(name: str) -> Network:
    """A model as workers open it, in a process that has forgotten the programs it knew."""
    jax.clear_caches()
    programs.forget()
    network = JAX.network(MODELS[name].spec, "scratch", "float32", "cpu")
    network.reuse_programs()
    network.load_weights(MODELS[name].weights)
    network.set_optimizer(OptimizerSettings(name="adam", learning_rate=0.01, clip_norm=1.0))
    return network


def given_by(name: str) -> dict[str, np.ndarray]:
    """What a model gives by each of its programs: of a tagger two steps of training, results and predictions, of a
    translator its loss, greedy answers of two lengths, and answers by two beams.
    """
    network, batch = opened(name), MODELS[name].batch
    asked = unlabelled(batch)
    if name == "translator":
        greedy = {f"{steps} steps": network.decode(asked, steps) for steps in (3, 4)}
        return greedy | network.beam(asked, 3, 2) | {"loss": np.array(network.loss(batch))}
    steps = [(step.loss, step.accuracy, step.gradient_norm) for step in network.train([batch] * 2)]
    given = {"steps": np.array(steps)} | network.weights() | network.optimizer_state()
    allowed = MODELS[name].allowed()
    assert allowed is not None
    given |= {f"predicted {key}": value for key, value in network.predict(asked | {"allowed": allowed}).items()}
    return given | network.results(batch)


@pytest.mark.parametrize(("name", "count"), [("tagger", 3), ("translator", 5)])
def test_kept_programs_of_a_model_give_the_same_bits_untraced(
    folder: Path, traced: list[str], name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the files of ours that gave operations are in the key."""
    texts: list[str] = []
    keep = programs._keep

    def noted(lowered: jax.stages.Lowered, path: Path) -> Callable[..., Any]:
        texts.append(lowered.as_text(debug_info=True))
        return keep(lowered, path)

    monkeypatch.setattr(programs, "_keep", noted)
    with monkeypatch.context() as patch:
        patch.setenv(programs.FOLDER, "")
        as_it_is_timed = given_by(name)
    assert texts == []
    kept = given_by(name)
    assert len(texts) == len(list(folder.iterdir())) == count
    traced.clear()
    assert same(as_it_is_timed, kept)
    assert same(as_it_is_timed, given_by(name))
    assert traced == []
    files = {file for text in texts for file in re.findall(rf'loc\("{ROOT}/(\S+?)"', text)}
    folders = {file.rpartition("/")[0] for file in files if not file.startswith(CALLERS) and INSTALLED not in file}
    assert {"backends/jax_flax/layer", "backends/jax_flax/models"} <= folders <= set(programs.SOURCES)


def test_other_models_and_optimizers_are_other_programs(folder: Path, traced: list[str]) -> None:
    """Other numbers of an optimizer, which are arguments, are not."""
    tagger, other = opened("tagger"), JAX.network(OTHER, "scratch", "float32", "cpu")
    batch = MODELS["tagger"].batch
    for settings in (
        {"name": "sgd", "learning_rate": 0.1},
        {"name": "sgd", "learning_rate": 0.2, "weight_decay": 0.1},
        {"name": "momentum", "learning_rate": 0.1},
    ):
        tagger.set_optimizer(OptimizerSettings.model_validate(settings))
        tagger.train([batch])
    assert len(traced) == len(list(folder.iterdir())) == 2
    other.reuse_programs()
    for network in (tagger, other):
        network.load_weights(MODELS["tagger"].weights)
        network.loss(batch)
    assert len(traced) == len(list(folder.iterdir())) == 4


def test_other_shapes_lengths_and_surroundings_are_other_programs(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    for other in (
        replace(CASE, spec=CASE.spec.model_copy(update={"cell": "rnn_relu"})),
        replace(CASE, x=CASE.x[:, :4], lengths=np.array([4, 0, 1])),
        replace(CASE, lengths=None),
    ):
        run(case=other)
    for name in ("_sources", "_files_of_jax"):
        monkeypatch.setattr(programs, name, lambda: "changed")
        run()
    with jax.default_matmul_precision("default"):
        run()
    assert len(traced) == len(list(folder.iterdir())) == 7


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"\x00" * 64])
def test_a_damaged_program_is_traced_and_kept_anew(
    folder: Path, traced: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = run()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert same(first, run())
    assert len(traced) == 2
    assert file.read_bytes() == whole
    run()
    assert len(traced) == 2


class Planted:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_pickle_that_is_not_the_one_written_is_not_read(folder: Path, traced: list[str], tmp_path: Path) -> None:
    run()
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:DIGEST] + pickle.dumps(Planted(tmp_path / "touched")))
    run()
    assert len(traced) == 2
    assert not (tmp_path / "touched").exists()


@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache entry")
def test_machine_code_that_is_damaged_or_gone_is_compiled_anew(entries: Path, folder: Path, traced: list[str]) -> None:
    first = run()
    for damage in (lambda entry: entry.write_bytes(entry.read_bytes()[:99]), lambda entry: entry.unlink()):
        for entry in entries.glob("jit__forward-*-cache"):
            damage(entry)
        assert same(first, run())
    assert len(traced) == 3


def test_a_class_from_elsewhere_is_always_traced(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is in no key."""
    theirs = type("Scratch", (JAX.implementations["scratch"],), {"__module__": "theirs"})
    monkeypatch.setattr(JAX, "implementations", {"scratch": theirs})
    run()
    run()
    network = JAX.network(MODELS["tagger"].spec, "scratch", "float32", "cpu")
    network.reuse_programs()
    network.load_weights(MODELS["tagger"].weights)
    network.loss(MODELS["tagger"].batch)
    assert len(traced) == 3
    assert not folder.exists()


def test_nothing_is_kept_where_no_folder_is_named_or_jax_has_no_cache(
    entries: Path, folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(programs.FOLDER, "")
        run()
    jax.config.update("jax_enable_compilation_cache", False)
    run()
    assert len(traced) == 2
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.touch()
    assert same(run(), run())
    assert len(traced) == 2
    assert folder.read_bytes() == b""


def test_programs_unused_for_longest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a process starts."""
    monkeypatch.setattr(programs, "MOST_BYTES", 10)
    folder.mkdir()
    for number in range(2):
        (folder / str(number)).write_bytes(bytes(10))
        os.utime(folder / str(number), (9 - number, 9 - number))
    type(JAX)()
    assert [*folder.iterdir()] == [folder / "0"]


def test_programs_are_forgotten_with_jaxs_own(folder: Path, traced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds memory mappings, of which Linux allows a process only so many."""
    monkeypatch.setattr(implementation, "PROGRAMS_KEPT", 2)
    monkeypatch.setattr(implementation, "_kept", set())
    for steps in (4, 5, 3):
        execute(JAX, replace(CASE, x=CASE.x[:, :steps], lengths=None), "scratch", "float32", "cpu")
    assert len(programs._KNOWN) == 1


def test_what_is_timed_is_the_jitted_function(folder: Path, traced: list[str]) -> None:
    """A kept program is called past jax.jit, whose own time is part of what users wait for."""
    network = JAX.implementations["scratch"](CASE.spec, "float32", "cpu")
    network.load_weights(CASE.weights)
    network.move_inputs(inputs_of(CASE))
    jax.clear_caches()
    network.forward()
    model = JAX.network(MODELS["tagger"].spec, "scratch", "float32", "cpu")
    model.load_weights(MODELS["tagger"].weights)
    model.loss(MODELS["tagger"].batch)
    assert traced == ["scratch"] * 2
    assert not folder.exists()
