"""The process inside a framework's environment: JSON lines on stdin and stdout, arrays in safetensors files.

Started by ``backends.pool`` as ``python -m backends.worker module:function``. It answers a first line when the
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

import gc
import json
import queue
import threading
import traceback
from pathlib import Path
from typing import IO, Any

from backends.base import Framework
from backends.execution import Unsupported, all_versions, execute
from backends.registry import load_framework
from common.case import read_case
from common.result import write_result


def describe(framework: Framework) -> dict[str, Any]:
    """What a framework says of itself, for the worker's first line."""
    return {
        "status": "ready",
        "name": framework.name,
        "versions": all_versions(framework),
        "devices": framework.devices(),
        "implementations": list(framework.implementations),
        "gaps": [
            {"implementations": gap.implementations, "what": gap.what, "reason": gap.reason, "link": gap.link}
            for gap in framework.gaps
        ],
    }


def answer(framework: Framework, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks: ``ping``, list or run ``probes``, or ``run`` a case file and write the result file."""
    if request["op"] == "ping":
        return {"status": "done"}
    try:
        if request["op"] == "probes":
            return {"status": "done", "probes": [probe.as_json() for probe in framework.probes().values()]}
        if request["op"] == "probe":
            return {"status": "done", "observation": vars(framework.probes()[request["name"]].measure())}
        case = read_case(Path(request["case"]))
        result = execute(framework, case, request["implementation"], request["dtype"], request["device"])
        write_result(result, Path(request["result"]))
    except Unsupported as reason:
        return {"status": "unsupported", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "reason": _one_line(error)}
    return {"status": "done"}


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
    while True:
        request = json.loads(requests.get())
        _reply(replies, {"id": request["id"], **answer(framework, request)})


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
