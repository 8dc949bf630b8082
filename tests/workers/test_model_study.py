"""Judging models in workers: what a wrong one is called, whichever way it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.layer import Arrays
from backends.interface.network import Network
from backends.pool.pool import Pool
from backends.pool.selection import select
from backends.registry import Backend
from backends.studies.models import ModelStudy
from backends.studies.study import Outcome
from common.models import reference
from common.models.batch import Batch
from common.models.small_cases import ModelCase, model_cases
from common.models.specification import Model, SequenceModel
from common.tasks.task import unlabelled
from tests.numpy_loop.birnn_numpy_loop.framework import Loop
from tests.numpy_loop.birnn_numpy_loop.networks import LoopNetwork

BACKEND = Backend(name="judged", load="tests.workers.test_model_study:load")


class ForgetsABias(LoopNetwork):
    """Trains the head without its bias: its gradient is 0."""

    def results(self, batch: Batch) -> Arrays:
        tensors = super().results(batch)
        return tensors | {"grad.head.0.bias": np.zeros_like(tensors["grad.head.0.bias"])}


class AnswersAnother(LoopNetwork):
    """One label of all is another."""

    def predict(self, batch: Batch) -> Arrays:
        labels = super().predict(batch)["labels"].copy()
        labels.flat[0] = (labels.flat[0] + 1) % 2
        return {"labels": labels}


class Raises(LoopNetwork):
    def results(self, batch: Batch) -> Arrays:
        raise RuntimeError("no such kernel")


NETWORKS = {"well": LoopNetwork, "forgets": ForgetsABias, "answers": AnswersAnother, "raises": Raises}


class Judged(Framework):
    name = "judged"
    gaps = ()
    implementations = dict.fromkeys(NETWORKS, Loop)

    def versions(self) -> dict[str, str]:
        return {"judged": "1.0"}

    def devices(self) -> dict[str, str]:
        return {"cpu": "1 thread"}

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        return NETWORKS[implementation](spec, implementation, dtype, device)


def load() -> Framework:
    return Judged()


@pytest.fixture
def outcomes(registered: Callable[..., None]) -> dict[tuple[str, str], Outcome]:
    """A case that is judged and one that is only answered, by implementation and case."""
    registered(BACKEND)
    judged = next(case for case in model_cases() if case.name == "classifier")
    cases = [judged, answered(judged)]
    told: list[Outcome] = []
    with Pool.open() as pool:
        study = ModelStudy(pool, select(pool, []), cases, ["float32"], "cpu", 30, told.append)
        study.run()
        assert len(told) == study.size() == len(NETWORKS) * len(cases)
    return {(outcome.implementation.partition("/")[2], outcome.case): outcome for outcome in told}


def answered(case: ModelCase) -> ModelCase:
    """The same model, whose labels are its own answers."""
    assert isinstance(case.spec, SequenceModel)
    labels = reference.predict(case.spec, case.weights, unlabelled(case.batch), "float64")["labels"]
    return replace(case, name="answered", batch={**case.batch, "labels": labels}, answered=True)


def test_each_way_of_being_wrong_is_told(outcomes: dict[tuple[str, str], Outcome]) -> None:
    statuses = {key: outcome.status for key, outcome in outcomes.items()}
    wrong = {key: status for key, status in statuses.items() if status != "agrees"}
    assert wrong == {
        ("forgets", "model classifier"): "disagrees",
        ("answers", "model answered"): "disagrees",
        ("raises", "model classifier"): "failed",
    }
    assert "grad.head.0.bias" in outcomes["forgets", "model classifier"].reason
    assert not any(outcomes[key].good for key in wrong)
