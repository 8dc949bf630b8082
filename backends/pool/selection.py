"""Which implementations a user asked for: names and shell globs against what the workers offer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from backends.pool.environments import override_variable
from backends.pool.pool import EnvironmentBroken, EnvironmentMissing, Pool
from backends.pool.waiting import wait_for
from backends.registry import Backend, backends, left_out
from backends.worker.messages import Description
from common.errors import InputError


@dataclass
class Selection:
    """What is there of what was asked for.

    ``implementations`` by backend name, in the backends' order; ``descriptions`` what their workers said of themselves;
    ``missing`` and ``broken`` sentences by backend name, the latter also on plug-ins that were asked for and cannot be
    used; ``left_out`` sentences on the other plug-ins; ``named`` the backends whose name was spelt out.
    """

    implementations: dict[str, list[str]] = field(default_factory=dict)
    descriptions: dict[str, Description] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence on whatever is not there or cannot be used."""
        return [*self.left_out, *self.missing.values(), *self.broken.values()]

    def lose(self, name: str, reason: str) -> None:
        """Take a backend out whose worker has ended since."""
        self.broken[name] = f"the environment of {name} must keep a worker running; got: {reason}"
        for table in (self.descriptions, self.implementations):
            table.pop(name, None)

    def absent_but_named(self) -> list[str]:
        """Sentences on the environments that were asked for by name and are missing."""
        return [text for name, text in self.missing.items() if name in self.named]


def start_workers(pool: Pool, names: Iterable[str]) -> Selection:
    """Start the workers of the named backends side by side and note what each one says."""
    selection = Selection()
    known = backends()

    def start(name: str) -> Description:
        return pool.worker(known[name]).description

    with ThreadPoolExecutor() as threads:
        try:
            started = {name: threads.submit(start, name) for name in names}
            wait_for(started.values())
        except BaseException:  # Ctrl-C
            pool.kill()
            raise
    for name, future in started.items():
        try:
            selection.descriptions[name] = future.result()
        except EnvironmentMissing as error:
            selection.missing[name] = str(error)
        except EnvironmentBroken as error:
            selection.broken[name] = str(error)
    return selection


def select(pool: Pool, patterns: Sequence[str], option: str = "--implementation") -> Selection:
    """Start what the patterns may mean and match them; none means everything; ``option`` is named in errors.

    Raises
    ------
    InputError
        If a pattern matches no implementation, or an environment that it names is missing.
    """
    known = backends()
    full = [pattern if "/" in pattern else f"{pattern}/*" for pattern in patterns] or ["*/*"]
    wanted = {pattern: _matching_backends(pattern, known, option) for pattern in full}
    names = [name for name in known if any(name in group for group in wanted.values())]
    selection = start_workers(pool, names)
    for name, text in left_out().items():
        if any(fnmatchcase(name, pattern.partition("/")[0]) for pattern in full):
            selection.broken[f"plug-in {name}"] = text
        else:
            selection.left_out.append(text)
    selection.named = {pattern.partition("/")[0] for pattern in full} & set(known)
    _forget_optional(selection, [known[name] for name in names])
    absent = selection.absent_but_named()
    if absent:
        raise InputError(absent[0])
    for name, description in selection.descriptions.items():
        offered = [f"{name}/{implementation}" for implementation in description.implementations]
        chosen = [offer for offer in offered if any(fnmatchcase(offer, pattern) for pattern in full)]
        selection.implementations[name] = [offer.partition("/")[2] for offer in chosen]
    _check_patterns(full, wanted, selection, option)
    if not selection.descriptions and not selection.broken:
        raise InputError(f"at least one framework's environment must exist; {next(iter(selection.missing.values()))}")
    return selection


def _forget_optional(selection: Selection, backends: Sequence[Backend]) -> None:
    """Say nothing of a missing environment that is optional, was not named, and stood among others."""
    if all(backend.optional for backend in backends):
        return
    for backend in backends:
        if backend.optional and backend.name not in selection.named and override_variable(backend) not in os.environ:
            selection.missing.pop(backend.name, None)


def _matching_backends(pattern: str, known: Mapping[str, Backend], option: str) -> list[str]:
    """The backends that a pattern's part before the slash names; an ``InputError`` where there is none."""
    matching = [name for name in known if fnmatchcase(name, pattern.partition("/")[0])]
    if not matching:
        unusable = [text for name, text in left_out().items() if fnmatchcase(name, pattern.partition("/")[0])]
        if unusable:
            raise InputError(unusable[0])
        raise InputError(f"{option} must name one of the frameworks {', '.join(known)}; got {pattern!r}")
    return matching


def _check_patterns(
    patterns: Sequence[str], wanted: Mapping[str, list[str]], selection: Selection, option: str
) -> None:
    """Raise an ``InputError`` for a pattern that matches nothing of the workers that are there, unless it may mean one
    of an environment that is not.
    """
    for pattern in patterns:
        if any(name in selection.missing for name in wanted[pattern]):
            continue
        there = [name for name in wanted[pattern] if name in selection.descriptions]
        offered = [f"{name}/{each}" for name in there for each in selection.descriptions[name].implementations]
        if there and not any(fnmatchcase(offer, pattern) for offer in offered):
            raise InputError(f"{option} must match one of {', '.join(offered)}; got {pattern!r}")
