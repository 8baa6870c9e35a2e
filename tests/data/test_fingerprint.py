"""Fingerprints of data."""

from __future__ import annotations

import torch

from nbtrain.data import fingerprint as module
from nbtrain.data.fingerprint import fingerprint


def test_equal_data_have_equal_fingerprints_and_other_data_others():
    x = torch.arange(12.0)
    base = fingerprint((x, {"a": x}), 3, "train")
    assert base == fingerprint((x.clone(), {"a": x.clone()}), 3, "train")
    changed = x.clone()
    changed[7] += 1
    others = [
        fingerprint((changed, {"a": x}), 3, "train"),
        fingerprint((x.reshape(3, 4), {"a": x}), 3, "train"),
        fingerprint((x.int(), {"a": x}), 3, "train"),
        fingerprint((x, {"b": x}), 3, "train"),
        fingerprint((x, {"a": x}), 4, "train"),
        fingerprint((x, {"a": x}), 3),
    ]
    assert base not in others
    assert len(set(others)) == len(others)
    assert len(base) == 32


def test_layout_does_not_count():
    x = torch.arange(12.0).reshape(3, 4)
    assert fingerprint(x.t()) == fingerprint(x.t().contiguous())
    assert fingerprint(torch.tensor(3.0)) == fingerprint(torch.tensor(3.0))
    assert fingerprint(torch.tensor([True])) != fingerprint(torch.tensor([False]))
    assert fingerprint(torch.zeros(0)) == fingerprint(torch.zeros(0))


def test_of_large_data_evenly_spaced_rows_and_the_length_count(monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 400)
    x = torch.arange(1000.0)
    base = fingerprint(x)
    for place, counts in ((0, True), (999, True), (1, False)):
        changed = x.clone()
        changed[place] = -1
        assert (fingerprint(changed) != base) == counts
    assert fingerprint(torch.arange(1001.0)) != base


def test_objects_count_by_their_class():
    assert fingerprint(object()) == fingerprint(object())
