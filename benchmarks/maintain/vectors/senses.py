"""Measure how well contextual vectors tell the senses of one spelling apart, and put it into docs/models.md.

    python -m benchmarks.maintain.vectors.senses --tagger out/training/tagger/torch-manual.safetensors \
        --masked out/training/masked/torch-manual.safetensors --conllu-training DEV.conllu --conllu-held-out TEST.conllu

reads checkpoints of ``birnn train``; the vectors are the NumPy reference's, in float32, as every framework's are.
Between the markers ``senses`` stands then a table: words of one spelling and several parts of speech, and g2pM's
characters of several readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from backends.pool.environments import ROOT
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.vectors.nearest_sense import Judged, Marked, judge_senses
from benchmarks.measure.runs import commit_of_suite
from common.data.conllu import Sentence, read_conllu
from common.data.examples import split
from common.data.g2pm_sentences import g2pm_batch, g2pm_polyphones, g2pm_sentences, g2pm_spec, g2pm_weights
from common.data.vocabulary import UNKNOWN, Vocabulary, vocabulary_from_json
from common.models.reference import predict
from common.models.specification import Arrays, SequenceModel, initialise
from common.output import write_bytes
from common.tasks.checkpoint import read_checkpoint

PAGE = ROOT / "docs" / "models.md"
"""The page that has the table."""
AT_ONCE = 128
"""Sentences that the reference runs at once."""
NEIGHBOURS = (1, 5)
"""How many nearest words say the sense."""
SEED = 0
"""What weights are drawn from that were never trained, and g2pM's sentences divided by."""


def vectors_of(
    spec: SequenceModel, weights: Arrays, vocabulary: Vocabulary, sentences: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """The vectors of each sentence's words, (words, output_size) float32."""
    vectors: list[np.ndarray] = [np.empty(0)] * len(sentences)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    for start in range(0, len(order), AT_ONCE):
        part = order[start : start + AT_ONCE]
        ids = [vocabulary.ids(sentences[i]) for i in part]
        lengths = np.array([len(row) for row in ids], np.int64)
        tokens = np.zeros((len(part), int(lengths.max())), np.int64)
        for row, of_row in zip(tokens, ids, strict=True):
            row[: len(of_row)] = of_row
        answers = predict(spec, weights, {"tokens": tokens, "lengths": lengths}, np.float32)["vectors"]
        for i, length, answer in zip(part, lengths, answers, strict=True):
            vectors[i] = answer[:length]
    return vectors


def tagged(spec: SequenceModel, weights: Arrays, vocabulary: Vocabulary, sentences: Sequence[Sentence]) -> Marked:
    """The words of sentences that the vocabulary has, in its spelling, with parts of speech and vectors."""
    vectors = vectors_of(spec, weights, vocabulary, [sentence.words for sentence in sentences])
    known, senses, rows = [], [], []
    for sentence, of_sentence in zip(sentences, vectors, strict=True):
        ids = vocabulary.ids(sentence.words)
        spelled = vocabulary.spelled(ids)
        for i, tag in enumerate(sentence.tags):
            if ids[i] != UNKNOWN:
                known.append(spelled[i])
                senses.append(tag)
                rows.append(of_sentence[i])
    return Marked(known, senses, np.stack(rows))


def of_checkpoint(path: Path, training: Sequence[Sentence], held_out: Sequence[Sentence]) -> Iterator[list[str]]:
    """Rows of the table: a checkpoint's vectors, each direction's half of them, and those of drawn weights."""
    checkpoint = read_checkpoint(path)
    spec, task = checkpoint.spec, checkpoint.header.task
    assert isinstance(spec, SequenceModel)
    vocabulary = vocabulary_from_json(checkpoint.header.vocabularies["words"], str(path))
    half = spec.rnn.hidden_size
    drawn = initialise(spec, np.random.default_rng(SEED))
    for name, weights in ((task, checkpoint.weights), (f"{task}, not trained", drawn)):
        first, second = (tagged(spec, weights, vocabulary, each) for each in (training, held_out))
        parts = {"both directions": slice(None), "forward": slice(half), "reverse": slice(half, None)}
        for what, columns in parts.items() if weights is checkpoint.weights else [("both directions", slice(None))]:
            judged = [judge_senses(first.part(columns), second.part(columns), k) for k in NEIGHBOURS]
            yield row(f"{name}: {what}", judged)


def of_g2pm() -> Iterator[list[str]]:
    """The row of g2pM's characters: half of the sentences are asked about the readings in the other half."""
    spec, batch = g2pm_spec(), g2pm_batch()
    source = {name: batch[name] for name in ("tokens", "lengths")}
    vectors = predict(spec, g2pm_weights(), source, np.float32)["vectors"]
    numbers = split(list(range(len(g2pm_sentences()))), 0.5, SEED)
    marked = []
    for part in map(set, numbers):
        places = [each for each in g2pm_polyphones() if each.sentence in part]
        rows = np.stack([vectors[each.sentence, each.index + 1] for each in places])  # behind the start token
        marked.append(Marked([each.character for each in places], [each.answer for each in places], rows))
    first, second = marked
    yield row("g2pM: both directions", [judge_senses(first, second, k) for k in NEIGHBOURS])


def row(name: str, judged: Sequence[Judged]) -> list[str]:
    """The cells of a row."""
    first = judged[0]
    numbers = (first.most_common, *(each.nearest for each in judged))
    return [name, str(first.spellings), str(first.words), *(f"{number:.4f}" for number in numbers)]


def main(
    tagger: Annotated[Path, typer.Option(help="A checkpoint of the tagger, trained on the training file.")],
    masked: Annotated[Path, typer.Option(help="A checkpoint of the masked model, trained on it.")],
    conllu_training: Annotated[Path, typer.Option(help="The CoNLL-U file that both were trained on.")],
    conllu_held_out: Annotated[Path, typer.Option(help="The CoNLL-U file whose words are asked about.")],
) -> None:
    """Measure, and write the table into docs/models.md."""
    training, held_out = (read_conllu(path) for path in (conllu_training, conllu_held_out))
    rows = [*of_checkpoint(tagger, training, held_out), *of_checkpoint(masked, training, held_out), *of_g2pm()]
    heads = ["vectors of", "spellings", "held-out words", "most common sense"]
    heads += ["nearest word's sense" if k == 1 else f"sense of most of the {k} nearest" for k in NEIGHBOURS]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    day = datetime.now(UTC).date().isoformat()
    measured = f"Measured by `python -m benchmarks.maintain.vectors.senses`, commit {commit_of_suite()}, {day}."
    write_bytes(PAGE, replaced(PAGE, {"senses": "\n".join([*lines, "", measured])}).encode())


if __name__ == "__main__":
    typer.run(main)
