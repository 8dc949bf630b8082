"""The process inside a framework's environment: JSON lines on stdin and stdout, arrays in safetensors files.

Started by ``backends.pool.pool`` as ``python -m backends.worker module:function``. It answers a first line when the
framework is imported, then one line for each line that it is sent. Whatever else is written to stdout goes to stderr,
which is the log.
"""

from __future__ import annotations

import gc
import os
import sys

if __name__ == "__main__":
    gc.disable()  # what is imported stays: collections meanwhile are an eighth of the time that importing takes
    # Before anything is imported: keep the real stdout for replies, and point descriptor 1 at the log.
    _replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    from backends.pool.lifetime import die_before_controller, die_with_controller

    die_with_controller()  # also while a library holds the interpreter's lock
    die_before_controller()

import queue
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from backends.interface.framework import LANES, Framework
from backends.registry import load_framework
from backends.worker import capacity, lines, messages
from backends.worker.checkpoints import run_checkpoint
from backends.worker.execution import Unsupported, all_packages, all_versions, execute, execute_again
from backends.worker.int8 import time_int8
from backends.worker.messages import Description, Done, NotDone, WorkerReply, WorkerRequest
from backends.worker.networks import Networks
from backends.worker.opening import require_layer, require_system
from backends.worker.timing import Timing
from common.case import read_case
from common.result import Result, write_result


def describe(framework: Framework) -> Description:
    """What a framework says of itself, for the worker's first line."""
    gaps = [
        messages.DescribedGap(
            implementations=list(gap.implementations),
            what=gap.what,
            status=gap.status,
            reason=gap.told,
            link=gap.link,
        )
        for gap in framework.gaps
    ]
    return Description(
        name=framework.name,
        versions=all_versions(framework),
        devices=framework.devices(),
        implementations=list(framework.implementations),
        gaps=gaps,
        forward_only={name: kind.forward_only for name, kind in framework.implementations.items() if kind.forward_only},
    )


class Desk:
    """Answers requests: what a worker keeps between them is in its parts."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        timing, networks = Timing(framework), Networks(framework)
        self.answers: dict[type[WorkerRequest[Any]], Callable[[Any], WorkerReply]] = {
            messages.Ping: lambda _: Done(),
            messages.ListPackages: lambda _: messages.InstalledPackages(packages=all_packages()),
            messages.ListProbes: self._list_probes,
            messages.Observe: self._observe,
            messages.RunCase: self._run,
            messages.CanRunLayer: partial(require_layer, framework),
            messages.CanTrainSystem: partial(require_system, framework),
            messages.TimeProduct: partial(capacity.product, framework),
            messages.TimeCopy: partial(capacity.copy, framework),
            messages.TimeBarrier: capacity.barrier,
            messages.TimeThreads: partial(capacity.threads_at_work, framework),
            messages.OpenLayer: timing.open,
            messages.OpenSystem: timing.open,
            messages.TimeBlock: timing.block,
            messages.ListKernels: timing.kernels,
            messages.CloseWork: timing.close,
            messages.OpenNetwork: networks.open,
            messages.TrainNetwork: networks.train,
            messages.SaveNetwork: networks.save,
            messages.AskNetwork: networks.ask,
            messages.CloseNetwork: networks.close,
            messages.TimeInt8: partial(time_int8, framework),
            messages.RunCheckpoint: partial(run_checkpoint, framework),
        }

    def answer(self, request: WorkerRequest[Any]) -> WorkerReply | NotDone:
        """Do what a request asks, and the reply to it; that it was declined, or failed, where it raises."""
        try:
            return self.answers[type(request)](request)
        except Unsupported as error:
            return NotDone(error.refusal.status, error.refusal.reason)
        except Exception as error:
            traceback.print_exc()
            return NotDone(messages.FAILED, _one_line(error))

    def _list_probes(self, _: messages.ListProbes) -> messages.ListedProbes:
        """The texts of the framework's probes."""
        probes = self._framework.probes().values()
        return messages.ListedProbes(probes=[messages.ProbeTexts(**probe.as_json()) for probe in probes])

    def _observe(self, request: messages.Observe) -> messages.Observed:
        """What a probe measures."""
        observation = self._framework.probes()[request.name].measure()
        return messages.Observed(observation=messages.ProbeResult(**vars(observation)))

    def _run(self, request: messages.RunCase) -> messages.OtherResults:
        """Run a case file and write the result files that are asked for."""
        if request.lane != LANES[0]:
            self._framework.use_lane(request.lane)  # a process stays in its lane
        case = read_case(request.case)
        if not request.gradients:
            case = case.without_gradients()
        what = (self._framework, case, request.implementation, request.dtype, request.device)
        if request.others is None:
            write_result(execute(*what), request.result, durable=False)
            return messages.OtherResults()
        result, others = execute_again(*what, request.forward)
        write_result(result, request.result, durable=False)
        for name, tensors in others.items():
            write_result(Result(result.header, tensors), request.others[name], durable=False)
        return messages.OtherResults(others=list(others))


def serve(load: str, replies: IO[str]) -> None:
    """Import the framework, say so, and answer requests until stdin ends."""
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    try:
        framework = load_framework(load)
        first = describe(framework)
    except Exception as error:
        traceback.print_exc()
        _write(replies, lines.first_line(_one_line(error)))
        return
    gc.enable()
    gc.freeze()  # else full collections walk over all that the import left: 0.3 s in some of TensorFlow's traces
    _write(replies, lines.first_line(first))
    desk = Desk(framework)
    while True:
        number, request = lines.read_request(requests.get())
        reply = request if isinstance(request, NotDone) else desk.answer(request)
        _write(replies, lines.reply_line(number, reply))


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    """Hand on stdin's lines; when stdin ends the controller is gone, and so is this process, whatever it is doing."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _write(replies: IO[str], line: str) -> None:
    """Send a line at once."""
    replies.write(line + "\n")
    replies.flush()


def _one_line(error: Exception) -> str:
    """The kind of an exception and the first line of its text."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".strip(": ")


if __name__ == "__main__":
    serve(sys.argv[1], _replies)
