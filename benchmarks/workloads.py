"""What the rows of the ``loop`` benchmark train: three small networks on real data.

``mlp`` is a network of 10,000 weights on scikit-learn's digits, ``cnn`` one of two
convolutions on MNIST, ``gpt`` a character transformer of two layers on the English of
Python's own documentation. MNIST is read from the folder that ``NBTRAIN_MNIST`` names (the
``t10k`` files suffice); without it, digits enlarged to 28 × 28 take its place, which costs
the loops exactly as much.
"""

from __future__ import annotations

import gzip
import math
import os
import pydoc_data.topics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset

from nbtrain.data.order import Shuffled
from nbtrain.engine.draws import derive

SEED = 0
MNIST = "NBTRAIN_MNIST"


@dataclass(frozen=True)
class Workload:
    """A network, its data and how long it is trained.

    ``inputs`` and ``targets`` have a row a sample. The last layer of the network gives
    scores of classes, so the loss is cross-entropy.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    build: Callable[[], nn.Module]
    batch_size: int
    lr: float
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be short."""
        return math.ceil(len(self.inputs) / self.batch_size)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.epochs * self.steps_per_epoch

    def model(self) -> nn.Module:
        """The network with the weights that every row begins from.

        Leaves PyTorch's generator where a run of nbtrain has its own, so that dropout draws
        the same numbers in every row that draws nothing else.
        """
        torch.manual_seed(SEED)
        model = self.build()
        torch.manual_seed(derive(SEED, "draws", "cpu"))
        return model

    def order(self, epoch: int) -> Tensor:
        """The order of an epoch's samples, the same in every row."""
        return Shuffled(len(self.inputs), SEED).indices(epoch)

    def dataset(self) -> TensorDataset:
        """The samples, for a `DataLoader`."""
        return TensorDataset(self.inputs, self.targets)

    def loader(self) -> DataLoader[tuple[Tensor, ...]]:
        """A `DataLoader` as the tutorials make one, but for an order that is known."""
        return DataLoader(
            self.dataset(),
            batch_size=self.batch_size,
            sampler=InOurOrder(self),
            # Without one of its own it would draw from the generator that dropout draws from.
            generator=torch.Generator(),
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy; classes stand in the last axis."""
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    @torch.no_grad()
    def final_loss(self, model: nn.Module) -> float:
        """The loss over (at most 4,096 of) the training samples, without dropout."""
        training = model.training
        model.eval()
        inputs, targets = self.inputs[:4096], self.targets[:4096]
        total = sum(
            float(self.loss(model(x), y)) * len(x)
            for x, y in zip(inputs.split(256), targets.split(256), strict=True)
        )
        model.train(training)
        return total / len(inputs)

    def lasting(self, steps: int) -> Workload:
        """The same for about ``steps`` steps, in whole epochs."""
        return replace(self, epochs=max(1, round(steps / self.steps_per_epoch)))


class InOurOrder(Sampler[int]):
    """Draws the samples in a workload's order; each iteration is the next epoch."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.workload.inputs)

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        yield from self.workload.order(epoch).tolist()


def mlp() -> Workload:
    """64-128-10 with dropout on digits: a step takes 150 µs or so."""
    inputs, targets = _digits()

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))

    return Workload("mlp", inputs, targets, build, 64, 1e-3, 100)


def cnn() -> Workload:
    """Two convolutions on pictures of 28 × 28: a step takes a few milliseconds."""
    folder = os.environ.get(MNIST)
    inputs, targets = _mnist(Path(folder)) if folder else _enlarged()

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(16 * 7 * 7, 10),
        )

    return Workload("cnn", inputs, targets, build, 64, 1e-3, 7)


def gpt() -> Workload:
    """A character transformer: two layers of 64, four heads, 64 characters of context."""
    text = Path(pydoc_data.topics.__file__).read_text(encoding="utf-8")[:200_000]
    letters = sorted(set(text))
    number = {letter: index for index, letter in enumerate(letters)}
    numbers = torch.tensor([number[letter] for letter in text])
    windows = numbers[: (len(numbers) - 1) // 64 * 64].view(-1, 64)
    following = numbers[1 : windows.numel() + 1].view(-1, 64)

    def build() -> nn.Module:
        return CharacterModel(len(letters))

    return Workload("gpt", windows[:1920], following[:1920], build, 16, 1e-3, 1)


class CharacterModel(nn.Module):
    """Predicts the next character at every place: ``(batch, 64)`` to ``(batch, 64, letters)``."""

    def __init__(self, letters: int, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.letters = nn.Embedding(letters, width)
        self.places = nn.Parameter(torch.zeros(64, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters)

    def forward(self, numbers: Tensor) -> Tensor:
        known = self.letters(numbers) + self.places
        told: Tensor = self.head(self.norm(self.blocks(known)))
        return told


class Block(nn.Module):
    """Causal self-attention with four heads, then a small network at each place."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attend = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.attend(self.norms[0](x)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        thought: Tensor = self.think(self.norms[1](x))
        return x + thought


ALL: dict[str, Callable[[], Workload]] = {"mlp": mlp, "cnn": cnn, "gpt": gpt}


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(classes)


def _enlarged() -> tuple[Tensor, Tensor]:
    pixels, classes = _digits()
    pictures = pixels.view(-1, 1, 8, 8)
    return F.interpolate(pictures, size=(28, 28), mode="bilinear"), classes


def _mnist(folder: Path) -> tuple[Tensor, Tensor]:
    """As many pictures as digits has, so that both take the same number of steps."""
    pictures = _idx(folder / "t10k-images-idx3-ubyte.gz", 16)
    classes = _idx(folder / "t10k-labels-idx1-ubyte.gz", 8)
    count = 1797
    inputs = torch.from_numpy(pictures.reshape(-1, 1, 28, 28)[:count].astype(np.float32) / 255)
    return inputs, torch.from_numpy(classes[:count].astype(np.int64))


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
