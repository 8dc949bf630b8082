"""What ``birnn predict`` does: read the input, run the checkpoint, print what a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface.gaps import DECLINED, DEVICES
from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer, Pool
from backends.registry import backends
from backends.studies.generation import Sampling, continued, prompt_batch
from birnn import exit_codes
from birnn.commands.workers import workers
from birnn.display import say, stderr
from birnn.options import one_of
from common.data.pronunciations import letters
from common.data.text import read_texts, tokenise
from common.data.vocabulary import MASK, SPECIAL, UNKNOWN, Labels, Vocabulary, labels_from_json, vocabulary_from_json
from common.errors import InputError, shown
from common.models.specification import END, Arrays, Model
from common.specification import NUM_DIRECTIONS
from common.tasks.checkpoint import read_checkpoint, unit_of
from common.tasks.language import spelled, tokens_of
from common.tasks.task import LANGUAGE, NAMES
from common.tensorfile import read

G2PM = "g2pm"
"""The name of the model that comes with the suite, trained by the authors of g2pM."""
SPLIT: dict[str, Callable[[str], tuple[str, ...]]] = {"seq2seq": letters, G2PM: lambda text: tuple(text)}
"""How a text falls into a model's tokens, where it is not by words."""


@dataclass(frozen=True)
class Prompt:
    """The arguments that a language model alone has, None where they were not given."""

    text: str | None = None
    temperature: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Asked:
    """The arguments of ``birnn predict``."""

    model: str
    texts: tuple[str, ...]
    data: Path | None
    checkpoint: Path | None
    framework: str
    dtype: str
    device: str
    max_steps: int
    threads: int
    timeout_seconds: float
    prompt: Prompt = Prompt()


@dataclass(frozen=True)
class TrainedModel:
    """A trained model: its parameters, and what turns ids into words and labels again."""

    spec: Model
    weights: Arrays
    vocabularies: dict[str, Any]
    where: str

    def vocabulary(self, name: str) -> Vocabulary:
        """Read the vocabulary of a name."""
        return vocabulary_from_json(self.vocabularies[name], f"{self.where}: the vocabulary {name}")

    def labels(self) -> Labels:
        """Read the labels."""
        return labels_from_json(self.vocabularies["labels"], f"{self.where}: the labels")


def predict(asked: Asked) -> int:
    """Answer and print; the exit code."""
    one_of("MODEL", asked.model, (*NAMES, G2PM))
    one_of("--dtype", asked.dtype, ("float32", "float64"))
    one_of("--device", asked.device, DEVICES)
    _check_prompt(asked)
    trained = _g2pm() if asked.model == G2PM else _from_checkpoint(asked)
    words = _prompted(asked, trained) if asked.model == LANGUAGE else _words(asked)
    batch = _batch(asked, trained, words)
    pattern = asked.framework if "/" in asked.framework else f"{asked.framework}/manual"
    with workers([pattern], asked.threads, "--framework") as (pool, selection):
        implementations = [(name, each) for name, group in selection.implementations.items() for each in group]
        if not implementations:
            raise InputError(next(iter(selection.broken.values()), "--framework must have an implementation; got none"))
        name, chosen = implementations[0]
        try:
            answer = _answer(pool, name, chosen, asked, trained, batch)
        except NoAnswer as error:
            status = error.reply.status
            stderr().print(f"birnn: {name}/{chosen}: {status}: {error}", markup=False)
            return exit_codes.decide(wrong=status not in DECLINED, broken=False, checked=False)
    for line in readable(asked.model, trained, batch, words, answer):
        say(line)
    return exit_codes.AGREED


