"""The claim on the next token: what a model of two directions is worth where nothing stands behind the last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.pool.network import RemoteNetwork
from backends.studies.generation import continued, prompt_batch
from benchmarks.claims.claim import Claim, Part, Point, Rule
from benchmarks.claims.statements.learning import FRAMEWORK, IMPLEMENTATION
from benchmarks.claims.tasks import short_task
from benchmarks.claims.training import DTYPE, over_seeds, train
from benchmarks.claims.workshop import Workshop
from common.data.batching import evaluation_batches
from common.data.examples import Example, SequenceExample
from common.data.text import TokenUnit, tokens_of
from common.data.vocabulary import UNKNOWN, Vocabulary, vocabulary_from_json
from common.models.specification import Arrays
from common.tasks.language import cross_entropy, perplexity, spelled
from common.tasks.task import Options, Task, right_answers, unlabelled

ONE, TWO = "one direction", "two directions"
"""The names of the two models, by their directions."""
SEEDS = 2
"""How often each model is trained, with the seeds from 0 on."""
PROMPTS, FOLLOWING = 64, 5
"""Beginnings of held-out sentences that are gone on with, and how many tokens of it are compared."""
SHOWN, SHOWN_TOKENS = "The object is", {"words": 12, "characters": 60}
"""The prompt whose continuation is shown, and how long that gets."""


@dataclass(frozen=True)
class Judged:
    """What a network is worth, each by the share of right answers: ``whole`` and ``perplexity`` over whole sentences;
    ``next`` and ``next_perplexity`` behind beginnings; ``written`` of what it writes behind them; and a ``text``.
    """

    whole: float
    perplexity: float
    next: float
    next_perplexity: float
    written: float
    text: str


def beginnings(examples: Sequence[Example], seed: int) -> list[SequenceExample]:
    """A beginning of each sentence, of at least one token, cut where the seed says; its last label alone is known."""
    rng = np.random.default_rng([seed, 8])
    cut = []
    for each in examples:
        if not isinstance(each, SequenceExample) or each.labels is None or len(each.inputs) < 2:
            continue
        step = int(rng.integers(1, len(each.inputs)))
        labels = np.full(step + 1, UNKNOWN)
        labels[step] = each.labels[step]
        cut.append(SequenceExample(each.inputs[: step + 1], labels))
    return cut


def judged(network: RemoteNetwork, task: Task, examples: Sequence[Example]) -> tuple[float, float]:
    """The share of right answers of a network to examples of its task, and their perplexity."""
    batches = list(evaluation_batches(examples, task.batching, task.seed))
    answers = network.answers("predict", [unlabelled(batch) for batch in batches])
    pairs = list(zip(batches, answers, strict=True))
    counts = np.array([right_answers(task.spec, batch, answer["labels"]) for batch, answer in pairs])
    right, count = counts.sum(axis=0).tolist()
    return right / count, perplexity(sum(cross_entropy(batch, answer["logits"]) for batch, answer in pairs), count)


def share_written(network: RemoteNetwork, examples: Sequence[Example], prompts: Sequence[SequenceExample]) -> float:
    """The share of ``FOLLOWING`` tokens written behind each prompt that the example has at the same place.

    An example's tokens end with its end token; behind it nothing is compared.
    """
    every = [each.labels for each in examples if isinstance(each, SequenceExample) and each.labels is not None]
    asked = [prompt.inputs[1:] for prompt in prompts]
    right = total = 0
    for labels, prompt, said in zip(every, asked, continued(network, asked, FOLLOWING), strict=True):
        following = labels[len(prompt) : len(prompt) + FOLLOWING]
        same = min(len(following), len(said))
        right += int((following[:same] == said[:same]).sum())
        total += len(following)
    return right / total


def written(network: RemoteNetwork, vocabulary: Vocabulary, unit: TokenUnit) -> str:
    """What a network writes behind ``SHOWN``, its end token as it is shown."""
    (said,) = continued(network, [vocabulary.ids(tokens_of(SHOWN, unit))], SHOWN_TOKENS[unit])
    return spelled(vocabulary.spelled(said), unit)


def _judge(workshop: Workshop, task: Task, weights: Arrays, unit: TokenUnit) -> Judged:
    """What trained weights are worth on the held-out sentences of a task, as a worker's network answers."""
    network = workshop.network(FRAMEWORK, f"{task.name}-judged")
    held_out = [each for each in task.held_out if isinstance(each, SequenceExample) and len(each.inputs) > 1]
    cut = beginnings(held_out, task.seed)
    asked = prompt_batch([each.inputs[1:] for each in held_out], max(FOLLOWING, *SHOWN_TOKENS.values()))
    implementation = IMPLEMENTATION.partition("/")[2]
    network.open(task.spec, implementation, DTYPE, "cpu", weights, {name: asked[name][:PROMPTS] for name in asked})
    whole, of_whole = judged(network, task, held_out)
    following, of_following = judged(network, task, cut)
    share = share_written(network, held_out[:PROMPTS], cut[:PROMPTS])
    text = written(network, vocabulary_from_json(task.vocabularies[unit], unit), unit)
    network.close()
    return Judged(whole, of_whole, following, of_following, share, text)


