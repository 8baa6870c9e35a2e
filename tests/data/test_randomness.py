"""Randomness of the run's own."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import queue
import random
import select
import signal
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from nbtrain.data import byname, randomness, rewind
from nbtrain.data.byname import listening
from nbtrain.data.fetch import Ticket
from nbtrain.data.order import generator, mix
from nbtrain.data.prepare import prepare
from nbtrain.data.randomness import OwnRandomness, looking, undisturbed


def untouched():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()


def test_draws_inside_are_the_seeds_and_those_outside_the_users():
    random.seed(5)
    np.random.seed(5)
    expected = [draw() for _ in range(4)]
    random.seed(5)
    np.random.seed(5)
    own = OwnRandomness(3)
    outside, inside = [], []
    for _ in range(4):
        outside.append(draw())
        with own:
            inside.append(draw())
    assert outside == expected
    with OwnRandomness(3):
        assert [draw() for _ in range(4)] == inside
    own.seed(3)
    with own:
        assert draw() == inside[0]
    with OwnRandomness(4):
        assert draw() != inside[0]


def test_an_exception_puts_the_users_state_back():
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), OwnRandomness(0):
        1 / (random.random() * 0)
    assert random.getstate() == before


def test_two_threads_do_not_mix_their_states():
    before = random.getstate()
    results = {}

    def work(seed):
        own = OwnRandomness(seed)
        values = []
        for _ in range(200):
            with own:
                values.append(random.random())
        results[seed] = values

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert random.getstate() == before
    for seed in (1, 2):
        random.seed(seed)
        assert results[seed] == [random.random() for _ in range(200)]


def test_torch_draws_of_this_thread_come_from_ours():
    state = torch.get_rng_state()
    own = OwnRandomness(3, torch_too=True)
    with own:
        inside = torch.rand(2), torch.randint(5, (3,)), torch.empty(2).normal_(), torch.randperm(9)
    with own:
        more = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    expected = torch.rand(2), torch.randint(5, (3,)), torch.empty(2).normal_(), torch.randperm(9)
    assert all(map(torch.equal, inside, expected))
    assert torch.equal(more, torch.rand(2))
    torch.set_rng_state(state)


def test_a_look_puts_torch_back_too():
    state = torch.get_rng_state()
    with looking("data") as look:
        first = torch.rand(2), draw()
    assert look.draws
    with looking("data") as look:
        draw()
    assert not look.draws
    assert torch.equal(torch.get_rng_state(), state)
    with looking("data"):
        again = torch.rand(2), draw()
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]


def test_places_have_numbers_of_their_own():
    places = {mix(0, kind, epoch) for kind in ("order", "fetch") for epoch in range(100)}
    assert len(places) == 200
    assert all(0 <= place < 2**63 for place in places)
    # Orders of released versions can be made again for ever.
    assert mix(0, "order", 0) == 2094333682667709378
    assert torch.randperm(5, generator=generator(0, "order", 0)).tolist() == [3, 0, 4, 2, 1]


def test_a_ticket_crosses_a_process():
    ticket = pickle.loads(pickle.dumps(Ticket([1, 2], 7)))
    assert ticket == [1, 2]
    assert ticket.seed == 7


KEPT = [random.random, np.random.rand, np.random.randn, random.gauss]


@pytest.mark.parametrize("draws", KEPT)
def test_a_look_sees_draws_past_the_modules_functions(draws):
    state = untouched()
    with looking("data") as look:
        draws()
    assert look.past
    with looking("data") as look:
        draw(), torch.rand(1)
    assert not look.past
    assert untouched() == state


class Noisy(torch.utils.data.Dataset):
    """Samples with noise from NumPy and `random`, by the functions of the modules or by some
    taken from there before; ``drawing`` is called while each is made."""

    def __init__(self, taken=False):
        self.noise = KEPT[:2] if taken else [lambda: random.random(), lambda: np.random.rand()]
        self.drawing = lambda: None

    def __len__(self):
        return 8

    def __getitem__(self, index):
        first = self.noise[0]()
        self.drawing()
        return torch.tensor([first, self.noise[1]()]), index % 2


class Other(threading.Thread):
    """A user's cell: it draws, once for each time that it is told to."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        self.start()

    def run(self):
        while self.asked.get():
            self.answers.put(draw())

    def draw(self):
        self.asked.put(True)
        return self.answers.get(timeout=10)


def seeded_draws(count):
    random.seed(5)
    np.random.seed(5)
    return [draw() for _ in range(count)]


@pytest.mark.parametrize("kind", ["map-style", "stream"])
def test_what_other_threads_draw_is_theirs_while_a_batch_is_made(kind):
    data = Noisy()
    given = data if kind == "map-style" else Read(data)
    calm = [b for b, _ in prepare(train_data=given).train.epoch(0, batch_size=4)]
    expected = seeded_draws(8)
    random.seed(5)
    np.random.seed(5)
    batches = prepare(train_data=given).train
    other, drawn = Other(), []
    data.drawing = lambda: drawn.append(other.draw())
    again = [b for b, _ in batches.epoch(0, batch_size=4)]
    other.asked.put(False)
    assert drawn == expected
    assert all(torch.equal(a[0], b[0]) for a, b in zip(calm, again, strict=True))


