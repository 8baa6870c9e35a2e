"""Sources of streams and of loaders that are iterated as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from nbtrain.data.batches import Batches
from nbtrain.data.conform import conforming
from nbtrain.data.order import mix
from nbtrain.data.randomness import looking
from nbtrain.data.sources import Context, Source
from nbtrain.data.stream import Iterated, Stream
from nbtrain.data.tree import find_label, split_batch, transform
from nbtrain.errors import DataError

_UNSPLIT = "A stream is never split; to validate, leave another one in val_data."


def stream(
    value: Any,
    name: str,
    context: Context,
    *,
    collate: Callable[[Any], Any] = default_collate,
    batch_size: int | None = None,
    drop_last: bool = False,
    label: str | None = None,
) -> Source:
    """A source of an iterable over samples, put into batches by us."""
    context.notes.add(
        "A stream is read from its beginning in every epoch. Its first samples were read once "
        "before, to see what they are. A run can be resumed within an epoch only if the "
        "stream gives the same samples again."
    )
    with looking(name) as look:
        items = iter(value)
        once = iter(value) is items
        first = list(islice(items, 2))
        if not first:
            raise DataError(
                f"The stream in {name} gave no samples. Check what its __iter__ yields."
            )
        example = collate(first)
    look.tell(name, context.notes)
    if once:
        context.notes.add(f"The stream in {name} can be read only once: it is good for one epoch.")

    def make(conform: Callable[[Any], Any] | None, seed: int) -> Batches:
        return Stream(
            value,
            seed,
            collate=collate,
            batch_size=batch_size,
            drop_last=drop_last,
            first=first if once else None,
            conform=conform,
            look=look,
        )

    return _source(value, example, label, _UNSPLIT, make, context)


def loader(value: DataLoader[Any], whole: str, name: str, context: Context) -> Source:
    """A source of a user's `DataLoader` over a stream."""
    if value.batch_sampler is not None and value.num_workers == 0:
        return stream(
            value.dataset,
            name,
            context,
            collate=value.collate_fn,
            batch_size=value.batch_size,
            drop_last=value.drop_last,
        )
    if value.batch_sampler is None:
        reason = "the stream gives whole batches (batch_size=None)"
    else:
        reason = "each worker of the loader makes batches of its own part of the stream"
    return iterated(value, reason, whole, name, context)


def iterated(value: Any, reason: str, whole: str, name: str, context: Context) -> Source:
    """A source of an object that is iterated over batches as it is."""
    context.notes.add(
        f"The batch size cannot change while training, because {reason}. Resuming within an "
        "epoch passes over the batches before, and is exact only if they come again."
    )
    with looking(name) as look:
        first = next(iter(_without_workers(value)), None)
    if first is None:
        raise DataError(
            f"The {type(value).__name__} in {name} gave no batches. Check what it loads from."
        )
    look.tell(name, context.notes)
    example = transform(lambda t: t[:2] if t.ndim else t, first)

    def make(conform: Callable[[Any], Any] | None, seed: int) -> Batches:
        return Iterated(value, seed, fixed=reason, conform=conform, look=look)

    return _source(value, example, None, whole, make, context)


def _source(
    value: Any,
    example: Any,
    label: str | None,
    whole: str,
    make: Callable[[Callable[[Any], Any] | None, int], Batches],
    context: Context,
) -> Source:
    if label is None and isinstance(example, Mapping):
        label = find_label(example)
    conform = conforming(example, label, context.dtype, context.notes)
    example = conform(example) if conform is not None else example
    targets = split_batch(example, label)[1]

    def batches(rows: Tensor | None, training: bool) -> Batches:
        return make(conform, context.seed if training else mix(context.seed, "val"))

    return Source(
        samples=None,
        example=example,
        targets=targets if isinstance(targets, Tensor) else None,
        complete=False,
        prints=(type(value).__qualname__, example),
        make=batches,
        label=label,
        whole=whole,
    )


def _without_workers(value: Any) -> Any:
    """A copy of a loader that loads here, to look at one batch without starting workers."""
    if not isinstance(value, DataLoader) or not value.num_workers:
        return value
    own = copy.copy(value)
    own.num_workers, own.timeout, own._iterator = 0, 0, None
    return own
