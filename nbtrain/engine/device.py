"""Which device a run trains on, and what to say when its memory is full."""

from __future__ import annotations

import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psutil
import torch

from nbtrain.errors import DeviceMemoryError, InvalidValue, UnknownName

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose(asked: str, model_device: torch.device | None = None) -> torch.device:
    """The device for ``asked``: ``auto``, or a PyTorch device such as ``cuda:1``.

    ``auto`` leaves a model that lies on an accelerator where it is, else takes the CUDA
    device with the most free memory by NVML, else the accelerator PyTorch finds (MPS, XPU),
    else the CPU. Raises `UnknownName` or `InvalidValue`.
    """
    if asked == "auto":
        if model_device is not None and model_device.type != "cpu":
            return model_device
        if torch.cuda.is_available():
            return torch.device("cuda", _most_free())
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else torch.device(found.type, 0)
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UnknownName("device", asked, _present()) from None
    if device.type == "cpu":
        return torch.device("cpu")
    present = _present()
    if device.type == "meta" or not any(p.split(":")[0] == device.type for p in present):
        raise InvalidValue(
            f"There is no {asked} on this machine; PyTorch {torch.__version__} sees "
            f"{', '.join(present)}. Leave --device out, or install a PyTorch build for it."
        )
    device = torch.device(device.type, device.index or 0)
    if str(device) not in present:
        raise InvalidValue(f"There is no {asked} on this machine. There is: {', '.join(present)}.")
    return device


def _present() -> list[str]:
    found = torch.accelerator.current_accelerator(check_available=True)
    devices = (
        []
        if found is None
        else [f"{found.type}:{i}" for i in range(torch.accelerator.device_count())]
    )
    return ["cpu", *devices]


def _most_free() -> int:
    """The CUDA index with the most free memory, without waking any device up."""
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError, _nvml_error()):
        return 0
    try:
        free = []
        for index in range(count):
            handle = _nvml_handle(pynvml, index)
            free.append(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
        return max(range(count), key=free.__getitem__)
    except _nvml_error():
        return 0
    finally:
        pynvml.nvmlShutdown()


def _nvml_error() -> type[BaseException]:
    try:
        import pynvml
    except ImportError:
        return OSError
    error: type[BaseException] = pynvml.NVMLError
    return error


def _nvml_handle(pynvml: Any, index: int) -> Any:
    # NVML counts all devices by their slot. CUDA counts those in CUDA_VISIBLE_DEVICES, and the
    # fastest first unless CUDA_DEVICE_ORDER says else. Their ids are the same for both.
    uuid = torch.cuda.get_device_properties(index).uuid
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError_NotFound:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")  # a part of a device


def name_of(device: torch.device) -> str:
    """The device's name for people, such as ``NVIDIA H200`` or ``cpu``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return device.type


def memory_used(device: torch.device) -> float:
    """Bytes in use: of the process on a CPU, of PyTorch's allocator on an accelerator."""
    if device.type == "cpu":
        return float(psutil.Process().memory_info().rss)
    if device.type == "mps":
        return float(torch.mps.current_allocated_memory())
    return float(torch.accelerator.memory_allocated(device))


def free_memory(device: torch.device) -> int:
    """Bytes free on ``device`` (of the whole machine, on a CPU)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def release_memory(device: torch.device) -> None:
    """Give memory that PyTorch keeps but does not use back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context of a forward pass in ``precision``."""
    if precision == "fp32":
        return nullcontext()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return torch.autocast(device.type, dtype=_PRECISIONS[precision])
        except (RuntimeError, UserWarning) as error:
            raise InvalidValue(
                f"--precision {precision} does not work on {device.type}: {error} Use fp32 or bf16."
            ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is a failed allocation, on a device or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def out_of_memory(
    error: BaseException, device: torch.device, batch_size: object
) -> DeviceMemoryError:
    """What to say of a failed allocation: how much was wanted, what holds the memory, and
    what to change."""
    text = str(error)
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", text) or re.search(
        r"allocate (\d+ bytes)", text
    )
    parts = [f"Out of memory on {device}" + (f": {wanted[1]} more were wanted." if wanted else ".")]
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_allocated(device)
        parts.append(
            f"PyTorch in this kernel holds {_gigabytes(held)} of {_gigabytes(total)}, others hold "
            f"{_gigabytes(max(0, total - free - torch.cuda.memory_reserved(device)))}."
        )
    else:
        memory = psutil.virtual_memory()
        parts.append(
            f"This kernel holds {_gigabytes(psutil.Process().memory_info().rss)} of "
            f"{_gigabytes(memory.total)}."
        )
    parts.append(
        f"Make the batch smaller (it is {batch_size}), the model smaller, or use --precision bf16; "
        "other live runs and variables of other cells hold memory too."
    )
    return DeviceMemoryError(" ".join(parts))


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**28 else f"{count / 2**20:.0f} MiB"
