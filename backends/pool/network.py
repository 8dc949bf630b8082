"""A model in a worker, as the controller sees it: opened, trained, asked and saved by way of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from backends.pool.pool import NoAnswer
from backends.worker import messages
from backends.worker.messages import Answer, NotDone, Question, WorkerRequest
from backends.worker.networks import read_batches, write_batches
from common.errors import InputError
from common.models.optimizers import OptimizerSettings
from common.models.specification import Arrays, Model
from common.models.streaming import Streaming
from common.models.trace import Step
from common.tensorfile import as_bytes, read, write_bytes


class Ask(Protocol):
    """A function that sends a request to a worker and gives the reply."""

    def __call__(self, request: WorkerRequest[Answer], /) -> Answer | NotDone:
        """The reply to the request."""
        ...


@dataclass
class RemoteNetwork:
    """A model under a handle of its own.

    Every method raises ``NoAnswer`` where the worker declines, fails, dies, or writes what was not asked for.

    Parameters
    ----------
    handle
        Its name in the worker.
    ask
        Sends a request, and gives the reply.
    distrust
        Ends the worker, for a reason, and gives the reply that stands for that.
    file
        The path of a file that nobody else writes, by name.

    Attributes
    ----------
    cpu_seconds
        The processor time that training has taken in the worker so far, in seconds, of all its threads; compiling
        counts.
    """

    handle: str
    ask: Ask
    distrust: Callable[[str], NotDone]
    file: Callable[[str], Path]
    cpu_seconds: float = field(default=0.0, init=False)

    def open(
        self,
        spec: Model,
        implementation: str,
        dtype: str,
        device: str,
        weights: Arrays,
        largest: Arrays,
        optimizer: OptimizerSettings | None = None,
        state: Arrays | None = None,
    ) -> None:
        """Build the model with these weights; ``largest`` is a batch of the largest sizes, by which it is told whether
        the implementation can. With ``optimizer`` it can be trained, from ``state`` on.
        """
        self._done(
            messages.OpenNetwork(
                handle=self.handle,
                spec=spec,
                implementation=implementation,
                dtype=dtype,
                device=device,
                weights=self._written("weights", weights),
                batch=self._written("largest", largest),
                optimizer=optimizer,
                state=None if state is None else self._written("state", state),
            )
        )

    def train(self, batches: Sequence[Arrays]) -> list[Step]:
        """A step on each batch, in their order; what each gave."""
        path = self.file("batches")
        write_batches([dict(batch) for batch in batches], path)
        reply = self._done(messages.TrainNetwork(handle=self.handle, batches=path))
        self.cpu_seconds += reply.cpu_seconds or 0.0
        return [Step(**step.model_dump()) for step in reply.steps]

    def answers(
        self,
        question: Question,
        batches: Sequence[Arrays],
        max_steps: int | None = None,
        streaming: Streaming | None = None,
        beam: int | None = None,
    ) -> list[Arrays]:
        """The answers to ``results``, ``loss``, ``predict`` (all at once, or ``streaming``) or ``decode`` (at most
        ``max_steps`` tokens; greedy, or by a ``beam`` of some width), one for each batch.
        """
        given, answers = self.file("questions"), self.file("answers")
        answers.unlink(missing_ok=True)  # those of a worker that died when it had written them
        write_batches([dict(batch) for batch in batches], given)
        self._done(
            messages.AskNetwork(
                handle=self.handle,
                question=question,
                batches=given,
                answers=answers,
                max_steps=max_steps,
                streaming=streaming,
                beam=beam,
            )
        )
        try:
            answered = read_batches(answers)
        except (InputError, ValueError) as error:
            raise NoAnswer(self.distrust(f"its answers must be to {len(batches)} batches; got: {error}")) from None
        if len(answered) != len(batches):
            raise NoAnswer(self.distrust(f"its answers must be to {len(batches)} batches; got {len(answered)}"))
        return answered

    def save(self) -> tuple[Arrays, Arrays]:
        """All parameters, and the optimizer's state."""
        weights, state = self.file("saved"), self.file("saved-state")
        for path in (weights, state):
            path.unlink(missing_ok=True)
        self._done(messages.SaveNetwork(handle=self.handle, weights=weights, state=state))
        try:
            return read(weights)[0], read(state)[0]
        except InputError as error:
            raise NoAnswer(self.distrust(str(error))) from None

    def close(self) -> None:
        """Let go of it."""
        self._done(messages.CloseNetwork(handle=self.handle))

    def _done(self, request: WorkerRequest[Answer]) -> Answer:
        """The reply to a request that has been done; ``NoAnswer`` where it has not."""
        reply = self.ask(request)
        if isinstance(reply, NotDone):
            raise NoAnswer(reply)
        return reply

    def _written(self, name: str, arrays: Arrays) -> Path:
        """The file to which the arrays have been written."""
        path = self.file(name)
        write_bytes(path, as_bytes({key: np.asarray(value) for key, value in arrays.items()}, {}), durable=False)
        return path