def readable(
    model: str, trained: TrainedModel, batch: Arrays, words: Sequence[Sequence[str]], answer: Arrays
) -> Iterable[str]:
    """One line a row: words with tags, a label with its text, phonemes, a sentence with its gaps filled."""
    if model == "seq2seq":
        target = trained.vocabulary("target")
        for word, tokens in zip(words, answer["tokens"], strict=True):
            yield f"{''.join(word)}\t{' '.join(target.answer(tokens))}"
    elif model == "masked":
        vocabulary = trained.vocabulary("words")
        for sentence, tokens, labels in zip(words, batch["tokens"], answer["labels"], strict=True):
            filled = vocabulary.spelled(labels[: len(sentence)])
            gaps = tokens[: len(sentence)] == MASK
            yield " ".join(f"[{new}]" if gap else old for old, new, gap in zip(sentence, filled, gaps, strict=True))
    elif model == LANGUAGE:
        unit = unit_of(trained.vocabularies)
        for prompt, tokens in zip(words, answer["tokens"], strict=True):
            said = trained.vocabulary(unit).spelled(tokens[tokens != END])
            yield spelled([*prompt, *said, *(() if END in tokens else ("…",))], unit)
    elif model == G2PM:
        yield from _pronounced(words, answer["labels"])
    elif answer["labels"].ndim == 2:
        names = trained.labels().names if "labels" in trained.vocabularies else None
        steps = batch.get("lengths", np.full(len(answer["labels"]), answer["labels"].shape[1]))
        for row, (labels, count) in enumerate(zip(answer["labels"], steps, strict=True)):
            said = [names[label] if names else str(label) for label in labels[:count]]
            pairs = zip(words[row], said, strict=True) if words else (("", each) for each in said)
            yield " ".join(f"{word}/{label}" if word else label for word, label in pairs)
    else:
        names = trained.labels().names
        for row, label in enumerate(answer["labels"]):
            yield f"{names[int(label)]}\t{' '.join(words[row])}" if words else names[int(label)]


def _pronounced(words: Sequence[Sequence[str]], labels: np.ndarray) -> Iterable[str]:
    """Each sentence with the readings that the model chose for its polyphonic characters."""
    from common.data.g2pm_sentences import g2pm_labels, g2pm_polyphones

    names = g2pm_labels().names
    sentences = tuple("".join(sentence) for sentence in words)
    places = {(each.sentence, each.index) for each in g2pm_polyphones(sentences)}
    for row, sentence in enumerate(sentences):
        said = [
            f"{character}[{names[labels[row, index + 1]]}]" if (row, index) in places else character
            for index, character in enumerate(sentence)
        ]
        yield "".join(said)


def _from_checkpoint(asked: Asked) -> TrainedModel:
    """The model of a checkpoint; an ``InputError`` where it is one of another task."""
    if asked.checkpoint is None:
        raise InputError(f"--checkpoint must name a file that birnn train {asked.model} has written; got none")
    checkpoint = read_checkpoint(asked.checkpoint)
    if checkpoint.header.task != asked.model:
        raise InputError(
            f"{asked.checkpoint}: must be a checkpoint of {asked.model}; got one of {checkpoint.header.task}"
        )
    return TrainedModel(checkpoint.spec, checkpoint.weights, checkpoint.header.vocabularies, str(asked.checkpoint))


def _g2pm() -> TrainedModel:
    """The model that comes with the suite."""
    from common.data.g2pm_sentences import g2pm_spec, g2pm_weights

    return TrainedModel(g2pm_spec(), g2pm_weights(), {}, "g2pM")


def _check_prompt(asked: Asked) -> None:
    """Raise an ``InputError`` where a prompt, or what goes with it, is missing or has no place."""
    given = {"prompt": asked.prompt.text, "temperature": asked.prompt.temperature, "seed": asked.prompt.seed}
    for option, value in given.items():
        if value is not None and asked.model != LANGUAGE:
            raise InputError(f"--{option} must be left out for {asked.model}, which writes no text; got {shown(value)}")
    if asked.model != LANGUAGE:
        return
    if asked.texts or asked.data is not None:
        got = asked.texts[0] if asked.texts else asked.data
        raise InputError(f"language goes on with a --prompt: texts and --data must be left out; got {shown(got)}")
    if asked.prompt.text is None or not asked.prompt.text.strip():
        got = "none" if asked.prompt.text is None else shown(asked.prompt.text)
        raise InputError(f"--prompt must hold at least one word that language goes on with; got {got}")


def _prompted(asked: Asked, trained: TrainedModel) -> list[tuple[str, ...]]:
    """The prompt in the model's tokens; an ``InputError`` where training had none of them.

    A note on stderr names those that it had not, and says what a model of two directions is.
    """
    assert asked.prompt.text is not None
    unit = unit_of(trained.vocabularies)
    prompt = tokens_of(asked.prompt.text, unit)
    missing = [token for token, i in zip(prompt, trained.vocabulary(unit).ids(prompt), strict=True) if i == UNKNOWN]
    named = ", ".join(map(shown, dict.fromkeys(missing)))
    if len(missing) == len(prompt):
        raise InputError(f"--prompt must hold {unit} that training had; got {named} alone, which it had not")
    if missing:
        stderr().print(f"birnn: training had not {named}: the model reads {SPECIAL[UNKNOWN]} there", markup=False)
    if trained.spec.recurrent.num_directions == NUM_DIRECTIONS:
        stderr().print(
            "birnn: this model has two directions: it was trained with the next token in sight, which no prompt shows, "
            "so what it writes is no language; birnn train language --directions 1 trains one that can write",
            markup=False,
        )
    return [prompt]


