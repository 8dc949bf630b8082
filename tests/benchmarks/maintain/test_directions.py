"""Two directions over one: what is timed is verified, what is there is not measured again, and the page says it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from birnn_numpy_loop import BACKEND as NUMPY

from backends.pool.pool import NoAnswer, Pool
from benchmarks.analysis.statistics import Interval
from benchmarks.claims import timing
from benchmarks.claims.workshop import Workshop
from benchmarks.machine.company import usable_cores
from benchmarks.maintain.directions import __main__ as command
from benchmarks.maintain.directions import costs, page
from benchmarks.maintain.directions.accuracies import VARIANTS, learned, variant_of_task
from benchmarks.maintain.directions.costs import costs_of, layer_case, peaks_of, specification
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Cost, Declined, Measured, Taken, read_measured
from common.errors import InputError
from common.judging.agreement import DISAGREES
from common.models.specification import parameters
from tests.registered import register
from tests.workers.misbehaving import BACKEND

SMALL = {"hidden_size": 3, "seq_len": 4}


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    register(monkeypatch, BACKEND, NUMPY)
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "MOST_WARM_SECONDS", 0.0)
    with Pool.open() as pool:
        yield Workshop(pool, 60.0)


def a_cost(
    variant: str, seconds: float, ratio: float, implementation: str = "torch/native", twin: float = 1.01
) -> Cost:
    return Cost(
        implementation=implementation, cell="gru", passed="forward", variant=variant, seconds=seconds, ratio=ratio,
        low=0.9 * ratio, high=1.1 * ratio, twin=twin, others_cpu=0.01,
    )  # fmt: skip


def test_the_variants_are_two_of_h_one_of_h_and_one_of_twice() -> None:
    two, one, wide = (specification("gru", variant) for variant in VARIANTS)
    assert (two.num_directions, one.num_directions, wide.num_directions) == (2, 1, 1)
    assert (two.output_size, one.output_size, wide.output_size) == (256, 128, 256)
    assert len({layer_case("gru", variant).name for variant in VARIANTS}) == 3


def test_all_variants_of_a_pass_are_judged_and_timed_side_by_side(workshop: Workshop) -> None:
    costs = costs_of(workshop, "numpy", "loop", "gru", "forward", **SMALL)
    assert not isinstance(costs, Declined)
    assert [cost.variant for cost in costs] == [TWO, ONE, WIDE]
    assert costs[0].ratio == pytest.approx(1.0)
    for cost in costs:
        assert cost.seconds > 0
        assert 0 < cost.low <= cost.ratio <= cost.high
        assert cost.others_cpu is not None


def test_memory_that_cannot_be_told_is_asked_for_again(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = peaks_of(workshop, "numpy", "loop", "gru", "forward", batch=4, **SMALL)
    assert isinstance(peaks, list)
    assert [peak.variant for peak in peaks] == [TWO, ONE, WIDE]
    tells = iter([{TWO: None, ONE: None, WIDE: 4_000_000}, {TWO: None, ONE: 1_000_000}])
    monkeypatch.setattr(costs, "peak_bytes", lambda *_: next(tells))
    peaks = peaks_of(workshop, "numpy", "loop", "gru", "forward")
    assert isinstance(peaks, list)
    assert [peak.peak_bytes for peak in peaks] == [None, 1_000_000, 4_000_000]
    known = [peak.model_copy(update={"peak_bytes": 2_000_000}) if peak.variant == TWO else peak for peak in peaks]
    assert page.peaks_table(known).endswith("| numpy/loop | gru | forward | 2.0 | 1.0 | 2.00 | 4.0 | 0.50 |")
    assert page.peaks_table(peaks).endswith("| numpy/loop | gru | forward | – | 1.0 | – | 4.0 | – |")


def test_the_ratio_is_of_two_directions_over_the_variant(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contest has each variant over the first one, two directions."""
    half = timing.Timed(0.1, Interval(0.5, 0.4, 0.8), 9)
    given = dict.fromkeys((TWO, WIDE, timing.TWIN), timing.Timed(0.2, Interval(1.0, 1.0, 1.0), 9)) | {ONE: half}
    monkeypatch.setattr(costs, "time_side_by_side", lambda *_: given)
    every_cost = costs_of(workshop, "numpy", "loop", "gru", "forward")
    assert not isinstance(every_cost, Declined)
    one = next(cost for cost in every_cost if cost.variant == ONE)
    assert (one.ratio, one.low, one.high) == (2.0, 1.25, 2.5)
    given[ONE] = timing.Timed(0.1, Interval(0.5, 0.0, 0.8), 2)  # too few cycles for an end
    unbounded = costs_of(workshop, "numpy", "loop", "gru", "forward")
    assert not isinstance(unbounded, Declined)
    command.write_measured(Measured(costs=unbounded), workshop.pool.folder / "kept.json")
    assert read_measured(workshop.pool.folder / "kept.json", Measured).costs[1].high == math.inf


