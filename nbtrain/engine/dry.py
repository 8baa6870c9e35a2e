"""One forward pass on two samples before training, so that mistakes show at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from nbtrain.engine.frames import is_users
from nbtrain.engine.ownership import within_reach
from nbtrain.errors import ModelError

_Called = tuple[str, nn.Module, tuple[Any, ...]]


def forward_once(model: nn.Module, call: Callable[[nn.Module, Any], Any], inputs: Any) -> Any:
    """The model's outputs for ``inputs``, with nothing of it changed.

    Runs in evaluation mode without gradients, and leaves the global random state as it was.
    Raises `ModelError` where shapes or types do not fit, naming the layer; any other
    exception is the user's own and passes through.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    devices = [device] if device.type == "cuda" else []
    inputs = move(inputs, device)
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices):
            return call_explained(model, call, inputs)
    finally:
        for module, mode in modes:
            module.training = mode


def call_explained(model: nn.Module, call: Callable[[nn.Module, Any], Any], inputs: Any) -> Any:
    """``call(model, inputs)``. Raises `ModelError` where the inputs do not fit, naming the layer;
    an exception out of the user's own code passes through."""
    try:
        return call(model, inputs)
    except Exception as error:  # whatever a model may raise
        users, shapes = is_users(error), isinstance(error, RuntimeError)
        last = _last_called(model, call, inputs) if shapes or not users else None
        explained = _explain(str(error), last) if shapes else None
        if explained is None and not users:
            explained = _told(error, last, inputs)
        if explained is None:
            raise
        raise ModelError(explained) from error


NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d),
)


@contextmanager
def finding_roomy(model: nn.Module) -> Iterator[WeakSet[nn.Module]]:
    """Within, a pass on up to two samples finds the batch normalizations that one sample alone
    gives several values a channel, as a picture does; without that PyTorch refuses to train."""
    roomy, narrow = WeakSet[nn.Module](), WeakSet[nn.Module]()

    def look(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        # What is compiled would keep this in its graph.
        if torch.compiler.is_compiling() or not arguments:
            return
        values = arguments[0]
        if isinstance(values, Tensor) and values.ndim > 1:
            each = values.numel() // max(values.shape[1], 1)
            (roomy if each > 2 else narrow).add(module)

    norms = [module for module in within_reach(model) if isinstance(module, NORMS)]
    handles = [module.register_forward_pre_hook(look) for module in norms]
    try:
        yield roomy
    finally:
        for handle in handles:
            handle.remove()
        roomy -= narrow  # a layer that is called twice


def described(value: Any) -> str:
    """What a batch, or a part of it, holds, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        parts = [f"{key!r}: {described(part)}" for key, part in list(value.items())[:6]]
        return f"a dict with {', '.join(parts) or 'nothing in it'}"
    if isinstance(value, (tuple, list)):
        if value and all(isinstance(part, str) for part in value):
            return "words"
        parts = [described(part) for part in value[:6]]
        return f"a {type(value).__name__} of {', '.join(parts) or 'nothing'}"
    return "a word" if isinstance(value, str) else f"a {type(value).__name__}"


def _told(error: Exception, last: _Called | None, inputs: Any) -> str:
    """An error in PyTorch's own layers, which only our calls and PyTorch's lead to."""
    where = "" if last is None else f" in {_where(last)}"
    advice = "Change the model's first layers, or the data."
    if isinstance(inputs, Mapping):
        advice = (
            "A model for a dict has these names as the arguments of its forward; or define "
            "training_step(model, batch), which takes the batch as it comes."
        )
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"The model fails on two samples{where}: {reason.rstrip('.')}. It gets "
        f"{described(inputs)}. {advice}"
    )


def _where(last: _Called) -> str:
    name, module, _ = last
    return f"{type(module).__name__}" + (f" at model.{name}" if name else "")


def _last_called(
    model: nn.Module, call: Callable[[nn.Module, Any], Any], inputs: Any
) -> _Called | None:
    """The layer that a forward pass which fails had reached: its name, itself, its arguments.

    The pass runs again for it, because what `torch.compile` made takes no hooks.
    """
    last: list[_Called] = []
    names = {module: name.replace("_orig_mod.", "") for name, module in model.named_modules()}

    def remember(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        last.append((names.get(module, ""), module, arguments))

    handles = [
        module.register_forward_pre_hook(remember)
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        # Whatever goes wrong here, the first pass's error is the one that is told.
        with torch.compiler.set_stance("force_eager"), suppress(Exception):
            call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return last[-1] if last else None


def move(value: Any, device: torch.device) -> Any:
    """``value`` with every tensor in it on ``device``; lists, tuples and dicts are entered."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(move(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(move(item, device) for item in value)
    if hasattr(value, "to") and callable(value.to) and not isinstance(value, type):
        return value.to(device)
    return value


def _explain(text: str, last: _Called | None) -> str | None:
    """What to do about a RuntimeError of PyTorch's, or None if we cannot tell."""
    if last is None:
        return None
    _, module, arguments = last
    where = _where(last)
    given = next((a for a in arguments if isinstance(a, Tensor)), None)
    if given is None:
        return None
    shape = tuple(given.shape)
    if isinstance(module, nn.Linear) and shape and shape[-1] != module.in_features:
        fix = f"nn.Linear({shape[-1]}, {module.out_features})"
        more = ""
        if given.ndim > 2 and shape[1:].count(1) < len(shape) - 1:
            size = given[0].numel()
            if size == module.in_features:
                return (
                    f"{where} expects {module.in_features} features, and gets samples of shape "
                    f"{shape[1:]}, which hold just as many. Put nn.Flatten() before it."
                )
            more = f", or flatten first: nn.Flatten(), nn.Linear({size}, {module.out_features})"
        return (
            f"{where} expects {module.in_features} features, but each sample it gets has "
            f"{shape[-1]}. Make it {fix}{more}."
        )
    channels = getattr(module, "in_channels", None)
    if channels is not None:
        dimensions = int(re.sub(r"\D", "", type(module).__name__) or 0)
        if given.ndim != dimensions + 2:
            sizes = (
                ", ".join(("height", "width", "depth")[:dimensions]) if dimensions > 1 else "length"
            )
            return (
                f"{where} expects batches of shape (samples, channels, {sizes}), but gets "
                f"{shape}. Reshape the data, such as X.reshape(-1, 1, 8, 8)."
            )
        if given.ndim > 1 and shape[1] != channels:
            return (
                f"{where} expects {channels} channels, but gets {shape[1]} (batches of shape "
                f"{shape}). Make its in_channels {shape[1]}, or reshape the data."
            )
    if "dtype" in text or "scalar type" in text or "expected scalar" in text:
        parameter = next(module.parameters(recurse=False), None)
        if parameter is not None and given.dtype != parameter.dtype:
            # What was float64 has become float32 by now, so this is not called the data's type.
            held = _dtype(parameter.dtype)
            text = f"{where} holds {held} weights, but gets {_dtype(given.dtype)}. "
            if parameter.dtype in (torch.float16, torch.bfloat16):
                brief = "bf16" if parameter.dtype == torch.bfloat16 else "fp16"
                return (
                    f"{text}Keep the model in float32 and train it with --precision {brief}; or "
                    f"convert the data: X = torch.as_tensor(X).to(torch.{held})."
                )
            return f"{text}Convert the data: X = X.astype('{held}') or X.to(torch.{held})."
    return None


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
