"""The tables and the picture of docs/streaming.md."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims.claim import Point
from benchmarks.claims.pictures import curves
from benchmarks.claims.tasks import RECIPES
from benchmarks.maintain.directions.page import company_note
from benchmarks.maintain.directions.record import Taken
from benchmarks.maintain.streaming.answers import CHUNKS, LOOK_AHEADS, MODELS, paces
from benchmarks.maintain.streaming.record import ONE_DIRECTION, ONE_LAYER, Answered, Measured, Timed
from common.models.streaming import Streaming

NEAR = 0.005
"""What is lost of the whole sequence's accuracy where it counts as little."""
COMMAND = "python -m benchmarks.maintain.streaming"
"""The command that writes the page."""


def whole_seeds(answered: Sequence[Answered]) -> list[Answered]:
    """The answers of the seeds of which every model has answered at every pace, so that means are over the same ones;
    all of them where there is no such seed.
    """
    there = {(each.seed, each.model, each.streaming) for each in answered}
    seeds = {
        seed
        for seed in {each.seed for each in answered}
        if all((seed, model, pace) in there for model in MODELS for pace in paces(model))
    }
    return [each for each in answered if each.seed in seeds] if seeds else list(answered)


def at_pace(answered: Sequence[Answered], model: str, streaming: Streaming | None) -> list[Answered]:
    """What a model answered at a pace, one for each seed."""
    return [each for each in answered if (each.model, each.streaming) == (model, streaming)]


def answers_table(answered: Sequence[Answered]) -> str:
    """A row for each model and pace: the means over the seeds."""
    lines = [
        "| tagger | chunk | look-ahead | accuracy | lost, points | answers as by the whole | exact by construction "
        "| steps before the first answer | computed steps a step |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model in MODELS:
        whole = at_pace(answered, model, None)
        for pace in dict.fromkeys(each.streaming for each in answered if each.model == model):
            of = at_pace(answered, model, pace)
            accuracy, lost = _mean([each.accuracy for each in of]), "–"
            if whole and pace is not None:
                lost = f"{100 * (_mean([each.accuracy for each in whole]) - accuracy):.2f}"
            sizes = "whole | –" if pace is None else f"{pace.chunk} | {pace.look_ahead}"
            counts, same = of[0].counts, _mean([each.same for each in of])
            lines.append(
                f"| {model} | {sizes} | {accuracy:.4f} | {lost} | {same:.2%} | {counts.exact:.1%} "
                f"| {counts.wait:.1f} | {counts.computed:.2f} |"
            )
    return "\n".join(lines)


def answers_block(measured: Measured) -> str:
    """The accuracies and the counts, or that there are none yet."""
    if not measured.answered or measured.answered_taken is None:
        return f"Nothing has been trained yet: `{COMMAND} --accuracies`."
    answered = whole_seeds(measured.answered)
    seeds = len({each.seed for each in answered})
    what = (
        f"By {measured.implementation}, float32, after {RECIPES['tagger'].epochs} epochs (the short recipe of the "
        f"claims, benchmarks/claims/tasks.py), means of {seeds} seeds; counts are exact, and are of the test's rows."
    )
    return "\n\n".join([what, answers_table(answered), *conclusions(answered), said(measured.answered_taken)])


def conclusions(answered: Sequence[Answered]) -> list[str]:
    """What the table says of the tagger of one layer, where it has been measured at every pace, in two sentences."""
    whole, one = (_accuracy(answered, model, None) for model in (ONE_LAYER, ONE_DIRECTION))
    by_pace = {
        (chunk, ahead): _accuracy(answered, ONE_LAYER, Streaming(chunk=chunk, look_ahead=ahead))
        for chunk in CHUNKS
        for ahead in LOOK_AHEADS
    }
    if whole is None or one is None or None in by_pace.values():
        return []
    near = []
    for chunk in CHUNKS:
        enough = [ahead for ahead in LOOK_AHEADS if (by_pace[chunk, ahead] or 0.0) > whole - NEAR]
        near.append(f"{min(enough) if enough else 'more'} in chunks of {chunk}")
    worse = ", ".join(f"{chunk} and {ahead}" for (chunk, ahead), accuracy in by_pace.items() if (accuracy or 0.0) < one)
    return [
        f"The look-ahead from which the tagger of one layer loses less than {100 * NEAR:g} points of the whole "
        f"sequence's: {', '.join(near)}. Chunks and look-aheads at which one direction is more accurate, with half of "
        f"the directions: {worse or 'none'}."
    ]


def _accuracy(answered: Sequence[Answered], model: str, pace: Streaming | None) -> float | None:
    """The mean accuracy of a model at a pace over the seeds; None where it has not been measured."""
    of = at_pace(answered, model, pace)
    return _mean([each.accuracy for each in of]) if of else None


def times_table(timed: Sequence[Timed]) -> str:
    """A row for each implementation, model and pace."""
    lines = [
        "| implementation | tagger | chunk | look-ahead | first answer, ms | a step, ms |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for each in timed:
        pace = each.streaming
        sizes = f"whole ({each.steps}) | –" if pace.chunk == each.steps else f"{pace.chunk} | {pace.look_ahead}"
        times = f"{1e3 * each.first_seconds:.3g} | {1e3 * each.step_seconds:.3g}"
        lines.append(f"| {each.implementation} | {each.model} | {sizes} | {times} |")
    return "\n".join(lines)


def times_block(measured: Measured) -> str:
    """The times, or that there are none yet."""
    if not measured.timed or measured.timed_taken is None:
        return f"Times have not been measured yet: `{COMMAND} --times`, on an idle machine."
    first = measured.timed[0]
    text = [
        f"One row of {first.steps} steps, float32, one thread, medians of {first.rounds} rounds in random order. "
        "The first answer is from when its steps have come; what is between the layers is NumPy's.",
        times_table(measured.timed),
    ]
    text += company_note([each.others_cpu for each in measured.timed])
    return "\n\n".join([*text, said(measured.timed_taken)])


def picture(answered: Sequence[Answered]) -> bytes:
    """The accuracy of the tagger of one layer over the look-ahead, a line for each chunk; as SVG."""
    answered = whole_seeds(answered)
    points = []
    for chunk in CHUNKS:
        for ahead in LOOK_AHEADS:
            of = at_pace(answered, ONE_LAYER, Streaming(chunk=chunk, look_ahead=ahead))
            points += [_point(f"chunks of {chunk}", ahead, of)] if of else []
    for name, model in (("the whole sequence", ONE_LAYER), ("one direction", ONE_DIRECTION)):
        of = at_pace(answered, model, None)
        points += [_point(name, ahead, of) for ahead in LOOK_AHEADS] if of else []
    return curves(
        points,
        across="look-ahead",
        number="accuracy",
        line="line",
        x_label="look-ahead, steps",
        y_label="held-out accuracy",
        log_x=False,
    )


def _point(line: str, ahead: int, of: Sequence[Answered]) -> Point:
    """A point of the picture."""
    accuracy = _mean([each.accuracy for each in of])
    return Point(where={"line": line, "look-ahead": float(ahead)}, numbers={"accuracy": accuracy})


def said(taken: Taken) -> str:
    """Where and when it was measured."""
    return f"Measured by `{COMMAND}` on {taken.machine}, commit {taken.commit}, {taken.day}."


def _mean(values: Sequence[float]) -> float:
    """The mean of some values."""
    return sum(values) / len(values)
