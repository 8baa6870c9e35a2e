"""A real kernel to talk to, as a front end does.

It runs on this interpreter, so the version matrix tests each ipykernel by running these tests
in an environment that has it.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

SECONDS = 60.0


@dataclass
class Result:
    """What a cell left under itself, and how it ended."""

    id: str
    status: str = ""
    stdout: str = ""
    stderr: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)  # MIME bundles, in order
    value: str | None = None  # the text of its last expression

    @property
    def error(self) -> str:
        """Everything shown as an error, without colours."""
        import re

        text = "\n".join(line for error in self.errors for line in error["traceback"])
        return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Kernel:
    """A kernel and its one client."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.connect()

    def connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.others: list[dict[str, Any]] = []  # IOPub messages of no cell, or a finished one

    def start(self, code: str, *, allow_stdin: bool = True) -> Result:
        """Have ``code`` executed, without waiting for it."""
        # As long as stdin is allowed, a kernel takes us for a front end with a person at it.
        return Result(self.client.execute(code, allow_stdin=allow_stdin))

    def finish(self, result: Result) -> Result:
        """Wait for the cell's end and collect its output."""
        end = time.monotonic() + SECONDS
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            if message["parent_header"].get("msg_id") != result.id:
                self.others.append(message)
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                name = content["name"]
                setattr(result, name, getattr(result, name) + content["text"])
            elif kind == "error":
                result.errors.append(content)
            elif kind in ("display_data", "execute_result", "update_display_data"):
                result.shown.append(content["data"])
                if kind == "execute_result":
                    result.value = content["data"]["text/plain"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, end - time.monotonic()))
            if reply["parent_header"].get("msg_id") == result.id:
                result.status = reply["content"]["status"]
                return result

    def run(self, code: str, *, allow_stdin: bool = True) -> Result:
        """Execute ``code`` to its end."""
        return self.finish(self.start(code, allow_stdin=allow_stdin))

    def value(self, expression: str) -> str:
        """The text of an expression's value."""
        result = self.run(expression)
        assert result.status == "ok", result.error
        assert result.value is not None
        return result.value

    def control(self, kind: str, content: Any) -> tuple[dict[str, Any], float]:
        """The reply to a message on the control channel, and the seconds it took."""
        message = self.client.session.msg(kind, content)
        begin = time.monotonic()
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply, time.monotonic() - begin

    def heard(self, kind: str, seconds: float = 20.0) -> dict[str, Any]:
        """The next IOPub message of this kind."""
        end = time.monotonic() + seconds
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} within {seconds} s") from None
            if message["msg_type"] == kind:
                return message


@pytest.fixture(scope="module")
def kernel_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kernels of this module keep their runs."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def start_kernel(
    kernel_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Kernel]]:
    """``start_kernel()`` starts a kernel with nbtrain loaded; it ends with the module."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {
        "NBTRAIN_HOME": str(kernel_store),
        "PYTHONPATH": path,
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    started: list[Kernel] = []

    def start() -> Kernel:
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env=environment, cwd=str(kernel_store))
        kernel = Kernel(manager)
        started.append(kernel)
        assert kernel.run("%load_ext nbtrain").status == "ok"
        return kernel

    yield start
    for kernel in started:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def shared_kernel(start_kernel: Callable[[], Kernel]) -> Kernel:
    """One kernel for the tests of a module that leave it usable."""
    return start_kernel()


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Iterator[Kernel]:
    """The module's kernel; what a test leaves training is stopped after it."""
    yield shared_kernel
    shared_kernel.run(
        "import sys\n"
        "if 'nbtrain.runs.registry' in sys.modules:\n"
        "    sys.modules['nbtrain.runs.registry'].stop_all(20)"
    )
