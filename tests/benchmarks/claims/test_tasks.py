"""What claims train stays as it was measured, whatever ``birnn train`` does where nothing else is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.claims.tasks import short_task
from common.tasks import building
from common.tasks.building import build_task
from common.tasks.recipes import RECIPES, adam
from common.tasks.task import Options, Task

CLAIMED = {"pipeline": Options(limit=60, seed=2), "language": Options(limit=30, directions=1, hidden_size=5)}


def told(task: Task) -> tuple[object, ...]:
    """What a training hangs on."""
    return task.fingerprint(), task.epochs, task.optimizer


@pytest.mark.parametrize("name", CLAIMED)
def test_another_default_of_training_changes_no_claim(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(short_task(name, CLAIMED[name]))
    others = {
        kind: replace(of, cell="rnn_tanh", hidden_size=3, num_layers=2, dropout=0.5, batch_size=7, epochs=99,
                      optimizer=adam(1.0))
        for kind, of in RECIPES.items()
    }  # fmt: skip
    monkeypatch.setattr(building, "RECIPES", others)
    assert all(new != old for new, old in zip(told(build_task(name, CLAIMED[name])), before, strict=True))
    assert told(short_task(name, CLAIMED[name])) == before
