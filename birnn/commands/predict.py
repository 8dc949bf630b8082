"""What ``birnn predict`` does: read the input, run the checkpoint, print what a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from backends.interface.gaps import DEVICES
from backends.pool.network import RemoteNetwork
from backends.studies.generation import prompt_batch
from birnn import exit_codes
from birnn.commands.answers.asking import Chosen, with_network
from birnn.commands.answers.attention import attention_of, check_attention, write_attention
from birnn.commands.answers.labelled import ARRAYS, Questions, labelled_arrays, labelled_texts, rows
from birnn.commands.answers.likeliest import Answered, answered, best_tokens, check_k, places_asked, written_answers
from birnn.commands.answers.prompt import Prompt, check_prompt, prompted, written
from birnn.commands.answers.quantizing import Quantizing, check_quantizing, quantized, say_accuracy
from birnn.commands.answers.showing import check_out, show_answers
from birnn.commands.answers.stages import print_stages
from birnn.commands.answers.trained import G2PM, SPLIT, TrainedModel, trained_model
from birnn.display import say, say_written, stdout
from birnn.options import one_of
from common.data.text import read_texts
from common.data.vocabulary import MASK
from common.errors import InputError, shown
from common.models.batch import sizes
from common.models.layers import Arithmetic
from common.models.reference import ModelReference, reference_of
from common.models.specification import END, Arrays, SequenceModel
from common.models.streaming import Streaming, check_streamed
from common.quantization.dynamic import answer_of, dynamic_reference
from common.tasks.building import LENGTHS
from common.tasks.checkpoint import unit_of
from common.tasks.language import spelled
from common.tasks.task import LANGUAGE, NAMES
from common.tensorfile import read

FRAMEWORK = "torch/manual"
"""What answers where nothing else is said."""
TEXTS_AT_ONCE = 64
"""How many texts are answered at once: the logits of a masked model are as many as its words at every step."""


@dataclass(frozen=True)
class Asked:
    """The arguments of ``birnn predict``."""

    model: str
    texts: tuple[str, ...]
    data: Path | None
    checkpoint: Path | None
    framework: str | None
    dtype: str
    device: str
    max_steps: int
    threads: int
    timeout_seconds: float
    top: int | None = None
    as_json: bool = False
    out: Path | None = None
    streaming: Streaming | None = None
    prompt: Prompt = field(default_factory=Prompt)
    stages: bool = False
    attention: Path | None = None
    constraints: bool = True
    beam: int | None = None
    quantizing: Quantizing = field(default_factory=Quantizing)

    @property
    def saves_alone(self) -> bool:
        """Whether a quantized model is to be written, and nothing to be answered."""
        return self.quantizing.save is not None and not self.texts and self.data is None and self.prompt.text is None

    @property
    def with_probabilities(self) -> bool:
        """Whether probabilities are asked for beside the best answers."""
        return self.top is not None or self.as_json or self.out is not None

    @property
    def width(self) -> int | None:
        """How many hypotheses a beam keeps; None for the greedy answer alone."""
        return self.beam or (self.top or 1 if self.with_probabilities else None)


def predict(asked: Asked) -> int:
    """Answer and print; the exit code."""
    one_of("MODEL", asked.model, (*NAMES, G2PM))
    one_of("--dtype", asked.dtype, ("float32", "float64"))
    one_of("--device", asked.device, DEVICES)
    if asked.out is not None:
        check_out(asked.out)
    check_quantizing(asked.quantizing, asked.model)
    if asked.quantizing.is_dynamic:
        _check_by_reference(asked)
    if asked.saves_alone:
        quantized(trained_model(asked.model, asked.checkpoint), asked.quantizing)
        return exit_codes.AGREED
    check_prompt(asked.prompt, asked.model, asked.texts, asked.data)
    trained = trained_model(asked.model, asked.checkpoint)
    if asked.streaming is not None:
        if asked.model == LANGUAGE:
            got = f"{asked.streaming.chunk} steps"
            raise InputError(f"--chunk must be left out for language, which writes token after token; got {got}")
        check_streamed(trained.spec, asked.streaming)
    prompt = asked.prompt.text
    questions = _questions(asked, trained) if prompt is None else Questions([*prompted(prompt, trained)])
    words = questions.words
    _check_probabilities(asked, trained, words)
    _check_stages(asked, trained)
    if asked.attention is not None:
        check_attention(asked.attention, asked.model, trained.spec, words)
    parts = _parts(asked, trained, words)
    largest = max((batch for _, batch in parts), key=lambda batch: sizes(batch)[1])
    right = questions.answers if words else _right_of_arrays(asked, trained)
    model = quantized(trained, asked.quantizing)
    given, before = Given(), Given()

    def take(answer_to: Callable[[Arrays], Arrays]) -> None:
        for part, batch in parts:
            answer = answer_to(batch)
            given.rows += rows(batch, answer)
            given.add(asked, model, part, batch, model.with_marginals(batch, answer))

    def use(network: RemoteNetwork) -> None:
        take(partial(_answer, network, asked, trained))
        if asked.attention is not None:
            tokens = best_tokens(given.first)[0]
            given.attention = tokens, attention_of(network, parts[0][1], tokens)

    def use_as_trained(network: RemoteNetwork) -> None:
        for _, batch in parts:
            before.rows += rows(batch, _answer(network, asked, trained, batch))

    compared = model is not trained and right is not None
    if asked.quantizing.is_dynamic:
        name = "numpy/reference"
        take(partial(_by_reference, asked, dynamic_reference(trained.spec, trained.weights, asked.dtype)))
        if compared:
            exact = reference_of(trained.spec, trained.weights, Arithmetic(np.dtype(asked.dtype)))
            before.rows = [row for _, batch in parts for row in rows(batch, _by_reference(asked, exact, batch))]
    else:
        then = (trained.weights, use_as_trained) if compared else None
        chosen = Chosen(asked.framework or FRAMEWORK, asked.dtype, asked.device, asked.threads, asked.timeout_seconds)
        code, name = with_network(chosen, trained.spec, model.weights, largest, use, then)
        if code != exit_codes.AGREED:
            return code
    _show(asked, model, words, parts[0][1], given, name)
    if right is not None:
        say_accuracy(trained, asked.quantizing, right, given.rows, before.rows)
    return exit_codes.AGREED


def _answer(network: RemoteNetwork, asked: Asked, trained: TrainedModel, batch: Arrays) -> Arrays:
    """The answer of a network to a batch."""
    if asked.model == LANGUAGE:
        return written(network, batch, asked.max_steps, asked.prompt)
    width = asked.width if trained.spec.decodes else None
    (answer,) = network.answers(trained.spec.question, [batch], asked.max_steps, asked.streaming, width)
    return answer


def _by_reference(asked: Asked, reference: ModelReference, batch: Arrays) -> Arrays:
    """The answer of a reference to a batch."""
    return answer_of(reference, batch, asked.max_steps, asked.width if reference.spec.decodes else None)


def _show(
    asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]], batch: Arrays, given: Given, name: str
) -> None:
    """Print what an implementation of a name has answered, ``batch`` being its first, and write the picture."""
    if asked.stages:
        assert isinstance(trained.spec, SequenceModel)
        print_stages(stdout(), trained.spec, trained.answers(asked.model), batch, given.first)
    if asked.with_probabilities:
        show_answers(asked.model, name, given.likeliest, asked.as_json, asked.out)
    for line in given.lines:
        say(line)
    if given.attention is not None:
        assert asked.attention is not None
        write_attention(asked.attention, words[0], trained.vocabulary("target"), *given.attention)
        say_written(asked.attention, "the picture of the attention")


def readable(
    model: str, trained: TrainedModel, batch: Arrays, words: Sequence[Sequence[str]], answer: Arrays
) -> Iterable[str]:
    """One line a row: words with tags, a label with its text, phonemes, a sentence with its gaps filled."""
    if model == "seq2seq":
        target = trained.vocabulary("target")
        for word, tokens in zip(words, best_tokens(answer), strict=True):
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
            yield f"{names[int(label)]}\t{spelled(words[row], trained.unit)}" if words else names[int(label)]


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


def _questions(asked: Asked, trained: TrainedModel) -> Questions:
    """What was given as text, in the model's tokens, with the right answers where the file has them; nothing where
    arrays were given.
    """
    if asked.data is not None and asked.data.suffix in ARRAYS:
        return Questions()
    if asked.texts and asked.data is not None:
        raise InputError("texts must be given as arguments or by --data; got both")
    if asked.data is None and not asked.texts:
        raise InputError("there must be a text or --data; got neither")
    labelled = None if asked.data is None else labelled_texts(asked.model, trained, asked.data)
    return Questions(_words(asked, trained)) if labelled is None else labelled


def _words(asked: Asked, trained: TrainedModel) -> list[tuple[str, ...]]:
    """The texts without labels, in the model's tokens."""
    split = trained.split(asked.model)
    if asked.data is None:
        texts = [split(text.strip()) for text in asked.texts]
    elif asked.model not in SPLIT and trained.unit == "words":
        texts = read_texts(asked.data)
    else:
        from common.data.files import lines

        texts = [split(line.strip()) for _, line in lines(asked.data) if line.strip()]
    for text, words in zip(asked.texts or [""] * len(texts), texts, strict=True):
        if not words:
            raise InputError(f"a text must hold at least one token; got {shown(text)}")
    return texts


