"""Sources of map-style datasets and of the loaders over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from nbtrain.data import convert, streams
from nbtrain.data.batches import Batches
from nbtrain.data.conform import conforming
from nbtrain.data.fetch import Fetch, Workers, take
from nbtrain.data.loaders import Custom, Mapped, Replayed, replay
from nbtrain.data.order import InOrder, Order, known_order, mix
from nbtrain.data.randomness import looking
from nbtrain.data.sources import Context, Source, in_memory, order_of
from nbtrain.data.stream import iterates_as_pytorch
from nbtrain.data.tree import find_label, split_batch, tensors
from nbtrain.errors import DataError

_LOOKED_AT = 8
_COUNTED = 100_000
_ARRAYS = ("targets", "labels")

AS_IT_IS = (
    "A DataLoader is used as it is and never split; to validate, leave a second one in val_data."
)


def dataset(value: Any, name: str, context: Context) -> Source:
    """A source of a map-style dataset, shuffled by us for training."""
    samples = _length(value, name)
    kept = tensors_of(value)
    if kept is not None:
        return table(kept, name, context)
    return mapped(value, range(samples), samples, name, context)


def loader(value: DataLoader[Any], name: str, context: Context) -> Source:
    """A source of a user's `DataLoader`, rebuilt where its parts are known."""
    if not iterates_as_pytorch(value):
        reason = f"the {type(value).__name__} makes its batches by itself"
        return streams.iterated(value, reason, AS_IT_IS, name, context)
    if isinstance(value.dataset, IterableDataset):
        return streams.loader(value, AS_IT_IS, name, context)
    sampler: Any = value.batch_sampler
    if sampler is None:
        reason = "the loader's dataset gives whole batches (batch_size=None)"
        return streams.iterated(value, reason, AS_IT_IS, name, context)
    if _length(value.dataset, name) == 0 or (hasattr(sampler, "__len__") and len(sampler) == 0):
        raise DataError(
            f"The DataLoader in {name} gives 0 batches. Check the length of its dataset, and "
            "whether drop_last leaves out the only batch."
        )
    collate = value.collate_fn
    workers = Workers.of(value)
    if type(sampler) is BatchSampler and hasattr(sampler.sampler, "__len__"):
        return _ordered(value.dataset, sampler, collate, workers, name, context)
    with looking("sampler") as look:
        first = list(next(iter(replay(sampler, context.seed, 0)), []))
        counted = hasattr(sampler, "__len__") and len(sampler) <= _COUNTED
        samples = sum(map(len, replay(sampler, context.seed, 0))) if counted else None
    if not first:
        raise DataError(f"The DataLoader in {name} gives 0 batches. Check its batch_sampler.")
    fixed = f"the loader's own {type(sampler).__name__} decides what makes a batch"

    def make(fetch: Fetch, rows: Tensor | None, training: bool) -> Batches:
        return Replayed(
            fetch,
            sampler,
            _seed(context, training),
            fixed=fixed,
            samples=samples,
            batch_size=len(first),
            swap=look.past,
        )

    return mapped(
        value.dataset,
        first,
        samples,
        name,
        context,
        make=make,
        collate=collate,
        workers=workers,
        whole=AS_IT_IS,
    )


