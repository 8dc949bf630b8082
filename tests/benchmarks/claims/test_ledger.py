"""A verdict follows from the numbers by the rule alone, and the committed ledger is what the measurements say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.claims.claim import FAILS, HOLDS, KINDS, LIMITED, NOT_MEASURED, UNDECIDED, Claim, Point, Rule, judge
from benchmarks.claims.ledger import CLAIMS, chosen, entries
from benchmarks.claims.measuring import command_of
from benchmarks.claims.page import PAGE, PICTURES, as_markdown
from benchmarks.claims.record import RESULTS, Measurement, results_file, write_measurement
from tests.command_line.running import birnn

ABOVE = Rule("ratio", "the ratio", "above", 1.05, contrary=0.95)
BELOW = Rule("ratio", "the ratio", "below", 0.95, contrary=1.05)


def point(value: float, low: float | None = None, high: float | None = None) -> Point:
    ends = {"ratio_low": low, "ratio_high": high}
    numbers = {"ratio": value} | {name: end for name, end in ends.items() if end is not None}
    return Point(where={"framework": "numpy"}, numbers=numbers)


@pytest.mark.parametrize(
    ("measured", "bears_out"),
    [
        (point(1.2), True),
        (point(1.05), None),
        (point(1.0), None),
        (point(0.95), False),
        (point(0.5), False),
        (point(1.2, 1.1, 1.3), True),
        (point(1.2, 1.0, 1.3), None),
        (point(0.9, 0.8, 0.94), False),
        (point(0.9, 0.8, 0.99), None),
        (point(math.nan), None),
    ],
)
def test_a_point_bears_a_claim_out_where_its_whole_interval_lies_past_the_bound(
    measured: Point, bears_out: bool | None
) -> None:
    assert ABOVE.bears_out(measured) is bears_out
    mirrored = point(*(None if each is None else 2 - each for each in _ends(measured)))  # type: ignore[arg-type]
    assert BELOW.bears_out(mirrored) is bears_out


def _ends(point: Point) -> tuple[float, float | None, float | None]:
    numbers = point.numbers
    return numbers["ratio"], numbers.get("ratio_high"), numbers.get("ratio_low")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([], NOT_MEASURED),
        ([1.2, 1.3], HOLDS),
        ([1.2, 1.0], LIMITED),
        ([1.2, 0.5], LIMITED),
        ([0.5, 1.0], FAILS),
        ([0.5, 0.6], FAILS),
        ([1.0, 1.0], UNDECIDED),
        ([math.nan], UNDECIDED),
    ],
)
def test_the_verdict_is_the_rule_s(values: list[float], word: str) -> None:
    without = Point(where={"framework": "numpy"}, numbers={"other": 3.0})
    assert judge(ABOVE, [without, *map(point, values)]).word == word


def test_claims_have_names_of_their_own_and_every_sentence_is_whole() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert len({part.name for part in claim.parts}) == len(claim.parts) > 0, claim.name
        assert claim.kind in KINDS
        for text in (claim.sentence, claim.measured, claim.limits):
            assert text.endswith((".", "?")), claim.name
        assert not claim.where.endswith("."), claim.name


def test_every_results_file_is_of_a_claim() -> None:
    assert {path.name for path in RESULTS.glob("*.json")} <= {f"{claim.name}.json" for claim in CLAIMS}


def test_the_page_is_what_the_measurements_say() -> None:
    """`python -m benchmarks.claims.page` writes it."""
    ledger = entries(CLAIMS)
    assert PAGE.read_text() == as_markdown(ledger)
    drawn = {f"{e.claim.name}.svg" for e in ledger if e.claim.picture is not None and e.measurement is not None}
    assert {path.name for path in PICTURES.glob("*.svg")} == drawn


def test_the_command_prints_what_was_measured_and_never_that_the_rest_holds(tmp_path: Path) -> None:
    (claim,) = chosen(["flip-the-padded-batch"])
    measurement = a_measurement(claim, {part.name: [Point(where={}, numbers={"error": 0.5})] for part in claim.parts})
    write_measurement(results_file(tmp_path, claim), measurement)
    done = birnn("claims", claim.name, "--json", "--results", tmp_path)
    (told,) = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["numbers"]["for"]) == (0, FAILS, 0)
    assert told["measurement"]["command"] == f"birnn claims {claim.name} --measure"
    table = birnn("claims", claim.name, "--results", tmp_path).stdout
    assert f"0.5; 0 of {len(claim.parts)} bear it out" in _last_column(table)
    measurement.parts.popitem()
    write_measurement(results_file(tmp_path, claim), measurement)
    done = birnn("claims", claim.name, "--results", tmp_path)
    assert done.returncode == 3
    assert "not measured" in done.stdout
    assert "1 claim: 0 holds, 0 holds with limits, 0 does not hold, 1 not decided or not measured" in done.stdout


def _last_column(table: str) -> str:
    """The text of the column "measured", on one line."""
    start = table.splitlines()[0].index("measured")
    return " ".join(line[start:].strip() for line in table.splitlines())


def a_measurement(claim: Claim, parts: dict[str, list[Point]]) -> Measurement:
    return Measurement(
        version=1,
        claim=claim.name,
        command=command_of(claim),
        started="2026-01-01T00:00:00+00:00",
        commit="",
        source="",
        machine={},
        threads=1,
        versions={},
        parts=parts,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("no-such-claim",), "NAME must match a claim"),
        (("--kind", "speed"), "--kind must be one of number, time; got 'speed'"),
        (("--measure", "--conllu", "/no/such/file"), "--conllu must be a file; got /no/such/file"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    done = birnn("claims", *arguments, "--results", tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_torn_results_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "flip-the-padded-batch.json").write_text('{"version": 1,')
    done = birnn("claims", "flip-the-padded-batch", "--results", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be JSON" in done.stderr