def _right_of_arrays(asked: Asked, trained: TrainedModel) -> list[np.ndarray] | None:
    """The right answers of a file of arrays, which has been checked; None where it has none."""
    assert asked.data is not None
    steps = isinstance(trained.spec, SequenceModel) and trained.spec.readout == "steps"
    return labelled_arrays(asked.data, trained.spec.num_answers, steps)


def _check_by_reference(asked: Asked) -> None:
    """Raise an ``InputError`` for an option of what no framework is asked."""
    got = {
        "--framework": asked.framework,
        "--chunk": asked.streaming and asked.streaming.chunk,
        "--attention": asked.attention,
        "--prompt": asked.prompt.text,
        "--device": None if asked.device == DEVICES[0] else asked.device,
    }
    for option, value in got.items():
        if value is not None:
            what = f"--quantize {asked.quantizing.kind}, which the NumPy reference answers"
            raise InputError(f"{option} must be left out with {what}; got {shown(str(value))}")


def _check_probabilities(asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]]) -> None:
    """Raise an ``InputError`` where the model has no such probabilities, or is asked about nothing."""
    if asked.beam is not None and not trained.spec.decodes:
        raise InputError(f"--beam must be asked of a model that writes an answer, seq2seq; got {asked.model}")
    if not asked.with_probabilities:
        return
    if asked.model == LANGUAGE:
        raise InputError(f"--top, --json and --out must be asked of a model with classes; got {asked.model}")
    if trained.spec.decodes:
        if (asked.top or 1) > (asked.width or 1):
            raise InputError(f"--top must be at most {asked.width}, the width of --beam; got {asked.top}")
        return
    check_k(asked.top or 1, trained.answers(asked.model))
    if words:
        places_asked(asked.model, words)