def _ordered(
    data: Any,
    batches: BatchSampler,
    collate: Callable[[Any], Any],
    workers: Workers,
    name: str,
    context: Context,
) -> Source:
    """The loader rebuilt around an order of our own."""
    sampler: Any = batches.sampler

    def ordered(training: bool, swap: bool = False) -> Order | Custom:
        seed = _seed(context, training)
        return known_order(sampler, seed, shuffle=training) or Custom(sampler, seed, swap=swap)

    order = ordered(True)
    if name != "val_data" and isinstance(order, InOrder):
        context.notes.add(
            "The loader does not shuffle, so every epoch takes its samples in the same order."
        )
    kept = tensors_of(data) if collate is default_collate else None
    if kept is not None and not isinstance(order, Custom):
        if workers.num_workers:
            context.notes.add("The loader's tensors lie in memory, so its workers are not needed.")
        return table(
            kept,
            name,
            context,
            ordered=ordered,
            batch_size=batches.batch_size,
            drop_last=batches.drop_last,
        )

    def make(fetch: Fetch, rows: Tensor | None, training: bool) -> Batches:
        return Mapped(
            fetch,
            ordered(training, look.past),
            _seed(context, training),
            batch_size=batches.batch_size,
            drop_last=batches.drop_last,
        )

    with looking("sampler") as look:
        keys = order.indices(0)
    keys = keys.tolist() if isinstance(keys, Tensor) else keys
    return mapped(
        data,
        keys,
        order.length,
        name,
        context,
        make=make,
        collate=collate,
        workers=workers,
        whole=AS_IT_IS,
    )


def table(
    kept: tuple[list[Tensor], Tensor | None],
    name: str,
    context: Context,
    *,
    ordered: Callable[[bool], Any] | None = None,
    batch_size: int | None = None,
    drop_last: bool = False,
) -> Source:
    """A source of a `TensorDataset`, or of a `Subset` of one: a table in memory."""
    parts, rows = kept
    of = "" if name == "data" else f" of {name}"
    whole = parts if rows is None else [part.index_select(0, rows) for part in parts]
    inputs = [
        convert.features(part, f"the features{of}", context.notes, context.dtype)
        for part in (whole[:-1] if len(whole) > 1 else whole)
    ]
    targets = None
    if len(whole) > 1:
        targets = convert.targets(whole[-1], f"the targets{of}", context.notes, context.dtype)
    data = [*inputs, targets] if targets is not None else inputs
    return in_memory(
        data,
        len(whole[0]) if ordered is None else ordered(True).length,
        targets,
        None,
        context.seed,
        ordered=ordered,
        batch_size=batch_size,
        drop_last=drop_last,
        whole=None if ordered is None else AS_IT_IS,
    )


def mapped(
    data: Any,
    keys: Sequence[Any],
    samples: int | None,
    name: str,
    context: Context,
    *,
    make: Callable[[Fetch, Tensor | None, bool], Batches] | None = None,
    collate: Callable[[Any], Any] = default_collate,
    workers: Workers | None = None,
    whole: str | None = None,
    label: str | None = None,
    targets: Tensor | None = None,
    classes: int | None = None,
) -> Source:
    """A source of a dataset whose samples are made one by one.

    ``keys`` are indices of some or all samples; a few are looked at, with the randomness of
    the look put back. ``make`` gives the batches of a user's own loader.
    """
    chosen = _spread(keys)
    with looking(name) as look:
        samples_seen = take(data, chosen)
        many = _collated(samples_seen, collate, name)
        example = _collated(samples_seen[:2], collate, name)
    look.tell(name, context.notes)
    if isinstance(example, Mapping) and label is None:
        label = find_label(example)
    conform = conforming(example, label, context.dtype, context.notes)
    if conform is not None:
        many, example = conform(many), conform(example)
    wanted = split_batch(many, label)[1]
    if not context.step and wanted is not None and next(tensors(wanted), None) is None:
        raise DataError(
            f"The targets of {name} are no numbers ({_shown(wanted)}). Let the dataset give "
            "classes as integers, as sklearn.preprocessing.LabelEncoder makes them."
        )
    every = targets
    if every is None:
        every = cheap_targets(data, _length(data, name))

    def batches(rows: Tensor | None, training: bool) -> Batches:
        fetch = Fetch(
            data,
            collate=collate,
            workers=workers,
            notes=context.notes,
            conform=conform,
            draws=look.draws,
            swap=look.past,
        )
        if make is not None:
            return make(fetch, rows, training)
        seed = _seed(context, training)
        count = len(keys) if rows is None else len(rows)
        return Mapped(fetch, order_of(count, training, seed), seed, rows=rows)

    known = classes
    if known is None and isinstance(getattr(data, "classes", None), (list, tuple)):
        known = len(data.classes) or None
    return Source(
        samples=samples,
        example=example,
        targets=every if every is not None else wanted if isinstance(wanted, Tensor) else None,
        complete=every is not None,
        prints=(type(data).__qualname__, samples, _held(data), many, every),
        make=batches,
        classes=known,
        label=label,
        whole=whole,
    )


