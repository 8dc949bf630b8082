"""How long a streamed tagger takes: to the first answer, and for a step; one row, as a stream is."""

from __future__ import annotations

import numpy as np

from backends.pool.network import RemoteNetwork
from benchmarks.claims.claim import RAGGED
from benchmarks.claims.training import DTYPE
from benchmarks.claims.workshop import Workshop
from benchmarks.machine.company import Watch
from benchmarks.maintain.streaming.record import ONE_DIRECTION, ONE_LAYER, Timed
from common.errors import InputError
from common.models.reference import predict
from common.models.specification import Arrays, SequenceModel, initialise
from common.models.streaming import Streaming
from common.specification import Specification

STEPS = 80
"""Steps of the row."""
PACES = {
    ONE_LAYER: [Streaming(chunk=c, look_ahead=a) for c, a in ((STEPS, 0), (1, 0), (1, 5), (5, 5), (10, 5), (20, 10))],
    ONE_DIRECTION: [Streaming(chunk=STEPS), Streaming(chunk=1), Streaming(chunk=10)],
}
"""The paces of each model; the first of each is the whole sequence at once."""
ROUNDS, WARM_ROUNDS = 15, 2
"""How often each pace is run, in random order, and how often before, untimed: then everything is compiled."""
CLOSE = 1e-3
"""How far a float32 logit may be from the float64 reference's."""


def timed_model(model: str, units: int = 64) -> SequenceModel:
    """The tagger of ``birnn train``, as wide and with as many words and tags as UD_English-EWT gives it."""
    one = model == ONE_DIRECTION
    rnn = Specification(
        cell="lstm",
        input_size=units,
        hidden_size=units,
        num_layers=1,
        bias=True,
        merge=None if one else "concat",
        num_directions=1 if one else 2,
    )
    return SequenceModel(rnn=rnn, num_embeddings=2000, readout="steps", classes=17)


def times_of(
    workshop: Workshop, name: str, model: str, *, rounds: int = ROUNDS, steps: int = STEPS, units: int = 64
) -> list[Timed]:
    """The times of every pace of a model in ``framework/implementation``; each pace is judged before it is timed.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    InputError
        If an answer is not the reference's.
    """
    spec, rng = timed_model(model, units), np.random.default_rng(0)
    weights = initialise(spec, rng)
    row = {"tokens": rng.integers(5, 2000, (1, steps)), "lengths": np.array([steps])}
    framework, _, implementation = name.partition("/")
    network = workshop.network(framework, "timed")
    network.open(spec, implementation, DTYPE, "cpu", weights, row)
    wanted = [Streaming(chunk=min(pace.chunk, steps), look_ahead=pace.look_ahead) for pace in PACES[model]]
    wanted = list(dict.fromkeys(wanted))
    for pace in wanted:
        check_answer(_asked(network, row, pace)["logits"][0], spec, weights, row["tokens"][0], pace, name)
    seconds: dict[Streaming, list[np.ndarray]] = {pace: [] for pace in wanted}
    watch = Watch(workshop.pool.pids)
    for number in range(WARM_ROUNDS + rounds):
        for pace in rng.permutation(len(wanted)):
            each_round = _asked(network, row, wanted[pace])["seconds"]
            if number >= WARM_ROUNDS:
                seconds[wanted[pace]].append(each_round)
    others_cpu = watch.company().taken
    network.close()
    return [
        Timed(
            implementation=name,
            model=model,
            streaming=pace,
            steps=steps,
            rounds=rounds,
            first_seconds=float(np.median([each[0] for each in each_round])),
            step_seconds=float(np.median([each.sum() / steps for each in each_round])),
            others_cpu=others_cpu,
        )
        for pace, each_round in seconds.items()
    ]


def _asked(network: RemoteNetwork, row: Arrays, pace: Streaming) -> Arrays:
    """The answer to the row at a pace."""
    (answer,) = network.answers("predict", [row], streaming=pace)
    return answer


def check_answer(
    logits: np.ndarray, spec: SequenceModel, weights: Arrays, tokens: np.ndarray, pace: Streaming, name: str
) -> None:
    """Raise an ``InputError`` where the streamed logits (steps, classes) of a model of one layer are not the
    reference's: for each window those of the row up to the window's end.
    """
    for window in pace.windows(len(tokens)):
        beginning = {"tokens": tokens[None, : window.end], "lengths": np.array([window.end])}
        chunk = slice(window.start, window.start + window.chunk)
        away = np.abs(predict(spec, weights, beginning)["logits"][0, chunk] - logits[chunk]).max()
        if not away < CLOSE:
            raise InputError(f"{name} must answer {pace} as the reference does to {CLOSE}; it is {away:.3g} away")


IMPLEMENTATIONS = tuple(RAGGED.values())
"""What is timed: each framework's own layer, or what of its own takes windows that are not full."""
