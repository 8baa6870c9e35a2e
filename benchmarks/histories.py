"""A hand-made history of any length, and the steps that go on from it at 1,000 a second."""

from __future__ import annotations

from array import array

import numpy as np

from nbtrain import messages as m
from nbtrain import options
from nbtrain.spec import Spec
from nbtrain.store.history import History

RUN = "0123456789ab"
BATCH = 64
EPOCH = 1000
FRAME_STEPS = 100


class Growing:
    """A run of ``steps`` steps so far, with noisy curves and a validation each 1,000 steps."""

    def __init__(self, steps: int) -> None:
        self.history = History()
        self._noise = np.random.default_rng(0)
        settings = {**options.defaults(), "epochs": 2000}
        spec = Spec(name="digits", options=settings, source="model = …")
        knobs = {knob.name: settings[knob.name] for knob in options.KNOBS}
        self.history.apply(m.Created(name="digits", number=1, spec=spec.to_json(), run=RUN))
        self.history.apply(m.Starting(device="cpu", device_name="A processor", run=RUN))
        self.history.apply(
            m.Started(
                run=RUN,
                knobs={**knobs, "lr": 1e-3},
                unsupported={},
                layers=("2",),
                epoch_samples=EPOCH * BATCH,
                total_steps=2000 * EPOCH,
                parameters=9610,
                metrics={"loss": "min", "accuracy": "max"}
                | {"val_loss": "min", "val_accuracy": "max"},
                monitor=None,
                notes=(),
            )
        )
        while self.history.step < steps:
            self._train(min(EPOCH, steps - self.history.step))

    def frame(self) -> None:
        """Train for a tenth of a second more."""
        self._train(FRAME_STEPS)

    def _train(self, count: int) -> None:
        first = self.history.step
        places = np.arange(first + 1, first + count + 1)
        noise = self._noise.normal(1.0, 0.1, count)
        series = {
            "loss": noise * 2.0 / np.sqrt(places),
            "accuracy": 1.0 - 0.5 * noise / np.sqrt(places),
            "lr": np.full(count, 1e-3),
        }
        last = first + count
        self.history.apply(
            m.Stepped(
                run=RUN,
                step=last,
                count=count,
                samples=array("q", (BATCH * places).tolist()),
                series={name: array("f", values.tolist()) for name, values in series.items()},
                updates=last,
                epoch=last // EPOCH,
                seconds=(first / 1000, last / 1000),
                total_steps=2000 * EPOCH,
                gauges={"memory": 4.0e8},
            )
        )
        if last % EPOCH == 0:
            loss = 2.2 / float(np.sqrt(last))
            self.history.apply(
                m.Validated(
                    run=RUN,
                    step=last,
                    metrics={"val_loss": loss, "val_accuracy": 1.0 - loss / 4},
                    samples=BATCH * last,
                    epoch=last // EPOCH,
                    best=True,
                )
            )