def _words(asked: Asked) -> list[tuple[str, ...]]:
    """What was given as text, in the model's tokens; nothing where arrays were given."""
    if asked.data is not None and asked.data.suffix in (".npy", ".safetensors"):
        return []
    if asked.texts and asked.data is not None:
        raise InputError("texts must be given as arguments or by --data; got both")
    if asked.data is None and not asked.texts:
        raise InputError("there must be a text or --data; got neither")
    split: Callable[[str], tuple[str, ...]] = SPLIT.get(asked.model, tokenise)
    if asked.data is None:
        texts = [split(text) for text in asked.texts]
    elif split is tokenise:
        texts = read_texts(asked.data)
    else:
        from common.data.files import lines

        texts = [split(line.strip()) for _, line in lines(asked.data) if line.strip()]
    for text, words in zip(asked.texts or [""] * len(texts), texts, strict=True):
        if not words:
            raise InputError(f"a text must hold at least one token; got {shown(text)}")
    return texts


def _batch(asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]]) -> Arrays:
    """The input as the model's batch."""
    spec = trained.spec
    if spec.num_tokens is None:
        if words or asked.data is None:
            raise InputError(f"{asked.model} reads arrays: --data must be a .npy or .safetensors file")
        return _arrays(asked.data, spec.recurrent.input_size)
    if not words:
        raise InputError(f"{asked.model} reads text; got the arrays {asked.data}")
    if asked.model == G2PM:
        from common.data.g2pm_sentences import g2pm_tokens

        rows = [g2pm_tokens("".join(sentence)) for sentence in words]
    else:
        vocabulary = trained.vocabulary(unit_of(trained.vocabularies) if asked.model == LANGUAGE else spec.vocabulary)
        if asked.model == LANGUAGE:
            return prompt_batch([vocabulary.ids(prompt) for prompt in words], asked.max_steps)
        if asked.model == "masked":
            from common.data.examples import token_examples

            rows = [example.inputs for example in token_examples(words, vocabulary)]
        else:
            rows = [vocabulary.ids(list(sentence)) for sentence in words]
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.zeros((len(rows), int(lengths.max())), np.int64)
    for filled, row in zip(tokens, rows, strict=True):
        filled[: len(row)] = row
    return {"tokens": tokens, "lengths": lengths}


def _arrays(path: Path, width: int) -> Arrays:
    """The features, and the lengths where there are any, of a .npy or safetensors file."""
    if path.suffix == ".npy":
        try:
            tensors = {"x": np.load(path, allow_pickle=False)}
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: must be a readable .npy file; got: {str(error).splitlines()[0]}") from None
    else:
        tensors = read(path)[0]
    x = tensors.get("x")
    if x is None or x.ndim != 3 or x.shape[2] != width or 0 in x.shape or x.dtype.kind != "f":
        got = "none" if x is None else f"{x.dtype} {x.shape}"
        raise InputError(f"{path}: x must be floats of shape (batch, seq_len, {width}); got {got}")
    arrays = {"x": x.astype(np.float64)}
    if "lengths" in tensors:
        lengths = tensors["lengths"]
        if (
            lengths.shape != x.shape[:1]
            or lengths.dtype.kind != "i"
            or not ((lengths > 0) & (lengths <= x.shape[1])).all()
        ):
            raise InputError(f"{path}: lengths must be {len(x)} whole numbers from 1 to {x.shape[1]}; got {lengths}")
        arrays["lengths"] = lengths.astype(np.int64)
    return arrays


def _answer(pool: Pool, name: str, chosen: str, asked: Asked, trained: TrainedModel, batch: Arrays) -> Arrays:
    """What the model answers to a batch, or writes behind its prompt; raises ``NoAnswer``."""
    backend = backends()[name]
    ask = partial(pool.ask, backend, timeout_seconds=asked.timeout_seconds)
    network = RemoteNetwork("asked", ask, partial(pool.distrust, backend), lambda file: pool.folder / file)
    network.open(trained.spec, chosen, asked.dtype, asked.device, trained.weights, batch)
    if asked.model == LANGUAGE:
        prompts = [row[1:length] for row, length in zip(batch["tokens"], batch["lengths"], strict=True)]
        sampling = Sampling(asked.prompt.temperature or 0.0, asked.prompt.seed or 0)
        return {"tokens": np.stack(continued(network, prompts, asked.max_steps, sampling))}
    (answer,) = network.answers(trained.spec.question, [batch], asked.max_steps)
    return answer
