"""Randomness of the run's own."""

from __future__ import annotations

import pickle
import random
import threading

import numpy as np
import pytest
import torch

from nbtrain.data import randomness
from nbtrain.data.fetch import Ticket
from nbtrain.data.order import generator, mix
from nbtrain.data.prepare import prepare
from nbtrain.data.randomness import OwnRandomness, looking, undisturbed


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


@pytest.mark.parametrize("draws", [random.random, np.random.rand, np.random.randn, random.gauss])
def test_a_look_sees_draws_from_generators_that_all_share(draws):
    with looking("data") as look:
        draws()
    assert look.shared
    with looking("data") as look:
        torch.rand(1)
    assert not look.shared


class Plain(torch.utils.data.Dataset):
    """Draws nothing, and tells what `random` would give while it is read."""

    def __init__(self):
        self.seen = []

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.seen.append(random.getstate())
        return torch.ones(2), index % 2


def test_samples_that_draw_nothing_leave_the_generators_in_place():
    data = Plain()
    batches = prepare(data=data, val_split=0.0).train
    data.seen.clear()
    before = random.getstate()
    list(batches.epoch(0, batch_size=4))
    assert len(data.seen) == 8
    assert all(state == before for state in data.seen)


def test_a_swap_waits_for_what_must_not_see_it():
    entered, go_on = threading.Event(), threading.Event()

    def fetch():
        with OwnRandomness(0):
            entered.set()
            go_on.wait(10)

    other = threading.Thread(target=fetch)
    with undisturbed():
        state = random.getstate()
        other.start()
        assert not entered.wait(0.2)
        assert random.getstate() == state
        with OwnRandomness(1):
            pass  # this thread's own looks go on
    assert entered.wait(10)
    go_on.set()
    other.join(10)


def test_a_body_that_waits_for_a_run_does_not_stop_it_for_ever(monkeypatch):
    monkeypatch.setattr(randomness, "PATIENCE", 0.05)
    before = random.getstate()

    def fetch():
        for _ in range(100):
            with OwnRandomness(0):
                random.random()

    other = threading.Thread(target=fetch)
    with undisturbed():
        other.start()
        other.join(4)
        assert not other.is_alive()
    assert random.getstate() == before
