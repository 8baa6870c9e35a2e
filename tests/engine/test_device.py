"""Which device a run takes, with the devices made up."""

from __future__ import annotations

import types
from typing import Any

import psutil
import pytest
import torch

from nbtrain.engine import device as devices
from nbtrain.errors import DeviceMemoryError, InvalidValue, UnknownName

GB = 2**30


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with so many CUDA devices, and NVML's word on their free memory.

    The devices' ids are a, b, c, in NVML's order. CUDA counts them in this ``order``, which is
    what CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER come to.
    """

    def machine(
        *free: int, order: str | None = None, kind: str = "GPU", broken: bool = False
    ) -> Any:
        uuids = "abc"[: len(free)] if order is None else order
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: len(uuids))
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda index: types.SimpleNamespace(uuid=uuids[index]),
        )
        monkeypatch.setattr(
            torch.accelerator,
            "current_accelerator",
            lambda check_available=False: torch.device("cuda"),
        )

        class NVMLError(Exception):
            pass

        class NVMLError_NotFound(NVMLError):
            pass

        def init() -> None:
            if broken:
                raise NVMLError("driver not loaded")

        nvml: Any = types.ModuleType("pynvml")
        nvml.NVMLError, nvml.NVMLError_NotFound = NVMLError, NVMLError_NotFound
        nvml.nvmlInit, nvml.nvmlShutdown = init, lambda: None
        memory = {f"{kind}-{uuid}": amount for uuid, amount in zip("abc", free, strict=False)}

        def by_uuid(uuid: str) -> Any:
            if uuid not in memory:
                raise NVMLError_NotFound(uuid)
            return uuid

        nvml.nvmlDeviceGetHandleByUUID = by_uuid
        nvml.nvmlDeviceGetMemoryInfo = lambda handle: types.SimpleNamespace(free=memory[handle])
        monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
        return nvml

    return machine


def test_the_cuda_device_with_the_most_free_memory(cuda: Any) -> None:
    cuda(10 * GB, 70 * GB, 30 * GB)
    assert devices.choose("auto") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("order", "chosen"),
    [("abc", 2), ("cba", 0), ("bac", 2), ("ca", 0), ("ab", 1), ("ba", 0)],
)
@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_devices_are_told_apart_by_their_ids(cuda: Any, order: str, chosen: int, kind: str) -> None:
    cuda(10 * GB, 20 * GB, 30 * GB, order=order, kind=kind)
    assert devices.choose("auto") == torch.device("cuda", chosen)


def test_a_device_that_nvml_does_not_know(cuda: Any) -> None:
    cuda(10 * GB, 20 * GB, order="ax")
    assert devices.choose("auto") == torch.device("cuda:0")


def test_without_nvml_the_first(cuda: Any) -> None:
    cuda(10 * GB, 70 * GB, broken=True)
    assert devices.choose("auto") == torch.device("cuda:0")


def test_a_model_that_lies_somewhere_stays_there(cuda: Any) -> None:
    cuda(10 * GB, 70 * GB)
    assert devices.choose("auto", torch.device("cuda:0")) == torch.device("cuda:0")
    assert devices.choose("auto", torch.device("cpu")) == torch.device("cuda:1")


def test_what_was_asked_for_is_respected(cuda: Any) -> None:
    cuda(10 * GB, 70 * GB)
    assert devices.choose("cuda:0") == torch.device("cuda:0")
    assert devices.choose("cuda") == torch.device("cuda:0")
    assert devices.choose("cpu", torch.device("cuda:1")) == torch.device("cpu")
    with pytest.raises(InvalidValue, match=r"no cuda:7 .* There is: cpu, cuda:0, cuda:1"):
        devices.choose("cuda:7")


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_another_accelerator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available=False: torch.device(kind)
    )
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert devices.choose("auto").type == kind
    assert devices.choose(kind).type == kind
    with pytest.raises(InvalidValue, match="no cuda on this machine"):
        devices.choose("cuda")


@pytest.fixture
def only_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available=False: None
    )


@pytest.mark.parametrize(
    ("asked", "kind", "word"),
    [
        ("gpu", UnknownName, "no device 'gpu'"),
        ("cuda:x", UnknownName, "no device"),
        ("cuda", InvalidValue, "Leave --device out"),
        ("cuda:1", InvalidValue, "sees cpu"),
        ("mps", InvalidValue, "no mps"),
        ("meta", InvalidValue, "no meta"),
    ],
)
def test_a_device_that_is_not_there(
    only_cpu: None, asked: str, kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        devices.choose(asked)


def test_the_cpu_where_there_is_nothing_else(only_cpu: None) -> None:
    assert devices.choose("auto") == devices.choose("cpu:0") == torch.device("cpu")


def test_readings_of_the_cpu() -> None:
    cpu = torch.device("cpu")
    assert devices.name_of(cpu)
    assert 0 < devices.memory_used(cpu) < psutil.virtual_memory().total
    assert devices.free_memory(cpu) > 0
    devices.release_memory(cpu)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_a_failed_allocation_is_recognised(error: Exception, full: bool) -> None:
    assert devices.is_out_of_memory(error) is full


def test_what_is_said_of_a_failed_allocation() -> None:
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000000000 bytes."
    said = devices.out_of_memory(RuntimeError(text), torch.device("cpu"), 512)
    assert isinstance(said, DeviceMemoryError)
    for word in ("80000000000 bytes more were wanted", "holds", "it is 512", "--precision bf16"):
        assert word in str(said)


def test_what_is_said_of_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50 * GB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 60 * GB)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has")
    said = str(devices.out_of_memory(error, torch.device("cuda:0"), 64))
    for word in ("2.50 GiB more were wanted", "holds 50.0 GiB of 80.0 GiB", "others hold 19.0 GiB"):
        assert word in said
