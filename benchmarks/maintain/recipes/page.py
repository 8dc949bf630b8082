"""docs/recipes.md: what was tried, what was chosen, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.maintain.recipes.choosing import FINALISTS, SEEDS, Candidate, best, candidates, chosen, ends, finalists
from benchmarks.maintain.recipes.record import Trial, Tried
from benchmarks.maintain.recipes.trials import COLUMNS, KINDS, TREEBANK
from common.tasks.building import HELD_OUT
from common.tasks.recipes import RECIPES, Recipe

COMMAND = "python -m benchmarks.maintain.recipes"
"""The command that tries recipes, and writes the page."""
DATA = {
    "pipeline": "the pipeline's made-up sequences",
    "tagger": "parts of speech, UD_English-EWT's dev file",
    "entities": "entities, WNUT 2017's dev file, with a CRF",
    "digits": "scikit-learn's digits",
    "texts": "genres of sentences, UD_English-EWT's dev file",
    "seq2seq": "letters and phonemes, 6,000 words of cmudict",
    "masked": "masked words, UD_English-EWT's dev file",
    "language of words": "the next word in the prose of Python's reference, one direction",
    "language of characters": "the next character in the prose of Python's reference, one direction",
}
"""What each recipe is tried on."""


def as_markdown(tried: Tried) -> str:
    """The page."""
    by_kind = {name: [each for each in tried.trials if each.kind == name] for name in KINDS}
    lines = [
        "# The recipes of `birnn train`, and how they were chosen",
        "",
        f"Written by `{COMMAND}` from results/recipes.json; do not edit. A recipe is what a task",
        "has where its user says nothing else: the network's sizes, Adam's learning rate, the gradients clipped at a",
        "norm of 5, and the epochs. What each comes to, in every framework:",
        "[traces.md](traces.md).",
        "",
        *recipes_table(RECIPES),
        "",
        "## How they were chosen",
        "",
        f"By a part of the training data that the network did not see: {HELD_OUT:.0%} of it, drawn by the seed,",
        "judged what was trained on the rest. What is held out otherwise, and reported, played no part. Every recipe",
        f"of a small grid was trained from seed 0, and judged after each epoch; the best {FINALISTS} from {SEEDS}",
        "seeds. Chosen is the cheapest recipe and number of epochs whose mean is within one standard error (over the",
        "seeds) of the best mean (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3); what training costs is",
        "counted as epochs times the numbers that a token is multiplied by, embeddings left out. Rates above 0.01 are",
        "not tried: with 0.02 the traces of entities parted as chaos does within 11 epochs, so that the frameworks",
        "could not be compared by their ends.",
        "",
        f"Trained by {tried.implementation}, float32, on {tried.machine}.",
    ]
    older = [name for name, trials in by_kind.items() if not trials]
    if older:
        lines += ["", f"Older than the grid, and not chosen so: {', '.join(older)}."]
    for name, trials in by_kind.items():
        if trials:
            lines += ["", *section(name, trials)]
    return "\n".join(lines) + "\n"


def recipes_table(recipes: Mapping[str, Recipe]) -> list[str]:
    """A row for each recipe."""
    lines = [
        "| data | cell | units a direction | layers | dropout | embedding | batch | learning rate | weight decay "
        "| schedule | epochs |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for name, of in recipes.items():
        width = "–" if of.embedding_size is None else str(of.embedding_size)
        numbers = (of.hidden_size, of.num_layers, of.dropout, width, of.batch_size)
        settings = (of.optimizer.learning_rate, of.optimizer.weight_decay, of.optimizer.schedule, of.epochs)
        lines.append(f"| {name} | {of.cell} | {' | '.join(f'{each}' for each in (*numbers, *settings))} |")
    return lines


def section(name: str, trials: Sequence[Trial]) -> list[str]:
    """A kind's section: what it is, a row for each recipe that was tried, and what was chosen."""
    kind = KINDS[name]
    training, judging = trials[0].examples
    files = {TREEBANK: " --data DEV.conllu", COLUMNS: " --data DEV.conll"}.get(kind.files, "")
    lines = [
        f"### {name[0].upper()}{name[1:]}",
        "",
        f"{DATA[name][0].upper()}{DATA[name][1:]} (`birnn train {kind.task}{files}`): {training:,} examples "
        f"trained on, {judging:,} judged by, by {kind.judged}; {kind.most_epochs} epochs at most.",
        "",
        f"| tried | best {kind.judged}, seed 0 | after epoch | best mean of {SEEDS} seeds | after epoch |",
        "|---|---:|---:|---:|---:|",
    ]
    every = candidates(trials)
    went_on = finalists(trials)
    for each in trials:
        if each.seed != 0:
            continue
        top = max(ends(each), key=lambda epochs: ends(each)[epochs])
        mean = ["–", "–"]
        if each.called in went_on:
            of = best([one for one in every if one.called == each.called])
            mean = [f"{shown(name, of.score)}{spread(name, of)}", str(of.epochs)]
        lines.append(f"| {each.called} | {shown(name, ends(each)[top])} | {top} | {' | '.join(mean)} |")
    top_one, pick = best(every), chosen(trials)
    days = ", ".join(dict.fromkeys(each.day for each in trials))
    return [
        *lines,
        "",
        f"Chosen: {pick.called}, {plural(pick.epochs)}, with {shown(name, pick.score)}; the best mean is "
        f"{shown(name, top_one.score)} ({top_one.called}, {plural(top_one.epochs)}). Tried {days}.",
    ]


def shown(name: str, score: float) -> str:
    """A score as people read it."""
    return f"{math.exp(-score):.2f}" if KINDS[name].judged == "perplexity" else f"{score:.4f}"


def spread(name: str, candidate: Candidate) -> str:
    """The standard error of a mean, of a perplexity in parts of it."""
    if KINDS[name].judged == "perplexity":
        return f" ± {candidate.error:.1%}"
    return f" ± {candidate.error:.4f}"


def plural(epochs: int) -> str:
    """A number of epochs."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"
