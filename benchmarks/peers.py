"""The rows of the ``loop`` benchmark that are other libraries, as their guides write them.

Each trains with what costs time switched off (bars, logs, checkpoints), on the batches of
every other row, with the optimizer that it takes by itself. The clock runs from the first
step to the last, as the library's own callbacks tell them.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.loops import Clock, Method, Trained
from benchmarks.workloads import InOurOrder, Workload


def lightning(work: Workload) -> Trained:
    """Lightning's `Trainer`."""
    import lightning as lightning_

    class Module(lightning_.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, targets = batch
            return work.loss(self.model(inputs), targets)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=work.lr)

    clock, model = Clock(), work.model()

    class Timed(lightning_.Callback):
        def on_train_start(self, *_: Any) -> None:
            clock.start()

        def on_train_end(self, *_: Any) -> None:
            clock.stop()

    trainer = lightning_.Trainer(
        max_epochs=work.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Timed()],
    )
    trainer.fit(Module(model), work.loader())
    return Trained(model, clock)


def skorch(work: Workload) -> Trained:
    """skorch's `NeuralNet`."""
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    clock = Clock()

    class Loss(nn.Module):
        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return work.loss(outputs, targets)

    class Timed(Callback):
        def on_train_begin(self, net: Any, **_: Any) -> None:
            clock.start()

        def on_train_end(self, net: Any, **_: Any) -> None:
            clock.stop()

    model = work.model()
    net = NeuralNet(
        model,
        criterion=Loss,
        optimizer=torch.optim.Adam,
        lr=work.lr,
        batch_size=work.batch_size,
        max_epochs=work.epochs,
        train_split=None,
        iterator_train__sampler=InOurOrder(work),
        iterator_train__generator=torch.Generator(),
        callbacks=[("clock", Timed())],
        verbose=0,
    )
    net.fit(work.dataset(), None)
    return Trained(net.module_, clock)


def ignite(work: Workload) -> Trained:
    """ignite's supervised trainer."""
    from ignite.engine import Events, create_supervised_trainer

    clock, model = Clock(), work.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr)
    trainer = create_supervised_trainer(model, optimizer, work.loss)
    trainer.add_event_handler(Events.STARTED, clock.start)
    trainer.add_event_handler(Events.COMPLETED, clock.stop)
    trainer.run(work.loader(), max_epochs=work.epochs)
    return Trained(model, clock)


def keras(work: Workload) -> Trained:
    """Keras on PyTorch, with the same network in a `TorchModuleWrapper`: layers of Keras's own
    take longer."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as keras_

    clock, model = Clock(), work.model()

    def loss(targets: Tensor, outputs: Tensor) -> Tensor:
        return work.loss(outputs, targets.long())  # Keras made them floats

    wrapped = keras_.Sequential([keras_.layers.TorchModuleWrapper(model)])
    wrapped.compile(optimizer=keras_.optimizers.Adam(work.lr, epsilon=1e-8), loss=loss)
    timed = keras_.callbacks.LambdaCallback(on_train_begin=clock.start, on_train_end=clock.stop)
    wrapped.fit(work.loader(), epochs=work.epochs, verbose=0, callbacks=[timed])
    return Trained(model, clock)


def hf(work: Workload) -> Trained:
    """The `Trainer` of Hugging Face transformers."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    clock = Clock()

    class Timed(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.stop()

    class WithLoss(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            outputs = self.model(inputs)
            return {"loss": work.loss(outputs, labels), "logits": outputs}

    class Samples(Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(work.inputs)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"inputs": work.inputs[index], "labels": work.targets[index]}

    class Ordered(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> InOurOrder:
            return InOurOrder(work)

    model = work.model()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=work.batch_size,
            num_train_epochs=work.epochs,
            learning_rate=work.lr,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Ordered(WithLoss(model), arguments, train_dataset=Samples(), callbacks=[Timed()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Trained(model, clock)


DRAWS_OTHERWISE = frozenset({"keras", "hf"})
"""Rows that set or use PyTorch's generator by themselves, so that their dropout is another."""

_PACKAGES = {
    "lightning": lightning,
    "skorch": skorch,
    "ignite": ignite,
    "keras": keras,
    "transformers": hf,
}


def installed() -> dict[str, Method]:
    """The rows of the libraries that are installed."""
    packages = [package for package in _PACKAGES if find_spec(package) is not None]
    found: dict[str, Method] = {_PACKAGES[p].__name__: _PACKAGES[p] for p in packages}
    if found:
        _quieten()
    return found


def _quieten() -> None:
    """Keep the libraries' advice out of the table."""
    warnings.simplefilter("ignore")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    for name in ("lightning", "lightning.pytorch", "ignite"):
        logging.getLogger(name).setLevel(logging.ERROR)
