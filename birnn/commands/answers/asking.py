"""Ask a model that an implementation of a framework computes, in its worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from backends.interface.gaps import DECLINED
from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer
from backends.registry import backends
from birnn import exit_codes
from birnn.commands.workers import workers
from birnn.display import stderr
from common.errors import InputError
from common.models.specification import Arrays, Model


@dataclass(frozen=True)
class Chosen:
    """Who computes a model: a framework, or ``framework/implementation``, and how."""

    framework: str
    dtype: str
    device: str
    threads: int
    timeout_seconds: float


Use = Callable[[RemoteNetwork], None]
"""A function that asks an opened model."""


def with_network(
    chosen: Chosen,
    spec: Model,
    weights: Arrays,
    largest: Arrays,
    use: Use,
    then: tuple[Arrays, Use] | None = None,
) -> tuple[int, str]:
    """Open a model and use it; the exit code, and the name of the implementation. What goes wrong is said on stderr.

    ``largest`` is a batch of the largest sizes that it will be asked about; ``then`` are other weights of the same
    model, and how it is used with them, in the same worker.

    Raises
    ------
    InputError
        If there is no such framework or implementation.
    """
    pattern = chosen.framework if "/" in chosen.framework else f"{chosen.framework}/manual"
    with workers([pattern], chosen.threads, "--framework") as (pool, selection):
        implementations = [(name, each) for name, group in selection.implementations.items() for each in group]
        if not implementations:
            raise InputError(next(iter(selection.broken.values()), "--framework must have an implementation; got none"))
        name, implementation = implementations[0]
        backend = backends()[name]
        ask = partial(pool.ask, backend, timeout_seconds=chosen.timeout_seconds)
        network = RemoteNetwork("asked", ask, partial(pool.distrust, backend), lambda file: pool.folder / file)
        try:
            for parameters, ask_it in [(weights, use), *([] if then is None else [then])]:
                network.open(spec, implementation, chosen.dtype, chosen.device, parameters, largest)
                ask_it(network)
        except NoAnswer as error:
            status = error.reply.status
            stderr().print(f"birnn: {name}/{implementation}: {status}: {error}", markup=False)
            code = exit_codes.decide(wrong=status not in DECLINED, broken=False, checked=False)
            return code, f"{name}/{implementation}"
    return exit_codes.AGREED, f"{name}/{implementation}"