def tensors_of(data: Any) -> tuple[list[Tensor], Tensor | None] | None:
    """The tensors of a `TensorDataset`, and the rows of them that a `Subset` takes."""
    rows: Tensor | None = None
    while type(data) is Subset:
        own = torch.as_tensor([int(index) for index in data.indices], dtype=torch.int64)
        rows = own if rows is None else own[rows]
        data = data.dataset
    if type(data) is not TensorDataset or not data.tensors:
        return None
    return list(data.tensors), rows


def cheap_targets(data: Any, samples: int) -> Tensor | None:
    """All targets of a dataset that keeps them in an attribute, without making samples."""
    if type(data) is Subset:
        parent = cheap_targets(data.dataset, len(data.dataset))  # type: ignore[arg-type]
        return None if parent is None else parent[torch.as_tensor(list(data.indices))]
    if isinstance(data, list):
        held: Any = [sample[-1] for sample in data if isinstance(sample, tuple)]
    else:
        held = next((getattr(data, name) for name in _ARRAYS if hasattr(data, name)), None)
    if isinstance(held, (list, tuple)) and held and not isinstance(held[0], (int, np.integer)):
        return None
    if not isinstance(held, (list, tuple, Tensor, np.ndarray)) or len(held) != samples:
        return None
    array = held.detach().cpu().numpy() if isinstance(held, Tensor) else np.asarray(held)
    return torch.from_numpy(array.astype(np.int64)) if array.dtype.kind in "iu" else None


def _length(data: Any, name: str) -> int:
    try:
        samples = len(data)
    except TypeError:
        raise DataError(
            f"The {type(data).__name__} in {name} has no length. Define __len__, or make it an "
            "IterableDataset if its length is not known."
        ) from None
    if samples == 0:
        raise DataError(
            f"The {type(data).__name__} in {name} is empty: 0 samples. Check how it was loaded."
        )
    return samples


def _seed(context: Context, training: bool) -> int:
    return context.seed if training else mix(context.seed, "val")


def _spread(keys: Sequence[Any]) -> list[Any]:
    """The first two of ``keys`` and some at even distances."""
    last = len(keys) - 1
    places = {0, min(1, last)} | {place * last // _LOOKED_AT for place in range(_LOOKED_AT + 1)}
    return [keys[place] for place in sorted(places)]


def _collated(samples: Any, collate: Callable[[Any], Any], name: str) -> Any:
    if collate is not default_collate:
        return collate(samples)
    try:
        return default_collate(list(samples))
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        advice = "Give a DataLoader with a collate_fn that makes a batch of them"
        if "PIL" in reason:
            advice = "Give the dataset transform=torchvision.transforms.ToTensor()"
        elif "size" in reason:
            advice = "Crop or pad them to one shape, or give a DataLoader with a collate_fn"
        raise DataError(
            f"The samples of {name} do not make a batch: {reason}. {advice}."
        ) from error


def _held(data: Any) -> list[Any]:
    """The arrays that a dataset holds, so that changed data have another fingerprint."""
    if type(data) is Subset:
        return [list(data.indices), *_held(data.dataset)]
    held: list[Any] = []
    for key, value in sorted(getattr(data, "__dict__", {}).items()):
        if isinstance(value, Tensor):
            held += [key, value]
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            held += [key, torch.from_numpy(value.copy())]
    return held


def _shown(wanted: Any) -> str:
    first = list(islice(wanted, 3)) if isinstance(wanted, (list, tuple)) else [wanted]
    return ", ".join(repr(item)[:40] for item in first) + ", …"
