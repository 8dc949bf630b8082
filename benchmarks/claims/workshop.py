"""What measures a claim's parts: workers of a pool, asked for layers and for models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backends.pool.network import RemoteNetwork
from backends.pool.pool import NoAnswer, Pool
from backends.registry import Backend, backends
from backends.worker import own_layer
from backends.worker.messages import Answer, NotDone, RunCase, WorkerRequest
from common.case import Case, write_case
from common.errors import InputError
from common.reference import Arrays
from common.result import read_result


def ignore(_: str) -> None:
    """Say nothing."""


@dataclass
class Workshop:
    """Workers that are started when they are first asked.

    Parameters
    ----------
    pool
        The workers.
    timeout_seconds
        After which one that does not answer is killed.
    conllu
        The user's CoNLL-U files, for training and for judging; empty where none are given.
    tell
        Is told what is being done, in a few words.
    """

    pool: Pool
    timeout_seconds: float
    conllu: Sequence[Path] = ()
    tell: Callable[[str], None] = ignore
    _count: int = field(default=0, init=False)

    def ask(self, framework: str, request: WorkerRequest[Answer]) -> Answer | NotDone:
        """The reply of a framework's worker."""
        return self.pool.ask(backends()[framework], request, self.timeout_seconds)

    def done(self, framework: str, request: WorkerRequest[Answer]) -> Answer:
        """The reply to what the worker does; ``NoAnswer`` where it declines, fails, or dies."""
        reply = self.ask(framework, request)
        if isinstance(reply, NotDone):
            raise NoAnswer(reply)
        return reply

    def run(self, name: str, case: Case, dtype: str = "float64") -> Arrays:
        """The tensors that ``framework/implementation`` computes for a case, gradients where it has cotangents.

        Raises
        ------
        NoAnswer
            If there are none.
        """
        framework, _, implementation = name.partition("/")
        return self._run(backends()[framework], self.pool, implementation, case, dtype)

    @contextmanager
    def own(self, framework: str, file: Path, function: str) -> Iterator[Callable[[Case, str], Arrays]]:
        """A worker of its own for a layer, a ``function`` of a Python ``file`` (``birnn.verify``): what gives its
        tensors for a case and a dtype, and raises as ``run``.
        """
        environment = backends()[framework].environment
        backend = Backend(own_layer.NAME, "backends.worker.own_layer:load", environment, files=(file,))
        content = json.dumps({"file": str(file), "name": function, "framework": framework})
        with Pool.open(1, {own_layer.VARIABLE: content}) as pool:
            yield partial(self._run, backend, pool, function)

    def network(self, framework: str, handle: str) -> RemoteNetwork:
        """A model in a framework's worker, to be opened under a handle."""
        backend = backends()[framework]

        def file(name: str) -> Path:
            return self.pool.folder / f"{name}-{framework}-{handle}"

        def ask(request: WorkerRequest[Answer]) -> Answer | NotDone:
            return self.ask(framework, request)

        return RemoteNetwork(handle, ask, partial(self.pool.distrust, backend), file)

    def _run(self, backend: Backend, pool: Pool, implementation: str, case: Case, dtype: str) -> Arrays:
        """The tensors that a backend's worker of a pool computes for a case; raises as ``run``."""
        self._count += 1
        path, result = (pool.folder / f"{what}-{self._count}.safetensors" for what in ("case", "result"))
        write_case(case, path, durable=False)
        request = RunCase(case=path, implementation=implementation, dtype=dtype, device="cpu", result=result)
        try:
            reply = pool.ask(backend, request, self.timeout_seconds)
            if isinstance(reply, NotDone):
                raise NoAnswer(reply)
            computed = read_result(result)
            if computed.header.case_sha256 != case.sha256():
                raise NoAnswer(pool.distrust(backend, "its result must be of the case that it was given"))
            return computed.tensors
        except InputError as error:
            raise NoAnswer(pool.distrust(backend, str(error))) from None
        finally:
            for each in (path, result):
                each.unlink(missing_ok=True)
