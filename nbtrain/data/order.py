"""The order of samples, a function of the run's seed and the epoch alone."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import (
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def mix(seed: int, *place: int | str) -> int:
    """A number of 63 bits from ``seed`` and a place, unlike that of any other place."""
    text = repr((seed, *place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(seed: int, *place: int | str) -> torch.Generator:
    """A fresh generator for one place of one run."""
    return torch.Generator().manual_seed(mix(seed, *place))


class Order(Protocol):
    """In which order an epoch takes the samples."""

    @property
    def length(self) -> int:
        """How many samples an epoch takes."""
        ...

    def indices(self, epoch: int) -> Tensor:
        """The indices of the epoch's samples, shape (length,), int64."""
        ...


@dataclass(frozen=True, slots=True)
class InOrder:
    """One sample after the other."""

    length: int

    def indices(self, epoch: int) -> Tensor:
        return torch.arange(self.length)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Every sample once, shuffled anew each epoch."""

    length: int
    seed: int

    def indices(self, epoch: int) -> Tensor:
        return torch.randperm(self.length, generator=generator(self.seed, "order", epoch))


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sampler of PyTorch draws, from the run's generator in place of its own."""

    sampler: Any
    seed: int

    @property
    def length(self) -> int:
        return len(self.sampler)

    def indices(self, epoch: int) -> Tensor:
        sampler = copy.copy(self.sampler)
        sampler.generator = generator(self.seed, "order", epoch)
        return torch.tensor([int(index) for index in sampler], dtype=torch.int64)


def known_order(sampler: Any, seed: int, *, shuffle: bool = True) -> Order | None:
    """The order that a sampler of PyTorch stands for; None for a sampler of another class.

    Without ``shuffle`` a sampler that takes every sample once takes them in order.
    """
    kind = type(sampler)
    if kind is SequentialSampler:
        return InOrder(len(sampler))
    if kind is RandomSampler:
        source: Sized = sampler.data_source
        if not sampler.replacement and sampler.num_samples == len(source):
            return Shuffled(len(source), seed) if shuffle else InOrder(len(source))
        return Sampled(sampler, seed)
    if kind in (SubsetRandomSampler, WeightedRandomSampler):
        return Sampled(sampler, seed)
    return None
