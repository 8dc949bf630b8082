"""The process inside a framework's environment: JSON lines on stdin and stdout, arrays in safetensors files.

Started by ``backends.pool.pool`` as ``python -m backends.worker module:function``. It answers a first line when the
framework is imported, then one line for each line that it is sent. Whatever else is written to stdout goes to stderr,
which is the log.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Before anything is imported: keep the real stdout for replies, and point descriptor 1 at the log.
    _replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    from backends.pool.lifetime import die_before_controller, die_with_controller

    die_with_controller()  # also while a library holds the interpreter's lock
    die_before_controller()

import gc
import json
import queue
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from backends.interface.framework import LANES, Framework
from backends.registry import load_framework
from backends.worker.capacity import OPERATIONS as CAPACITIES
from backends.worker.capacity import capacity
from backends.worker.execution import Unsupported, all_packages, all_versions, execute, execute_again
from backends.worker.networks import OPERATIONS as NETWORK_OPERATIONS
from backends.worker.networks import Networks
from backends.worker.opening import require_supported
from backends.worker.timing import Timing
from common.case import read_case
from common.result import Result, write_result


def describe(framework: Framework) -> dict[str, Any]:
    """What a framework says of itself, for the worker's first line."""
    return {
        "status": "ready",
        "name": framework.name,
        "versions": all_versions(framework),
        "devices": framework.devices(),
        "implementations": list(framework.implementations),
        "gaps": [
            {
                "implementations": gap.implementations,
                "what": gap.what,
                "status": gap.status,
                "reason": gap.told,
                "link": gap.link,
            }
            for gap in framework.gaps
        ],
    }


class Desk:
    """Answers requests: what a worker keeps between them is in its parts."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        timing, networks = Timing(framework), Networks(framework)
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "ping": lambda _: {},
            "packages": lambda _: {"packages": all_packages()},
            "probes": lambda _: {"probes": [probe.as_json() for probe in framework.probes().values()]},
            "probe": lambda request: {"observation": vars(framework.probes()[request["name"]].measure())},
            "run": self._run,
            "supported": partial(require_supported, framework),
            **{name: partial(capacity, framework) for name in CAPACITIES},
            **{name: getattr(timing, name) for name in ("open", "block", "kernels", "close")},
            **dict.fromkeys(NETWORK_OPERATIONS, networks.answer),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request's ``op`` asks; the reply's status is done, unsupported, not offered or failed."""
        try:
            return {"status": "done", **self._answers[request["op"]](request)}
        except Unsupported as error:
            return vars(error.refusal)
        except Exception as error:
            traceback.print_exc()
            return {"status": "failed", "reason": _one_line(error)}

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a case file and write the result file; with ``others``, paths by name, also what else
        ``execute_again`` gives, whose names the reply then has.
        """
        if (lane := request.get("lane", LANES[0])) != LANES[0]:
            self._framework.use_lane(lane)  # a process stays in its lane
        case = read_case(Path(request["case"]))
        what = (self._framework, case, request["implementation"], request["dtype"], request["device"])
        if "others" not in request:
            write_result(execute(*what), Path(request["result"]), durable=False)
            return {}
        result, others = execute_again(*what, request["forward"])
        write_result(result, Path(request["result"]), durable=False)
        for name, tensors in others.items():
            write_result(Result(result.header, tensors), Path(request["others"][name]), durable=False)
        return {"others": list(others)}


def serve(load: str, replies: IO[str]) -> None:
    """Import the framework, say so, and answer requests until stdin ends."""
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    try:
        framework = load_framework(load)
        first = describe(framework)
    except Exception as error:
        traceback.print_exc()
        _reply(replies, {"status": "broken", "reason": _one_line(error)})
        return
    gc.freeze()  # else full collections walk over all that the import left: 0.3 s in some of TensorFlow's traces
    _reply(replies, first)
    desk = Desk(framework)
    while True:
        request = json.loads(requests.get())
        _reply(replies, {"id": request["id"], **desk.answer(request)})


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    """Hand on stdin's lines; when stdin ends the controller is gone, and so is this process, whatever it is doing."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _reply(replies: IO[str], content: dict[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".strip(": ")


if __name__ == "__main__":
    serve(sys.argv[1], _replies)