class Read(torch.utils.data.IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return (self.data[index] for index in range(8))


def test_a_samplers_draws_leave_other_threads_theirs():
    other, drawn = Other(), []

    class Own(torch.utils.data.Sampler):
        drawing = staticmethod(lambda: None)

        def __iter__(self):
            order = list(range(8))
            random.shuffle(order)
            Own.drawing()
            return iter(order)

        def __len__(self):
            return 8

    loader = torch.utils.data.DataLoader(Noisy(), batch_size=4, sampler=Own())
    batches = prepare(train_data=loader).train
    expected = seeded_draws(3)
    random.seed(5)
    np.random.seed(5)
    Own.drawing = staticmethod(lambda: drawn.append(other.draw()))
    for epoch in range(3):
        list(batches.epoch(epoch, batch_size=4))
    other.asked.put(False)
    assert drawn == expected


def test_samples_drawn_past_the_functions_are_the_same_too_and_it_is_told():
    taken, named = prepare(train_data=Noisy(taken=True)), prepare(train_data=Noisy())
    told = "random, but not from their own seed"
    assert any(told in note for note in taken.notes)
    assert not any(told in note for note in named.notes)
    state = untouched()
    there = [b[0] for b, _ in taken.train.epoch(0, batch_size=4)]
    here = [b[0] for b, _ in named.train.epoch(0, batch_size=4)]
    assert untouched() == state
    assert all(map(torch.equal, there, here))


def test_seeding_in_a_dataset_seeds_the_runs_own():
    class Seeding(Noisy):
        def __getitem__(self, index):
            random.seed(index)
            np.random.seed(index)
            return super().__getitem__(index)

    batches = prepare(train_data=Seeding(), val_split=0.0).train
    state = untouched()
    first = sorted(row[0].item() for b, _ in batches.epoch(0, batch_size=4) for row in b[0])
    second = sorted(row[0].item() for b, _ in batches.epoch(1, batch_size=4) for row in b[0])
    assert first == second
    assert untouched() == state


def test_a_seed_set_twice_gives_the_same_torch_draws_twice():
    class Pairs(Noisy):
        """An image and its mask, moved alike, as people write it."""

        def __getitem__(self, index):
            seed = np.random.randint(2**31)
            torch.manual_seed(seed)
            image = torch.rand(3)
            state = torch.get_rng_state()
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                mask = torch.rand(3)
            assert torch.equal(torch.get_rng_state(), state)
            return image, mask

    batches = prepare(train_data=Pairs(), val_split=0.0).train
    state = untouched()
    read = [batch for batch, _ in batches.epoch(0, batch_size=4)]
    assert untouched() == state
    assert all(torch.equal(image, mask) for image, mask in read)
    assert not torch.equal(read[0][0], read[1][0])


def functions():
    names = ("rand", "seed", "sample", "choice", "get_state")
    return [getattr(np.random, n) for n in names] + [random.random, random.choice, random.seed]


def test_the_modules_functions_are_their_own_before_and_after():
    before = functions()
    epoch = prepare(train_data=Noisy()).train.epoch(0, batch_size=4)
    next(epoch)
    within = functions()
    assert all(a is not b for a, b in zip(within, before, strict=True))
    assert all(pickle.loads(pickle.dumps(function)) is function for function in within)
    random.seed(5)
    assert (random.random(), within[5]()) == (random.Random(5).random(), pytest.approx(0.7417869))
    epoch.close()
    assert functions() == before


def imported():
    """What people import from the three modules by its name."""
    numpys = [getattr(np.random, n) for n in ("rand", "seed", "sample", "get_state")]
    torchs = [torch.random.manual_seed, torch.random.get_rng_state, torch.cuda.manual_seed_all]
    return [random.random, random.choice, random.seed, *numpys, *torchs]


def test_functions_imported_before_or_during_a_run_are_pickled_during_and_after():
    before = imported()
    with byname.listening(), rewind.listening():
        within = imported()
        for function in (*before, *within):
            pickle.dumps(function)
            copy.deepcopy(function)
        assert all(pickle.loads(pickle.dumps(function)) is function for function in within)
        # As in a plain process.
        assert torch.random.get_rng_state is before[-2]
        assert torch.random.manual_seed is before[-3]
    # Numba knows functions by a dict of them, made before a run or during it.
    assert [{f: True}.get(g) for f, g in zip(before, within, strict=True)] == [True] * len(before)
    assert [{g: True}.get(f) for f, g in zip(before, within, strict=True)] == [True] * len(before)
    assert within[0] != within[1]
    for function in within:
        pickle.loads(pickle.dumps(function))
    assert pickle.loads(pickle.dumps(within[4])) is np.random.seed
    assert inspect.signature(within[1]) == inspect.signature(random.choice)
    random.seed(5)
    assert within[0]() == random.Random(5).random()


def test_a_pickle_made_during_a_run_opens_where_nothing_is_known_of_it():
    with byname.listening():
        stored = pickle.dumps([random.random, np.random.rand, np.random.seed])
    code = """
import pickle, sys
random, *_ = pickle.loads(sys.stdin.buffer.read())
assert 0 <= random() < 1 and not any(name.startswith("nbtrain") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], input=stored, timeout=100, check=False)
    assert done.returncode == 0


def test_torchs_generator_is_the_runs_only_where_it_draws():
    real = torch.random.default_generator
    state, seed = torch.get_rng_state(), torch.initial_seed()
    own = OwnRandomness(3, torch_too=True)
    with own:
        generator = torch.random.default_generator
        assert torch.initial_seed() == 3
        assert torch.seed() == torch.initial_seed() != 3
        torch.random.manual_seed(4)
        torch.cuda.manual_seed_all(4)
        assert torch.initial_seed() == 4
        other = queue.SimpleQueue()
        threading.Thread(target=lambda: other.put(torch.initial_seed())).start()
        assert other.get(timeout=10) == seed
        assert generator.device == real.device
    assert torch.random.default_generator is real
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(copy.copy(generator).get_state(), state)


def test_a_seed_set_in_a_step_does_not_reach_what_others_draw_from_on_accelerators(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with OwnRandomness(3, torch_too=True), torch.random.fork_rng([]):
        torch.manual_seed(4)
        assert seeded == []
    with torch.random.fork_rng([]), rewind.listening():
        torch.manual_seed(5)
    assert seeded == [5]


def test_functions_that_somebody_puts_around_ours_stay(monkeypatch):
    with listening():
        ours = np.random.rand
        monkeypatch.setattr(np.random, "rand", lambda *shape: ours(*shape))
    theirs = np.random.rand
    with OwnRandomness(3):
        inside = [*np.random.rand(2), *np.random.randn(2)]
    assert np.random.rand is theirs
    expected = np.random.RandomState(3)
    assert inside == [*expected.rand(2), *expected.randn(2)]


def test_a_swap_waits_for_what_must_not_see_it():
    entered, go_on = threading.Event(), threading.Event()

    def fetch():
        with OwnRandomness(0, swap=True):
            entered.set()
            go_on.wait(10)

    other = threading.Thread(target=fetch)
    with undisturbed():
        state = random.getstate()
        other.start()
        assert not entered.wait(0.2)
        assert random.getstate() == state
        with OwnRandomness(1, swap=True):
            pass  # this thread's own looks go on
    assert entered.wait(10)
    go_on.set()
    other.join(10)


def test_two_that_must_not_see_a_swap_may_end_in_any_order():
    begun, go_on, entered = threading.Event(), threading.Event(), threading.Event()

    def body():
        with undisturbed():
            begun.set()
            go_on.wait(10)

    def fetch():
        with OwnRandomness(0, swap=True):
            entered.set()

    first, third = threading.Thread(target=body), threading.Thread(target=fetch)
    first.start()
    assert begun.wait(10)
    with undisturbed():
        go_on.set()
        first.join(10)
        third.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    third.join(10)


def drawn_in_forks(count=3):
    """What as many children draw first from `random`."""
    drawn = []
    for _ in range(count):
        ours, theirs = os.pipe()
        if (child := os.fork()) == 0:
            try:
                with byname.listening(), OwnRandomness(1, swap=True):
                    pass  # nothing waits for a thread that there is only in the parent
                os.write(theirs, struct.pack("d", random.random()))
            finally:
                os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as answer:
            (readable, _, _) = select.select([answer], [], [], 20)
            if not readable:
                os.kill(child, signal.SIGKILL)
            drawn.append(answer.read())
        os.waitpid(child, 0)
    return drawn


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forks_of_a_step_draw_each_their_own_as_anywhere():
    holds, go_on = threading.Event(), threading.Event()

    def hold():
        with undisturbed(), randomness._swap, byname.exchange._lock:
            holds.set()
            go_on.wait(60)

    with byname.drawing_from(byname.Generators(3)):
        other = threading.Thread(target=hold)
        other.start()
        assert holds.wait(10)
        try:
            drawn = drawn_in_forks()
        finally:
            go_on.set()
            other.join(10)
        assert len(set(drawn)) == 3 and all(len(number) == 8 for number in drawn)
        assert random.random() == random.Random(3).random()


def test_a_body_that_waits_for_a_run_does_not_stop_it_for_ever(monkeypatch):
    monkeypatch.setattr(randomness, "PATIENCE", 0.05)
    before = random.getstate()

    def fetch():
        for _ in range(100):
            with OwnRandomness(0, swap=True):
                KEPT[0]()

    other = threading.Thread(target=fetch)
    with undisturbed():
        other.start()
        other.join(4)
        assert not other.is_alive()
    assert random.getstate() == before
