"""Hold models in every implementation against the reference: outputs, loss and gradients."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from backends.pool.network import RemoteNetwork
from backends.pool.pool import Channel
from backends.studies.study import Outcome, Study
from common.judging.agreement import Verdict, with_reasons
from common.judging.models import ModelYardstick, judge_model, judge_paths, model_yardstick
from common.judging.trial import judge_trial
from common.models.batch import Batch
from common.models.crf.scores import ALLOWED
from common.models.small_cases import ModelCase
from common.models.specification import Arrays
from common.tasks.task import right_answers, unlabelled

NO_LABELS = np.zeros(0, np.int64)
"""Stands for labels that are missing, and agrees with nothing."""


class ModelStudy(Study[ModelCase]):
    """Runs model cases in the selected implementations and dtypes."""

    title = "model {}"

    def _run_one(self, channel: Channel, case: ModelCase, implementation: str, dtype: str) -> Outcome:
        """Results against the reference, or, for a case that is only answered, its labels, without exception."""
        yard = None if case.answered else self._yardstick(case, dtype)
        weights, batch = (case.weights, case.batch) if yard is None else (yard.weights, yard.batch)
        asked = unlabelled(batch) if yard is None else dict(batch)
        ask = partial(channel.ask, timeout_seconds=self._timeout)
        network = RemoteNetwork("judged", ask, channel.distrust, channel.file)
        started = time.perf_counter()
        network.open(case.spec, implementation, dtype, self._device, weights, dict(batch))
        (answers,) = network.answers("predict" if yard is None else "results", [asked])
        paths = network.answers("predict", _asked_for_paths(case, batch)) if case.spec.head == "crf" else []
        seconds = time.perf_counter() - started
        # Judging may run the reference once more, for a decoder that chose otherwise where two tokens were near.
        verdict = (
            _same_answers(answers, case)
            if yard is None
            else judge_trial(answers, yard, judge=partial(self._pool.compute, self._timeout, judge_model), explain=None)
        )
        for answer, allowed in zip(paths, (None, case.allowed()), strict=False):
            assert yard is not None
            verdict = with_reasons(verdict, judge_paths(answer.get("labels", NO_LABELS), yard, allowed))
        return self._judged(channel, case, implementation, dtype, verdict, seconds=seconds)

    def _yardstick(self, case: ModelCase, dtype: str) -> ModelYardstick:
        return self._reference((case.name, dtype), model_yardstick, case.spec, case.weights, case.batch, dtype)


def _asked_for_paths(case: ModelCase, batch: Batch) -> list[Arrays]:
    """What is asked of a CRF besides: its best path, and the best of those that the case allows."""
    allowed = case.allowed()
    assert allowed is not None
    return [unlabelled(batch), unlabelled(batch) | {ALLOWED: allowed}]


def _same_answers(answers: Arrays, case: ModelCase) -> Verdict:
    """Whether every counted label is the case's own."""
    right, count = right_answers(case.spec, case.batch, answers["labels"])
    return Verdict(right == count, [] if right == count else [f"all {count} answers must be the model's; {right} are"])
