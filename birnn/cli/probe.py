"""``birnn probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from birnn.options import Timeout, WithoutPlugin


def probe_command(
    framework: Annotated[
        list[str], typer.Option("--framework", "-f", help="torch, jax, tensorflow or mxnet; repeatable; default: all.")
    ] = [],  # noqa: B006
    only: Annotated[
        list[str], typer.Option("--only", metavar="GLOB", help="Only such framework/name, as in 'jax/*'; repeatable.")
    ] = [],  # noqa: B006
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the findings there.")] = None,
    expect: Annotated[
        Path | None, typer.Option("--expect", metavar="FILE", help="Compare with findings that --json has written.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as in docs/findings.md.")] = False,
    timeout: Timeout = 120.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Measure whether the known divergences of the frameworks are still there.

    Exit 0 whatever is found, 1 when a probe could not run on the versions that it is made for or, with --expect, when a
    status is another one, 2 for bad input or a broken environment, 3 when no probe measured anything or, with --expect,
    nothing that the record has.
    """
    from backends.studies.probes import OTHER_VERSION, as_markdown, differences, make_record, read_record, run_probes
    from birnn import exit_codes
    from birnn.commands.workers import workers
    from birnn.display import progress, say, say_written, stderr, stdout
    from birnn.options import writable_file
    from common.tensorfile import write_bytes

    expected = None if expect is None else read_record(expect)
    if json_file is not None:
        writable_file("--json", json_file)
    notes, console = stderr(), stdout()
    with workers(framework, option="--framework") as (pool, selection), progress() as bar:
        task = bar.add_task("probing", total=None)
        findings = run_probes(pool, selection, timeout, lambda finding: bar.advance(task), only)
    record = make_record(selection, findings)
    if markdown:
        say(as_markdown(record), end="")
    else:
        _print_findings(console, record)
    if json_file is not None:
        write_bytes(json_file, (record.model_dump_json(indent=1) + "\n").encode())
        say_written(json_file, "the findings")
    changed = [] if expected is None else differences(expected, findings, only)
    for text in changed:
        notes.print(f"birnn: {text}", markup=False)
    recorded = None if expected is None else {finding.key for finding in expected.findings}
    code = exit_codes.decide(
        wrong=bool(changed) or any(finding.status == "failed" for finding in findings),
        broken=bool(selection.broken),
        checked=any(
            finding.status not in ("not applicable", OTHER_VERSION) and (recorded is None or finding.key in recorded)
            for finding in findings
        ),
    )
    raise typer.Exit(code)


def _print_findings(console: Any, record: Any) -> None:
    """Print every finding, and how many there are of each status."""
    from rich.markup import escape

    from backends.studies.probes import count_by_status

    colours = {"present": "yellow", "fixed": "green", "changed": "red", "failed": "red"}
    told = None
    for finding in record.findings:
        if finding.framework != told:
            told = finding.framework
            versions = ", ".join(f"{library} {version}" for library, version in record.versions[told].items())
            console.print(f"[bold]{escape(told)}[/bold]: {escape(versions)}", soft_wrap=True)
        colour = colours.get(finding.status, "dim")
        console.print(f"[{colour}]{finding.status}[/] [bold]{escape(finding.key)}[/]  ({finding.harm})", soft_wrap=True)
        console.print(f"    {escape(finding.what)}", soft_wrap=True)
        console.print(f"    measured: {escape(finding.evidence)}", soft_wrap=True)
        console.print(f"    in practice: {escape(finding.consequence)}", soft_wrap=True)
        console.print(f"    way out: {escape(finding.way_out)}", soft_wrap=True)
        if finding.upstream:
            console.print(f"    upstream: {escape(finding.upstream)}", soft_wrap=True)
    counts = count_by_status(record.findings)
    console.print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
