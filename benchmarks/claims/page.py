"""Write docs/claims.md, the ledger with all that was measured, and its pictures.

birnn claims --measure
python -m benchmarks.claims.page
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from backends.pool.environments import ROOT
from benchmarks.claims.claim import FAILS, HOLDS, LIMITED, NOT_MEASURED, Point
from benchmarks.claims.ledger import CLAIMS, Entry, entries
from benchmarks.claims.record import Measurement, versions_text
from benchmarks.machine.company import is_crowded
from common.tensorfile import write_bytes

PAGE = ROOT / "docs" / "claims.md"
"""The page that is written."""
PICTURES = ROOT / "docs" / "claims"
"""The folder of the pictures that the page shows."""
MOST_ROWS = 24
"""Points in a table at most; more are in the results file alone."""


def main() -> None:
    """Write the page and the pictures of what has been measured."""
    ledger = entries(CLAIMS)
    PICTURES.mkdir(exist_ok=True)
    for entry in ledger:
        if entry.claim.picture is not None and entry.measurement is not None:
            write_bytes(PICTURES / f"{entry.claim.name}.svg", entry.claim.picture(entry.measurement.points))
    write_bytes(PAGE, as_markdown(ledger).encode())


def as_markdown(ledger: Sequence[Entry]) -> str:
    """docs/claims.md."""
    counts = {word: sum(entry.verdict.word == word for entry in ledger) for word in (HOLDS, LIMITED, FAILS)}
    rest = len(ledger) - sum(counts.values())
    lines = [
        "# What tutorials claim, measured",
        "",
        "Written by `python -m benchmarks.claims.page` from results/claims; do not edit. `birnn claims` prints the",
        "same ledger; `birnn claims NAME --measure --again` measures a claim again, and `birnn claims --measure --kind",
        "time --again`, on an idle machine, all that are about time. A verdict is computed from the",
        "numbers by the rule that stands with the claim: it holds where every point that was measured bears it out,",
        "with limits where some do, and not where none does. Models are trained by short recipes of the claims' own",
        "(benchmarks/claims/tasks.py), not by those of `birnn train` ([recipes.md](recipes.md)).",
        "",
        f"Of {len(ledger)} claims {counts[HOLDS]} hold, {counts[LIMITED]} hold with limits, {counts[FAILS]} do not hold"
        + (f", and {rest} are not decided or not measured." if rest else "."),
        "",
        "| claim | verdict | measured |",
        "|---|---|---|",
    ]
    lines += [_row(entry) for entry in ledger]
    for entry in ledger:
        lines += _section(entry)
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    """A claim's row in the table at the top: the sentence, its verdict, and the numbers behind it."""
    claim = entry.claim
    measured = "" if entry.verdict.word == NOT_MEASURED else f"{claim.rule.meaning.rstrip(',')}: {entry.verdict}"
    return f"| [{claim.sentence}](#{claim.name}) | {entry.verdict.word} | {measured} |"


def _section(entry: Entry) -> list[str]:
    """What the page says of one claim: verdict, rule, how it was measured, picture and points."""
    claim, verdict = entry.claim, entry.verdict
    lines = ["", f"## {claim.name}", "", f"“{claim.sentence}”", "", f"**{verdict.word.capitalize()}.** {claim.limits}"]
    lines += ["", f"- Where it is taught: {claim.where}.", f"- What is measured: {claim.measured}"]
    lines += [f"- The rule: a point bears it out where {claim.rule}."]
    if entry.measurement is None or verdict.word == NOT_MEASURED:
        return [*lines, f"- Not measured yet: `birnn claims {claim.name} --measure`."]
    lines += [f"- The numbers: {verdict}.", f"- {_measured_on(entry.measurement)}"]
    lines += [f"- Left out: {name}: {reason}." for name, reason in entry.measurement.left_out.items()]
    if claim.picture is not None:
        lines += ["", f"![{claim.name}](claims/{claim.name}.svg)"]
    points = entry.measurement.points
    if len(points) <= MOST_ROWS:
        lines += ["", *_table(points)]
    else:
        lines += ["", f"All {len(points)} points are in results/claims/{claim.name}.json."]
    return lines


def _measured_on(record: Measurement) -> str:
    """How a claim was measured, in one sentence, with a warning where other processes took processors meanwhile."""
    machine = record.machine
    text = (
        f"Measured by `{record.command}` on {record.threads} of {machine['usable_cores']} cores of "
        f"{machine['processor']}, {versions_text(record.versions)}, commit {record.commit}, {record.started[:10]}."
    )
    if record.threads > 1 and is_crowded(record.others_cpu):
        text = f"**Other processes took {record.others_cpu:.1f} cores meanwhile, so measure again.** {text}"
    return text


def _table(points: Sequence[Point]) -> list[str]:
    """A row for each point, a column for each name that one of them has."""
    columns = {
        kind: list(dict.fromkeys(name for point in points for name in getattr(point, kind)))
        for kind in ("where", "numbers", "notes")
    }
    heads = [name.replace("_", " ") for group in columns.values() for name in group]
    lines = [f"| {' | '.join(heads)} |", "|" + "|".join(["---"] * len(heads)) + "|"]
    for point in points:
        cells = [_text(getattr(point, kind).get(name, "")) for kind, names in columns.items() for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _text(value: str | float) -> str:
    """A number or a word as a table's cell."""
    return f"{value:.4g}" if isinstance(value, float | int) else value.replace("|", "\\|")


if __name__ == "__main__":
    typer.run(main)