def _check_stages(asked: Asked, trained: TrainedModel) -> None:
    """Raise an ``InputError`` where stages are asked for and there are none, or no room for them."""
    without = trained.spec.decodes or asked.model == LANGUAGE
    if asked.stages and (without or asked.streaming is not None or asked.as_json):
        got = asked.model if without else "--json" if asked.as_json else "--chunk"
        raise InputError(f"--stages must be asked of a model with classes, without --chunk and --json; got {got}")


def _parts(
    asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]]
) -> list[tuple[Sequence[Sequence[str]], Arrays]]:
    """The texts, so many at once that their answers need little room, each part with its batch."""
    parts = [words[start : start + TEXTS_AT_ONCE] for start in range(0, len(words), TEXTS_AT_ONCE)] or [words]
    multiple = 1 if len(parts) == 1 else LENGTHS
    return [(part, _batch(asked, trained, part, multiple)) for part in parts]


def _batch(asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]], multiple: int) -> Arrays:
    """The input as the model's batch, padded to a multiple of some length, as every length may be compiled anew."""
    spec = trained.spec
    if spec.num_tokens is None:
        if words or asked.data is None:
            raise InputError(f"{asked.model} reads arrays: --data must be a .npy or .safetensors file")
        return _arrays(asked.data, spec.recurrent.input_size)
    if not words:
        raise InputError(f"{asked.model} reads text: --data must be a file of sentences; got the arrays {asked.data}")
    if asked.model == LANGUAGE:
        vocabulary = trained.vocabulary(unit_of(trained.vocabularies))
        return prompt_batch([vocabulary.ids(prompt) for prompt in words], asked.max_steps)
    return trained.batch(asked.model, words, multiple) | (trained.allowed() if asked.constraints else {})


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


@dataclass
class Given:
    """What a model has answered: the lines of its best answers, or the likeliest ones, text by text; the whole answer
    to the first part; the answer to each row, to be told right or wrong; and, where it is asked for, the first
    answer's tokens (max_steps,) and its attention (steps, seq_len).
    """

    lines: list[str] = field(default_factory=list)
    likeliest: list[Answered] = field(default_factory=list)
    first: Arrays = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)
    attention: tuple[np.ndarray, np.ndarray] | None = None

    def add(
        self, asked: Asked, trained: TrainedModel, words: Sequence[Sequence[str]], batch: Arrays, answer: Arrays
    ) -> None:
        """Take in what is wanted of the answer to a batch, whose logits need not be kept but for the first."""
        self.first = self.first or answer
        if asked.with_probabilities and trained.spec.decodes:
            self.likeliest += written_answers(trained.vocabulary("target"), words, answer, asked.top or 1)
        elif asked.with_probabilities:
            names = trained.answers(asked.model)
            self.likeliest += answered(asked.model, names, batch, words, answer, asked.top or 1, trained.unit)
        else:
            self.lines += readable(asked.model, trained, batch, words, answer)
