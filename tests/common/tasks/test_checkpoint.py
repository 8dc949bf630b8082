"""Checkpoints: what is written comes back, and what is of no use as a model is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.models.optimizers import OptimizerSettings
from common.models.pipeline_data import pipeline_data, pipeline_model
from common.models.small_cases import model_cases
from common.models.specification import initialise, model_as_json, model_from_json
from common.models.trace import ReferenceTrainer
from common.tasks.checkpoint import Checkpoint, CheckpointHeader, read_checkpoint, version_of, write_checkpoint
from common.tensorfile import read

SPEC = pipeline_model()
REVERSE = "rnn.weight_ih_l0_reverse"


def a_checkpoint(trainer: ReferenceTrainer) -> Checkpoint:
    header = CheckpointHeader(
        version=version_of(SPEC),
        task="pipeline",
        model=model_as_json(SPEC),
        vocabularies={"labels": {"names": ["b", "a", "e", "c", "d"]}},
        fingerprint="f" * 64,
        implementation="numpy/loop",
        dtype="float64",
        versions={"numpy": np.__version__},
        epoch=1,
        trace=[(1.5, 0.25, 0.125)],
        accuracies=[0.5],
    )
    return Checkpoint(header, SPEC, trainer.weights(), trainer.optimizer_state())


def trained(steps: int = 2, learning_rate: float = 0.01) -> ReferenceTrainer:
    weights = initialise(SPEC, np.random.default_rng(0))
    trainer = ReferenceTrainer(SPEC, weights, OptimizerSettings(name="adam", learning_rate=learning_rate))
    trainer.train([pipeline_data(0, sequences=4).all()] * steps)
    return trainer


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    written = a_checkpoint(trained())
    write_checkpoint(written, tmp_path / "c.safetensors")
    checkpoint = read_checkpoint(tmp_path / "c.safetensors")
    assert (checkpoint.header, checkpoint.spec) == (written.header, written.spec)
    for mine, its in ((checkpoint.weights, written.weights), (checkpoint.state, written.state)):
        assert mine.keys() == its.keys()
        assert all(np.array_equal(mine[name], its[name]) and mine[name].dtype == its[name].dtype for name in its)
    assert list(checkpoint.weights) == list(written.weights)


def of_one_direction(trainer: ReferenceTrainer, **header: object) -> Checkpoint:
    """A checkpoint whose model has one direction, and whose weights are the forward ones of a trained one of two."""
    spec = pipeline_model()
    forward = spec.rnn.model_copy(update={"merge": None, "num_directions": 1})
    spec = spec.model_copy(update={"rnn": forward})
    weights = {name: value for name, value in trainer.weights().items() if not name.endswith("_reverse")}
    weights["head.0.weight"] = weights["head.0.weight"][:, : forward.hidden_size]
    checkpoint = a_checkpoint(trainer)
    changes = {"model": model_as_json(spec), "version": version_of(spec)} | header
    return Checkpoint(checkpoint.header.model_copy(update=changes), spec, weights, {})


def test_a_checkpoint_of_one_direction_is_of_version_2_and_of_two_of_version_1(tmp_path: Path) -> None:
    one, two = of_one_direction(trained()), a_checkpoint(trained())
    assert (one.header.version, version_of(one.spec), version_of(two.spec)) == (2, 2, 1)
    write_checkpoint(one, tmp_path / "c.safetensors")
    checkpoint = read_checkpoint(tmp_path / "c.safetensors")
    assert checkpoint.spec == one.spec
    assert not any(name.endswith("_reverse") for name in checkpoint.weights)


def with_crf(trainer: ReferenceTrainer, **header: object) -> Checkpoint:
    """A checkpoint whose model has a CRF, and else the weights of a trained one without."""
    spec = SPEC.model_copy(update={"head": "crf"})
    weights = initialise(spec, np.random.default_rng(1)) | trainer.weights()
    checkpoint = a_checkpoint(trainer)
    changes = {"model": model_as_json(spec), "version": version_of(spec)} | header
    return Checkpoint(checkpoint.header.model_copy(update=changes), spec, weights, {})


def test_a_crf_and_entities_need_version_4(tmp_path: Path) -> None:
    path, trainer = tmp_path / "c.safetensors", trained()
    chain = with_crf(trainer)
    assert chain.header.version == 4
    write_checkpoint(chain, path)
    assert read_checkpoint(path).spec == chain.spec
    assert "crf.transitions" in read_checkpoint(path).weights
    plain = a_checkpoint(trainer)
    write_checkpoint(plain, path)
    assert "entities" not in json.loads(read(path)[1]["birnn.checkpoint"])  # as versions 1 and 2 have been
    tagged = plain.header.model_copy(update={"entities": [(1, 2, 3)]})
    for mixed, reason in (
        (with_crf(trainer, version=3), "must have version 4 for a CRF; got 3"),
        (replace(plain, header=tagged), "must have version 4 for entities; got 1"),
        (
            replace(plain, header=tagged.model_copy(update={"version": 4, "entities": [(1, 2, 3)] * 2})),
            "must have held-out entities for each of its 1 epochs; got 2",
        ),
    ):
        write_checkpoint(mixed, path)
        with pytest.raises(InputError, match=reason):
            read_checkpoint(path)
    write_checkpoint(replace(plain, header=tagged.model_copy(update={"version": 4})), path)
    assert read_checkpoint(path).header.entities == [(1, 2, 3)]


def test_dropout_in_a_decoder_needs_version_5() -> None:
    """Older readers do not know the key; a model without it has none in its JSON."""
    dropped = next(case.spec for case in model_cases() if case.name == "translator")
    plain = dropped.model_copy(update={"decoder_dropout": 0.0})
    assert (version_of(dropped), version_of(plain)) == (5, 1)
    assert model_as_json(dropped)["decoder_dropout"] == dropped.decoder_dropout > 0
    assert "decoder_dropout" not in model_as_json(plain)
    assert model_from_json(model_as_json(dropped)) == dropped


def test_weights_and_model_of_other_directions_are_refused(tmp_path: Path) -> None:
    one, two, path = of_one_direction(trained()), a_checkpoint(trained()), tmp_path / "c.safetensors"
    for mixed, reason in (
        (replace(one, header=two.header), f"must have the parameter '{REVERSE}'; it is missing"),
        (
            replace(one, weights=one.weights | {REVERSE: two.weights[REVERSE]}),
            f"must have the parameters of its model alone; got '{REVERSE}'",
        ),
        (of_one_direction(trained(), version=1), "must have version 2 for num_directions 1; got 1"),
        (of_one_direction(trained(), version=6), "must have version 5 at most; got 6: upgrade birnn"),
    ):
        write_checkpoint(mixed, path)
        with pytest.raises(InputError, match=reason):
            read_checkpoint(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_checkpoint_of_training_that_diverged_is_refused(number: float, tmp_path: Path) -> None:
    checkpoint = a_checkpoint(trained())
    checkpoint.weights["rnn.weight_hh_l0"][2, 1] = number
    write_checkpoint(checkpoint, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"c.safetensors: rnn.weight_hh_l0 must be finite; training has diverged"):
        read_checkpoint(tmp_path / "c.safetensors")


def stopped(trainer: ReferenceTrainer, **header: object) -> Checkpoint:
    """A checkpoint of two epochs, of which the first had the lower validation loss."""
    checkpoint = a_checkpoint(trainer)
    kept = {name: value / 2 for name, value in checkpoint.weights.items()}
    content = {"epoch": 2, "trace": checkpoint.header.trace * 2, "accuracies": [0.5, 0.25], "version": 5}
    changes = content | {"validation_losses": [0.5, 0.75]} | header
    return replace(
        checkpoint, header=checkpoint.header.model_copy(update=changes), weights=kept, last=checkpoint.weights
    )


def test_the_best_epochs_weights_answer_and_the_last_ones_are_gone_on_from(tmp_path: Path) -> None:
    path, trainer = tmp_path / "c.safetensors", trained()
    trainer_weights = trainer.weights()
    write_checkpoint(stopped(trainer), path)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.header.best, checkpoint.header.epoch) == (1, 2)
    assert checkpoint.last is not None
    for name, value in trainer_weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], value / 2)
        np.testing.assert_array_equal(checkpoint.last[name], value)
    assert not any(name.startswith("last.") for name in checkpoint.weights | checkpoint.state)
    older = a_checkpoint(trainer)
    write_checkpoint(older, path)
    assert read_checkpoint(path).last is None
    assert read_checkpoint(path).header.best == 1
    assert "validation_losses" not in json.loads(read(path)[1]["birnn.checkpoint"])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"version": 4}, "must have version 5 for validation losses; got 4"),
        ({"validation_losses": [0.5]}, "must have a validation loss for each of its 2 epochs; got 1"),
    ],
)
def test_validation_losses_need_version_5_and_one_an_epoch(
    header: dict[str, object], reason: str, tmp_path: Path
) -> None:
    write_checkpoint(stopped(trained(), **header), tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=reason):
        read_checkpoint(tmp_path / "c.safetensors")


def test_last_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoint = stopped(trained())
    assert checkpoint.last is not None
    del checkpoint.last[REVERSE]
    write_checkpoint(checkpoint, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=f"must have the parameter '{REVERSE}'; it is missing"):
        read_checkpoint(tmp_path / "c.safetensors")


def test_the_best_epoch_outlives_a_training_that_diverges(tmp_path: Path) -> None:
    checkpoint = stopped(trained(), trace=[(1.5, 0.25, 0.125), (np.nan, 0, np.inf)], validation_losses=[0.5, np.nan])
    assert checkpoint.last is not None
    checkpoint.last["rnn.weight_hh_l0"][2, 1] = np.nan
    write_checkpoint(checkpoint, tmp_path / "c.safetensors")
    checkpoint = read_checkpoint(tmp_path / "c.safetensors")
    assert checkpoint.header.best == 1
    assert all(np.isfinite(value).all() for value in checkpoint.weights.values())