def next_token(workshop: Workshop, unit: TokenUnit) -> list[Point]:
    """Models of one and of two directions side by side, over seeds."""
    worth: dict[str, list[Judged]] = {ONE: [], TWO: []}
    for seed in range(SEEDS):
        for directions, name in ((1, ONE), (2, TWO)):
            workshop.tell(f"{name}, seed {seed}")
            task = short_task("language", Options(unit=unit, directions=directions, seed=seed))  # type: ignore[arg-type]
            learned: list[Arrays] = []
            train(workshop, IMPLEMENTATION, task, also=learned)
            worth[name].append(_judge(workshop, task, learned[0], unit))
    gains = [two.next - one.next for one, two in zip(worth[ONE], worth[TWO], strict=True)]
    points = []
    for name, of_name in worth.items():
        numbers = {
            "perplexity of whole sentences": float(np.mean([each.perplexity for each in of_name])),
            "perplexity of the next": float(np.mean([each.next_perplexity for each in of_name])),
            "right in whole sentences": float(np.mean([each.whole for each in of_name])),
            "right next": float(np.mean([each.next for each in of_name])),
            f"right of {FOLLOWING} written": float(np.mean([each.written for each in of_name])),
        }
        numbers |= over_seeds("gain", gains) if name == TWO else {}
        where: dict[str, str | float] = {"framework": FRAMEWORK, "tokens": unit, "what": name}
        points.append(Point(where=where, numbers=numbers, notes={f"behind “{SHOWN}”": of_name[0].text}))
    return points


CLAIMS = (
    Claim(
        name="two-directions-cannot-predict-the-next-token",
        module=__name__,
        sentence="A bidirectional model cannot predict the next token.",
        where="introductions to language models",
        measured="`birnn train language` with one direction and with two, by words and by characters of Python's "
        f"reference, {SEEDS} seeds, {IMPLEMENTATION}. Perplexity and share of right answers over whole held-out "
        "sentences, where two directions see their own answer; the same of the next token behind a beginning of each, "
        f"where nobody does; the share of {FOLLOWING} tokens written behind {PROMPTS} of these that the sentence has "
        "there; and what is written behind a prompt.",
        rule=Rule("gain", "the accuracy of two directions minus that of one, behind a beginning,", "below", -0.05, 0.0),
        parts=(
            Part("words", FRAMEWORK, lambda workshop: next_token(workshop, "words")),
            Part("characters", FRAMEWORK, lambda workshop: next_token(workshop, "characters")),
        ),
        limits="Over whole sentences it looks far better than one direction, for it reads the answer from the right.",
    ),
)
"""The claim on the next token."""
