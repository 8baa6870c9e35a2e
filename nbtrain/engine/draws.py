"""A run's randomness is its own.

Everything that model, loss and augmentation draw on the training thread comes from the
run's generators, so a ``torch.randn`` in another cell, or a second run, changes nothing.

`nn.Dropout` takes a generator directly, at no cost, and on the training thread `random` and
`numpy.random` are the run's (see `nbtrain.data.byname`). Other draws (LSTM dropout, attention,
``F.dropout``, ``randn_like`` in a variational autoencoder) are re-routed by a thread-local
dispatch mode that passes ``generator=`` to the operators PyTorch tags
``nondeterministic_seeded``. The mode costs about 90 µs a step on a small network, so it is
on only for models that need it: the first step of each epoch finds out.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from nbtrain.data import byname
from nbtrain.data.rewind import Step, global_state, listening, set_global_state
from nbtrain.data.routing import device_of, may_draw, taking_generator
from nbtrain.errors import ModelError

_local = threading.local()


def derive(seed: int, *words: object) -> int:
    """A seed of 63 bits that depends on ``seed`` and every word."""
    text = "/".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Draws:
    """The generators of one run, one a device, made when first needed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.foreign = False
        """Whether something other than `nn.Dropout` has drawn."""
        self.unsure = False
        """Whether that may have changed, so that the next step has to find out again."""
        self.unroutable: set[str] = set()
        """Operators that drew and take no generator."""
        self.late: int | None = None
        """The step that found the first draws, where steps before it may have drawn too."""
        self.shared: set[str] = set()
        """Whose global generators a step drew from, past the functions of their modules."""
        self.named = byname.Generators(derive(seed, "named"))
        """What `random` and `numpy.random` are on the training thread."""
        self.news = False
        """Whether there is something new for `told`."""
        self._suspects: set[str] = set()
        self._generators: dict[torch.device, torch.Generator] = {}
        self._routed = False
        self._repeats = False
        self._reseeded: int | None = None
        self._remembered: Any = WeakTensorKeyDictionary()
        self._asked: Tensor | None = None
        self._rewound: list[Tensor] = []
        self._step = Step(self)

    def generator(self, device: torch.device) -> torch.Generator:
        found = self._generators.get(device)
        if found is None:
            found = torch.Generator(device)
            seed = self._reseeded
            found.manual_seed(derive(self.seed, "draws", device.type) if seed is None else seed)
            self._generators[device] = found
        return found

    def state(self) -> dict[str, Tensor]:
        """The state of every generator: byte tensors by device, and Python's and NumPy's."""
        states = {str(device): g.get_state() for device, g in self._generators.items()}
        return {**states, **self.named.state()}

    def remember(self) -> Tensor:
        """The state of every generator: what ``torch.get_rng_state`` gives within a step."""
        state = self.generator(_CPU).get_state()
        others = {d: g.get_state() for d, g in self._generators.items() if d != _CPU}
        self._remembered[state] = (others, None if self._routed else global_state())
        self._repeats = True
        if _in_backward():
            self._asked = state
        else:
            self._rewound.clear()
        return state

    def recall(self, state: Tensor) -> None:
        """Put back what `remember` gave, or a state of the CPU's generator alone."""
        self.generator(_CPU).set_state(state)
        others, theirs = self._remembered.get(state, (None, None))
        if others is not None:
            for device, generator in self._generators.items():
                if device in others:
                    generator.set_state(others[device])
                elif device != _CPU:  # made since
                    generator.manual_seed(generator.initial_seed())
        if theirs is not None:
            set_global_state(theirs)
        # Who repeats a pass asks for the state, puts an older one in its place, and this one
        # back in the end.
        if self._rewound and self._rewound[-1] is state:
            self._rewound.pop()
        elif self._asked is not None and _in_backward():
            self._rewound.append(self._asked)
            self._asked = None

    def reseed(self, seed: int) -> torch.Generator:
        """What ``torch.manual_seed`` does within a step. Returns the CPU's generator."""
        self._reseeded = seed
        for generator in self._generators.values():
            generator.manual_seed(seed)
        return self.generator(_CPU)

    def initial_seed(self) -> int:
        """What ``torch.initial_seed`` gives within a step."""
        return self.generator(_CPU).initial_seed()

    @property
    def rewound(self) -> bool:
        """Whether what is drawn now repeats what was drawn before."""
        return bool(self._rewound)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Within, `nn.Dropout`, `random` and `numpy.random` on this thread draw from this run.

        Backward passes stay on this thread, also those of an accelerator: what they compute
        again draws from this run too.
        """
        before = getattr(_local, "draws", None)
        _local.draws = self
        try:
            with (
                listening(),
                byname.drawing_from(self.named),
                torch.autograd.set_multithreading_enabled(False),
            ):
                yield
        finally:
            _local.draws = before

    @contextmanager
    def routed(self) -> Iterator[None]:
        """Within, every draw on this thread comes from this run."""
        before, self._routed = self._routed, True
        try:
            with self._step, Reroute(self):
                yield
        finally:
            self._routed = before

    def mode(self) -> AbstractContextManager[Any]:
        """What the next step runs within: as little as it needs."""
        if self.unsure:
            self.unsure = False
            return self.trial()
        # A pass that is computed again has to find all of its draws in one place.
        return self.routed() if self.foreign or self._repeats else self._step

    @contextmanager
    def trial(self, late: int | None = None) -> Iterator[None]:
        """Within, a step finds out what it draws. ``late`` is its number, where steps before
        it ran without a trial."""
        foreign, before = self.foreign, byname.shared_states()
        others = byname.exchange.others
        with self.routed():
            yield
        if late is not None and self.foreign and not foreign:
            self.late, self.news = late, True
        after = byname.shared_states()
        drawn = {name for name, state in after.items() if before.get(name, state) != state}
        drawn -= self.shared
        # A cell may have drawn meanwhile. By the functions that is known; else only who does so
        # in two steps on end is meant.
        if byname.exchange.others != others:
            drawn.clear()
        if found := drawn & self._suspects:
            self.shared |= found
            self.news = True
        self._suspects = drawn - found
        if self._suspects:
            self.unsure = True

    def told(self) -> str:
        """In sentences, what of this run cannot be repeated and why."""
        said = []
        if self.unroutable:
            names = ", ".join(sorted(self.unroutable))
            said.append(
                f"The model draws by {names}, which takes its random numbers from PyTorch's "
                "global generator alone, and other cells share that: the run does not repeat bit "
                "for bit."
            )
        for owner in sorted(self.shared):
            said.append(
                f"A step draws from {owner}'s global generator past the functions of its module, "
                "or another cell did so meanwhile. All cells share that generator: if it was the "
                "step, the run does not repeat bit for bit."
            )
        if self.late is not None:
            said.append(
                f"Random draws besides nn.Dropout's were found at step {self.late}, and are the "
                "run's own from there. Steps before it may have drawn from PyTorch's global "
                "generator, which other cells share; those may not repeat bit for bit."
            )
        self.news = False
        return " ".join(said)

    @contextmanager
    def aside(self, *words: object) -> Iterator[None]:
        """Within, draws come from generators of their own, so that a validation between
        two steps does not change the steps after it."""
        kept = self._generators
        self._generators = {}
        for device in kept:
            generator = torch.Generator(device)
            generator.manual_seed(derive(self.seed, device.type, *words))
            self._generators[device] = generator
        named = byname.Generators(derive(self.seed, "named", *words))
        try:
            with self.routed(), byname.drawing_from(named):
                yield
        finally:
            self._generators = kept


_CPU = torch.device("cpu")


def current() -> Draws | None:
    """The draws of the run that this thread trains, or None."""
    return getattr(_local, "draws", None)


def _in_backward() -> bool:
    """Whether this thread is in a backward pass.

    PyTorch tells it by a private name, and uses it for checkpoints itself. One without it trains
    the same, but a repeated pass that draws other numbers is not refused.
    """
    task = getattr(torch._C, "_current_graph_task_id", None)
    return task is not None and task() != -1


def _refuse_other_draws(draws: Draws) -> None:
    """Raise `ModelError` where a forward pass is repeated within a backward pass and nobody
    has put the generators back for it: other units would be dropped than the first time, and
    the gradients be wrong."""
    if _in_backward() and torch.is_grad_enabled() and not draws.rewound:
        raise ModelError(
            "This model computes layers again in its backward pass, and they draw other random "
            "numbers there than the first time. Leave preserve_rng_state=False out of "
            "torch.utils.checkpoint, or switch the dropout in them off (--dropout off)."
        )


class RunDropout(nn.Dropout):
    """`nn.Dropout` that draws from the run which trains it.

    On a CPU it equals ``F.dropout`` bit for bit for the same generator state.
    """

    def forward(self, input: Tensor) -> Tensor:
        draws: Draws | None = getattr(_local, "draws", None)
        p = self.p
        if not self.training or p == 0.0 or p == 1.0:
            return super().forward(input)
        if draws is None:  # another model that has this layer too, say
            return super().forward(input)
        _refuse_other_draws(draws)
        keep = 1.0 - p
        mask = torch.empty_like(input).bernoulli_(keep, generator=draws.generator(input.device))
        mask.div_(keep)
        return input.mul_(mask) if self.inplace else input * mask

    def _get_name(self) -> str:
        return "Dropout"

    def __reduce__(self) -> Any:
        # A copy and a pickle are the user's own: they know nothing of us.
        return as_plain(nn.Dropout, dict(self.__dict__))


def as_plain(cls: type[nn.Module], state: Any) -> tuple[Any, ...]:
    """What ``__reduce__`` returns to copy or pickle an object as one of class ``cls``.

    Python's own function makes it, so that who reads the pickle needs nothing of ours.
    """
    return object.__new__, (cls,), state


class Reroute(TorchDispatchMode):
    """Passes the run's generator to every operator that draws and was given none."""

    def __init__(self, draws: Draws) -> None:
        TorchDispatchMode.__init__(self)
        self.draws = draws

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        route = _route(func)
        if route is None:
            return func(*args, **kwargs)
        return route(self.draws, args, kwargs)


