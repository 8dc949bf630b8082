"""Text from a worker: each token is told from those before it alone, as the reference tells it, until the end token."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer, Pool
from backends.registry import backends
from backends.studies.generation import Sampling, continued, prompt_batch
from common.models.reference import predict
from common.models.specification import END, START, Arrays, SequenceModel, initialise
from common.specification import Specification

MOST = 7
PROMPTS = [np.array(tokens, np.int64) for tokens in ([5, 6], [7], [6, 5, 8, 8], [8, 8])]


def spec_of(directions: int) -> SequenceModel:
    rnn = Specification.model_validate(
        {"cell": "gru", "input_size": 3, "hidden_size": 6, "num_layers": 1, "bias": True,
         "merge": "concat" if directions == 2 else None, "num_directions": directions}
    )  # fmt: skip
    return SequenceModel(rnn=rnn, num_embeddings=9, readout="steps", classes=9)


def weights_of(spec: SequenceModel) -> Arrays:
    """Drawn so large that one token follows from those before it."""
    return {name: 4 * value for name, value in initialise(spec, np.random.default_rng(11)).items()}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool.open() as opened:
        yield opened


def network_of(pool: Pool, directions: int) -> tuple[RemoteNetwork, SequenceModel, Arrays]:
    backend = backends()["numpy"]
    ask = partial(pool.ask, backend, timeout_seconds=60)
    network = RemoteNetwork(f"of-{directions}", ask, partial(pool.distrust, backend), lambda name: pool.folder / name)
    spec = spec_of(directions)
    weights = weights_of(spec)
    network.open(spec, "loop", "float64", "cpu", weights, prompt_batch(PROMPTS, MOST))
    return network, spec, weights


def by_the_reference(spec: SequenceModel, weights: Arrays, prompt: np.ndarray) -> list[int]:
    """The likeliest token behind the prompt, asked again with it, without anything behind."""
    said: list[int] = []
    while len(said) < MOST and END not in said:
        tokens = np.array([[START, *prompt.tolist(), *said]])
        said.append(int(predict(spec, weights, {"tokens": tokens})["labels"][0, -1]))
    return said


@pytest.mark.parametrize("directions", [1, 2])
def test_each_token_is_the_likeliest_behind_those_before_it(pool: Pool, directions: int) -> None:
    """For prompts of unequal lengths, of which some end and some do not."""
    network, spec, weights = network_of(pool, directions)
    expected = [by_the_reference(spec, weights, prompt) for prompt in PROMPTS]
    assert [tokens.tolist() for tokens in continued(network, PROMPTS, MOST)] == expected
    assert len({tuple(tokens) for tokens in expected}) > 1
    if directions == 1:
        assert 0 < sum(END in tokens for tokens in expected) < len(expected)


def test_what_is_drawn_is_the_seed_s_and_as_spread_as_the_temperature(pool: Pool) -> None:
    network, _, _ = network_of(pool, 1)

    def drawn(temperature: float, seed: int) -> list[list[int]]:
        return [tokens.tolist() for tokens in continued(network, PROMPTS, MOST, Sampling(temperature, seed))]

    assert drawn(1.0, 3) == drawn(1.0, 3) != drawn(1.0, 4)
    assert drawn(1e-300, 3) == drawn(0.0, 4)
    flat = np.concatenate([np.concatenate(drawn(100.0, seed)) for seed in range(12)])
    assert set(flat.tolist()) == set(range(9))


def test_answers_that_lack_a_step_end_the_worker(pool: Pool) -> None:
    class Short(RemoteNetwork):
        def answers(self, *arguments: object, **options: object) -> list[Arrays]:
            return [{"logits": np.zeros((len(PROMPTS), 2, 9))}]

    backend = backends()["numpy"]
    network = Short("short", partial(pool.ask, backend, timeout_seconds=60), partial(pool.distrust, backend),
                    lambda name: pool.folder / name)  # fmt: skip
    with pytest.raises(NoAnswer, match="must be logits of every step"):
        continued(network, PROMPTS, MOST)
