"""Samples of a map-style dataset made into batches, here or in worker processes."""

from __future__ import annotations

import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate, get_worker_info

from nbtrain.data.batches import NOT_YET, Notes
from nbtrain.data.byname import listening
from nbtrain.data.elsewhere import of_a_cell
from nbtrain.data.order import generator
from nbtrain.data.randomness import OwnRandomness, seed_here
from nbtrain.data.tree import move, transform
from nbtrain.data.waiting import END, Ahead, gather


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How a user's `DataLoader` loads: its settings under its own names."""

    num_workers: int = 0
    pin_memory: bool = False
    prefetch_factor: int | None = None
    timeout: float = 0
    worker_init_fn: Callable[[int], None] | None = None
    multiprocessing_context: Any = None

    @classmethod
    def of(cls, loader: Any) -> Workers:
        """The settings of ``loader``."""
        return cls(**{name: getattr(loader, name) for name in cls.__dataclass_fields__})


class Ticket(list[Any]):
    """The indices of one batch, and the seed of all that is drawn while it is made.

    A batch is so a function of its place, in whichever process it is made, and also when a
    run is resumed there.
    """

    def __init__(self, indices: list[Any], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __reduce__(self) -> Any:
        return Ticket, (list(self), self.seed)


class Seeded(Dataset[Any]):
    """The user's dataset in a worker, which seeds itself by each batch's ticket."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __getitems__(self, ticket: Ticket) -> Any:
        # This is the worker's own process, so all of its generators are ours.
        seed_here(ticket.seed)
        torch.default_generator.manual_seed(ticket.seed)
        return take(self.dataset, ticket)


def take(dataset: Any, indices: list[Any]) -> Any:
    """The samples at ``indices``, as the dataset gives them."""
    together = getattr(dataset, "__getitems__", None)
    if callable(together):
        return together(indices)
    return [dataset[index] for index in indices]


def one_by_one(dataset: Any) -> bool:
    """Whether `take` makes the samples of ``dataset`` one at a time."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return not callable(getattr(dataset, "__getitems__", None))


class WorkerStart:
    """What a worker does first: it ignores SIGINT, so that *Interrupt kernel* leaves it
    alone, and then runs the user's own ``worker_init_fn``."""

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self.own = own

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, Seeded):
            # The user's function expects its own dataset there.
            object.__setattr__(info, "dataset", info.dataset.dataset)
        if self.own is not None:
            self.own(worker)


class _Tickets:
    """A batch sampler whose tickets can be changed between two passes of one loader."""

    def __init__(self) -> None:
        self.source: Callable[[], Iterator[Ticket]] = lambda: iter(())
        self.sizes: deque[int] = deque()

    def __iter__(self) -> Iterator[Ticket]:
        self.sizes.clear()
        for ticket in self.source():
            self.sizes.append(len(ticket))
            yield ticket