Route = Callable[[Draws, tuple[Any, ...], dict[str, Any]], Any]


@functools.cache
def _route(func: Any) -> Route | None:
    """How a call of ``func`` is made to draw from the run, or None if it does not draw."""
    if not may_draw(func):
        return None
    if func is torch.ops.aten.native_dropout.default:
        return _native_dropout
    target = taking_generator(func)

    def with_generator(draws: Draws, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if target is None:
            # Attention is tagged even where it has no dropout, and then needs no mode.
            if _really_draws(func, args, kwargs):
                draws.foreign = True
                if func.overloadpacket.__name__ not in draws.unroutable:
                    draws.unroutable.add(func.overloadpacket.__name__)
                    draws.news = True
            return func(*args, **kwargs)
        _refuse_other_draws(draws)
        draws.foreign = True
        kwargs = {**kwargs, "generator": draws.generator(device_of(args, kwargs))}
        return target(*args, **kwargs)

    return with_generator


def _really_draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call draws: attention and recurrent kernels draw only with dropout."""
    values = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    rates = [values[name] for name in ("dropout_p", "dropout") if name in values]
    training = values.get("train", values.get("training", True))
    return bool(training) and (not rates or any(rates))


def _native_dropout(draws: Draws, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # The fused kernel of accelerators takes no generator; its definition does.
    x, p, *rest = args
    train = rest[0] if rest else kwargs.get("train", True)
    _refuse_other_draws(draws)
    draws.foreign = True
    if train is False or p == 0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x).bernoulli_(1 - p, generator=draws.generator(x.device))
    scaled = mask.div(1 - p) if p < 1 else mask
    return x * scaled, mask.bool()