def test_what_is_declined_is_said_and_what_is_wrong_is_never_timed(workshop: Workshop) -> None:
    declined = costs_of(workshop, "numpy", "loop", "gru", "train_step", **SMALL)
    assert isinstance(declined, Declined)
    assert "train step" in declined.reason
    with pytest.raises(NoAnswer) as caught:
        costs_of(workshop, "misbehaving", "zeros", "gru", "forward", **SMALL)
    assert caught.value.reply.status == DISAGREES


def test_a_task_of_one_direction_differs_in_that_alone() -> None:
    two, one, wide = (variant_of_task("pipeline", variant, 0, ()) for variant in VARIANTS)
    assert (one.spec.recurrent.num_directions, wide.spec.recurrent.num_directions) == (1, 1)
    assert wide.spec.recurrent.hidden_size == 2 * two.spec.recurrent.hidden_size
    assert parameters(two.spec)["head.0.weight"] == parameters(wide.spec)["head.0.weight"]
    assert (two.epochs, two.optimizer, len(two.training)) == (one.epochs, one.optimizer, len(one.training))


def test_what_is_learned_is_kept_and_not_trained_again(workshop: Workshop, tmp_path: Path) -> None:
    learning = learned(workshop, "numpy/loop", "pipeline", ONE, 0, epochs=1)
    assert learning.baseline < learning.accuracy < 1
    file, to = tmp_path / "kept.json", tmp_path / "page.md"
    to.write_text("<!-- costs -->\n<!-- /costs -->\n<!-- accuracies -->\n<!-- /accuracies -->\n")
    every = [learning.model_copy(update={"task": "pipeline", "variant": variant}) for variant in VARIANTS]
    day = Taken(machine="a machine", commit="abc", day="2026-11-22")
    command.write_measured(Measured(learned=every, learned_taken=day), file)
    command.main(file=file, to=to)
    text = to.read_text()
    assert (
        f"| pipeline | a class for each step, by a rule on the steps before and behind it | {learning.baseline:.4f}"
        in text
    )
    assert "Measured by `python -m benchmarks.maintain.directions` on a machine, commit abc, 2026-11-22." in text
    assert "Times have not been measured yet" in text
    command.main(file=file, to=to)
    assert to.read_text() == text
    assert read_measured(file, Measured).learned == every
    ahead = every[0].model_copy(update={"seed": 1, "accuracy": 1.0})
    assert page.accuracies_table([*every, ahead]) == page.accuracies_table(every), "the others have no such seed"


def test_the_table_of_costs_has_every_ratio_and_says_when_others_were_at_work() -> None:
    measured = [a_cost(TWO, 0.004, 1.0), a_cost(ONE, 0.002, 2.0), a_cost(WIDE, 0.005, 0.8, twin=0.9)]
    day = Taken(machine="a machine", commit="abc", day="2026-11-22")
    block = page.costs_block(Measured(costs=measured, costs_taken=day))
    row = "| torch/native | gru | forward | 4 | 2 | 2.00 (1.80–2.20) | 5 | 0.80 (0.72–0.88) |"
    assert row in block
    assert "by a factor of up to 1.111" in block
    assert "Others were at work" not in block
    crowded = measured[0].model_copy(update={"others_cpu": 0.5 * usable_cores()})
    block = page.costs_block(Measured(costs=[crowded, *measured[1:]], costs_taken=day))
    assert "**Others were at work on the machine during 1 of 3 times, or may have been.**" in block


def test_the_page_that_is_there_is_what_the_kept_numbers_say() -> None:
    text, measured = command.PAGE.read_text(), read_measured(command.FILE, Measured)
    assert f"<!-- costs -->\n{page.costs_block(measured)}\n<!-- /costs -->" in text
    assert f"<!-- accuracies -->\n{page.accuracies_block(measured)}\n<!-- /accuracies -->" in text


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    for text, reason in (("{", "must be JSON"), ('{"version": "x"}', "version"), ('{"colour": 1}', "unknown keys")):
        path.write_text(text)
        with pytest.raises(InputError, match=reason):
            read_measured(path, Measured)
