"""Which PyTorch a machine gets."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "install_torch.py"
    specification = importlib.util.spec_from_file_location("install_torch", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Index(BaseHTTPRequestHandler):
    """An index that holds torch, and nothing else."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/whl/cpu/torch/" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("gpu", "cpu_index", "from_cpu_index"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
def test_cpu_build_only_without_a_gpu_and_where_the_index_answers(
    script: ModuleType, gpu: bool, cpu_index: bool, from_cpu_index: bool
) -> None:
    words = script.arguments("2.13.0", gpu=gpu, cpu_index=cpu_index)
    assert words[0] == "torch==2.13.0"
    assert (script.CPU_INDEX in words) == from_cpu_index


def test_an_index_answers_or_does_not(script: ModuleType, index: str) -> None:
    assert script.answers(f"{index}/whl/cpu")
    assert not script.answers(f"{index}/elsewhere")


def test_no_server_is_no_answer(script: ModuleType) -> None:
    with socket.socket() as bound:  # bound and never listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        assert not script.answers(f"http://127.0.0.1:{bound.getsockname()[1]}/whl/cpu")
    assert not script.answers("https://no-such-host.invalid/whl/cpu")


def test_a_silent_server_is_waited_for_only_briefly(script: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not script.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.1)


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("GPU 0: NVIDIA H200 (UUID: GPU-1)", 0, True),
        ("", 0, False),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, False),
    ],
)
def test_a_gpu_is_what_the_driver_lists(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    status: int,
    expected: bool,
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\necho "{output}"\nexit {status}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.has_nvidia_gpu() is expected


def test_no_driver_is_no_gpu(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not script.has_nvidia_gpu()


def test_the_version_is_the_one_of_the_constraints(script: ModuleType) -> None:
    assert script.pinned("numpy==2.4.6\ntorch==2.13.0\n") == "2.13.0"
    assert script.pinned((ROOT / "constraints.txt").read_text(encoding="utf-8")) == "2.13.0"
    with pytest.raises(SystemExit, match="torch==VERSION"):
        script.pinned("torchvision==1.0\n")
