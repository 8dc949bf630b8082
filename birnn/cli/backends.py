"""``birnn backends``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from birnn.options import WithoutPlugin


def backends_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Show each framework's environment, versions, devices, implementations, and what they cannot do and why.

    Exit 0 when those that are there work, 2 when one or a plug-in is broken, 3 when none is there.
    """
    import json

    from backends.pool.pool import Pool
    from backends.pool.selection import start_workers
    from backends.registry import backends, left_out
    from birnn import exit_codes
    from birnn.display import say, stdout

    known = backends()
    with Pool.open() as pool:
        selection = start_workers(pool, known)
    content = {name: _content(name, selection) for name in known}
    content |= {f"plug-in {name}": {"status": "left out", "reason": text} for name, text in left_out().items()}
    if as_json:
        say(json.dumps(content, indent=2))
    else:
        console = stdout()
        for name, each in content.items():
            _print_backend(console, name, each)
    broken = bool(selection.broken or left_out())
    raise typer.Exit(exit_codes.decide(wrong=False, broken=broken, checked=bool(selection.descriptions)))


def _content(name: str, selection: Any) -> dict[str, Any]:
    """What is told of a backend, as a JSON object."""
    from backends.interface.gaps import UNSUPPORTED
    from backends.pool.environments import interpreter
    from backends.registry import backends

    python = interpreter(backends()[name])
    content: dict[str, Any] = {"interpreter": None if python is None else str(python)}
    if name in selection.missing:
        return content | {"status": "missing", "reason": selection.missing[name]}
    if name in selection.broken:
        return content | {"status": "broken", "reason": selection.broken[name]}
    description = selection.descriptions[name]
    implementations = {
        implementation: [
            *(
                {"what": "gradients", "status": UNSUPPORTED, "reason": reason, "link": ""}
                for name, reason in description.forward_only.items()
                if name == implementation
            ),
            *(
                gap.model_dump(include={"what", "status", "reason", "link"})
                for gap in description.gaps
                if implementation in gap.implementations
            ),
        ]
        for implementation in description.implementations
    }
    return content | {
        "status": "found",
        "versions": description.versions,
        "devices": description.devices,
        "implementations": {name: {"unsupported": gaps} for name, gaps in implementations.items()},
    }


def _print_backend(console: Any, name: str, content: dict[str, Any]) -> None:
    """Print what is told of a backend: where it is, its versions, its implementations, and what each declines."""
    from rich.markup import escape

    console.print(f"[bold]{escape(name)}[/bold]  {content['status']}")
    if content["status"] != "found":
        console.print(f"  {escape(content['reason'])}", soft_wrap=True)
        return
    versions = ", ".join(f"{library} {version}" for library, version in content["versions"].items())
    devices = ", ".join(f"{device} ({text})" for device, text in content["devices"].items())
    for what, text in (("interpreter", content["interpreter"]), ("versions", versions), ("devices", devices)):
        console.print(f"  {what:12} {text}", markup=False, soft_wrap=True)
    for implementation, each in content["implementations"].items():
        gaps = each["unsupported"]
        but = ", but not:" if gaps else ""
        console.print(f"  {name}/{implementation}: every specification{but}", markup=False, soft_wrap=True)
        for gap in gaps:
            link = f" ({gap['link']})" if gap["link"] else ""
            console.print(f"    {gap['what']} ({gap['status']}): {gap['reason']}{link}", markup=False, soft_wrap=True)