class Fetch:
    """Makes the batches that tickets ask for.

    With workers one `DataLoader` lives as long as this, and so do its worker processes;
    each pass puts new tickets into it, and what workers had made of older ones is thrown
    away. Workers that cannot start are done without, and a note says so.

    Args:
        dataset: the user's, with ``dataset[index]``.
        collate: makes a batch of a list of samples.
        workers: how a user's loader loads.
        notes: hears where workers cannot start.
        conform: what to do to each batch before it is moved, or None.
        draws: making a sample draws from torch.
        swap: it draws from `random` or NumPy past their functions. See `OwnRandomness`.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        collate: Callable[[Any], Any] = default_collate,
        workers: Workers | None = None,
        notes: Notes | None = None,
        conform: Callable[[Any], Any] | None = None,
        draws: bool = False,
        swap: bool = False,
    ) -> None:
        self.dataset = dataset
        self._draws = draws
        self._swap = swap
        self.collate = collate
        self._workers = workers or Workers()
        self._notes = notes if notes is not None else Notes()
        self._finish = Finish(conform)
        self._tickets = _Tickets()
        self._ahead: Ahead | None = None
        self._pass = 0

    def to(self, device: torch.device) -> None:
        """Give batches on ``device``; workers start anew if they must pin for it."""
        if device != self._finish.device:
            self.close()
            self._finish.device = device

    def close(self) -> None:
        """End the workers."""
        self._pass += 1
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def batches(
        self, tickets: Callable[[], Iterator[Ticket]], patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """One batch for each ticket, with the number of its indices.

        ``tickets`` may be called more than once and must give the same each time. See
        `Batches.epoch` for ``patience``.
        """
        self._pass += 1
        if self._workers.num_workers and (yield from self._from_workers(tickets, patience)):
            return
        drawn = OwnRandomness(0, keep=False, torch_too=self._draws, swap=self._swap)
        dataset, singly = self.dataset, one_by_one(self.dataset)
        with listening():
            for ticket in tickets():
                drawn.seed(ticket.seed)
                samples: Any = []
                with drawn:
                    if singly:
                        made = (dataset[index] for index in ticket)
                        yield from gather(samples, made, drawn, patience)
                    else:
                        samples = take(dataset, ticket)
                    batch = self.collate(samples)
                yield self._finish(batch, pin=True), len(ticket)

    def _from_workers(
        self, tickets: Callable[[], Iterator[Ticket]], patience: float | None
    ) -> Generator[tuple[Any, int], None, bool]:
        """A pass with workers. Returns False, before its first batch, if they cannot start."""
        current, fresh = self._pass, self._ahead is None
        if self._ahead is None:
            # Known beforehand, so that no worker dies of it and says so under the cell.
            own = (self.dataset, self.collate, self._workers.worker_init_fn)
            if not self._forks() and (name := of_a_cell(*own)) is not None:
                self._do_without(
                    f"{name} is defined in a cell, and a new process cannot import it: move it "
                    "into a file and import it to use workers."
                )
                return False
            self._ahead = Ahead(self._make_loader(), self)
        ahead = self._ahead
        self._tickets.source = tickets
        ahead.begin()
        while self._pass == current:
            try:
                batch = ahead.take(patience)
            except (TypeError, AttributeError, pickle.PicklingError, RuntimeError) as error:
                # A worker that cannot import the dataset's class ends before its first batch.
                ended = isinstance(error, RuntimeError) and "exited unexpectedly" in str(error)
                cannot = ended or not (ahead.started or isinstance(error, RuntimeError))
                if not (fresh and cannot) or self._forks():
                    raise
                what = (
                    "A new process ended before its first batch, and has printed why"
                    if ended
                    else "The dataset or a function of the loader cannot go to a new process"
                )
                self._do_without(f"{what}. ({type(error).__name__}: {_first_line(error)})")
                return False
            if batch is END:
                return True
            if batch is NOT_YET:
                yield NOT_YET, 0
                continue
            fresh = False
            yield self._finish(batch, pin=False), self._tickets.sizes.popleft()
        raise RuntimeError("Another pass over this data began before this one ended.")

    def _do_without(self, why: str) -> None:
        self.close()
        self._workers = Workers()
        self._notes.add(
            f"The loader's workers could not start, so samples are loaded in the kernel. {why}"
        )

    def _forks(self) -> bool:
        context = self._workers.multiprocessing_context
        context = torch.multiprocessing if context is None else context
        return bool(context.get_start_method() == "fork")

    def _make_loader(self) -> DataLoader[Any]:
        workers = self._workers
        return DataLoader(
            Seeded(self.dataset),
            batch_sampler=self._tickets,
            num_workers=workers.num_workers,
            collate_fn=self.collate,
            pin_memory=self._finish.device.type == "cuda",
            timeout=workers.timeout,
            worker_init_fn=WorkerStart(workers.worker_init_fn),
            multiprocessing_context=workers.multiprocessing_context,
            # Else every iter() would draw from torch's global generator.
            generator=generator(0, "workers"),
            prefetch_factor=workers.prefetch_factor,
            persistent_workers=True,
        )


class Finish:
    """What is done to a batch that was made: types made to conform, and the way to the
    device."""

    def __init__(self, conform: Callable[[Any], Any] | None) -> None:
        self.conform = conform
        self.device = torch.device("cpu")

    def __call__(self, batch: Any, *, pin: bool) -> Any:
        if self.conform is not None:
            batch = self.conform(batch)
        if self.device.type == "cpu":
            return batch
        if pin and self.device.type == "cuda":
            batch = transform(lambda t: t if t.is_cuda else t.pin_memory(), batch)
        return move(batch, self.device)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
