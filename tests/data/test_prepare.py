"""What users hand over, and what it becomes."""

from __future__ import annotations

import random
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch.utils.data import DataLoader, Dataset, TensorDataset

from nbtrain.data import prepare
from nbtrain.data.memory import InMemory
from nbtrain.data.order import Shuffled

X = np.linspace(0, 1, 60).reshape(20, 3)
CLASSES = np.arange(20) % 2


def only(prepared):
    """All training data as one batch."""
    ((batch, _n),) = prepared.train.epoch(0, batch_size=1000)
    return batch


def test_digits_are_split_by_class_and_kept_in_memory():
    inputs, targets = load_digits(return_X_y=True)
    prepared = prepare(data=(inputs / 16, targets))
    assert isinstance(prepared.train, InMemory)
    assert (prepared.train.samples, prepared.val.samples) == (1437, 360)
    assert prepared.notes == [
        "1,437 samples to train, 360 to validate, stratified by class.",
        "The features became float32 from float64.",
    ]
    assert prepared.classes == 10
    assert prepared.targets.dtype == torch.int64
    assert len(prepared.targets) == 1797
    assert prepared.complete
    x, y = prepared.example
    assert x.shape == (2, 64)
    assert x.dtype == torch.float32
    assert prepared.split(prepared.example) == (x, y)
    _, shown = next(iter(prepared.val.epoch(0, batch_size=360)))[0]
    counts = torch.bincount(shown)
    assert counts.max() - counts.min() <= 3


def test_diabetes_is_split_at_random_with_float_targets():
    prepared = prepare(data=load_diabetes(return_X_y=True), val_split=0.25)
    assert prepared.notes[0] == "331 samples to train, 111 to validate, chosen at random."
    assert prepared.targets.dtype == torch.float32
    assert prepared.classes is None


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        torch.tensor,
        lambda a: a.tolist(),
        lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a),
        lambda a: [torch.tensor(row) for row in a],
        lambda a: a[::-1].copy()[::-1],
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(a.dtype.newbyteorder(">")),
    ],
)
def test_pairs_of_anything_are_the_same_data(wrap):
    prepared = prepare(train_data=(wrap(X), wrap(CLASSES)))
    x, y = only(prepared)
    order = Shuffled(20, 0).indices(0)
    assert torch.equal(x, torch.tensor(X, dtype=torch.float32)[order])
    assert torch.equal(y, torch.tensor(CLASSES)[order])
    assert prepared.fingerprint == prepare(train_data=(X, CLASSES)).fingerprint


def test_a_list_of_two_arrays_is_a_pair():
    assert prepare(data=[X, CLASSES]).classes == 2


def test_several_inputs_come_as_a_dict_or_a_tuple():
    prepared = prepare(data=({"a": X, "b": X[:, :2]}, CLASSES))
    inputs, targets = prepared.split(prepared.example)
    assert {key: value.shape for key, value in inputs.items()} == {"a": (2, 3), "b": (2, 2)}
    inputs, targets = prepare(data=((X, X[:, :2]), CLASSES)).example
    assert [part.shape for part in inputs] == [(2, 3), (2, 2)]
    assert targets.shape == (2,)


def test_a_frame_names_its_target():
    frame = pd.DataFrame({"age": [30, 40, 50, 60], "fare": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1]})
    prepared = prepare(train_data=(frame, "y"))
    x, y = only(prepared)
    assert x.shape == (4, 2)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    several = prepare(train_data=(frame, ["age", "fare"]))
    assert only(several)[1].shape == (4, 2)
    found = prepare(train_data=frame)
    assert torch.equal(only(found)[1].sort().values, torch.tensor([0, 0, 1, 1]))
    assert "The column 'y' is taken as the target." in found.notes


def test_frames_of_integers_nullable_numbers_and_flags_become_floats():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True]})
    assert only(prepare(train_data=(frame, [1.0, 2.0, 3.0])))[0].dtype == torch.float32
    nullable = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="Int64")})
    assert only(prepare(train_data=(nullable, [0, 1, 0])))[0].dtype == torch.float32
    targets = pd.Series(pd.array([0, 1, 0], dtype="Int64"))
    assert only(prepare(train_data=(nullable, targets)))[1].dtype == torch.int64


def test_indexes_that_differ_are_noted():
    shuffled = pd.Series(CLASSES, index=np.arange(20)[::-1])
    notes = prepare(data=(pd.DataFrame(X), shuffled)).notes
    assert any("different indexes" in note for note in notes)
    assert not any(
        "indexes" in note for note in prepare(data=(pd.DataFrame(X), pd.Series(CLASSES))).notes
    )


def test_one_array_is_the_input_alone():
    prepared = prepare(data=torch.randn(20, 4))
    assert prepared.example.shape == (2, 4)
    assert prepared.split(prepared.example) == (prepared.example, None)
    assert prepared.targets is None
    assert prepare(data=(X,)).example.shape == (2, 3)
    assert prepare(data=(X, None)).targets is None


def test_a_dict_of_arrays_is_a_batch_of_that_form():
    prepared = prepare(data={"pixels": X, "label": CLASSES})
    assert list(prepared.example) == ["pixels", "label"]
    inputs, targets = prepared.split(prepared.example)
    assert inputs.shape == (2, 3)
    assert targets.dtype == torch.int64
    assert prepared.notes[0].endswith("stratified by class.")
    assert prepare(data={"a": X, "b": X}).split({"a": 1, "b": 2}) == ({"a": 1, "b": 2}, None)


def test_integer_features_stay_for_embeddings_and_pictures():
    assert only(prepare(train_data=(CLASSES[:, None], CLASSES)))[0].dtype == torch.int64
    assert only(prepare(train_data=(CLASSES.astype("uint8"), CLASSES)))[0].dtype == torch.uint8


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (CLASSES.astype("uint8"), torch.int64),
        (CLASSES.astype("int32"), torch.int64),
        (CLASSES.astype("uint32"), torch.int64),
        (CLASSES.astype("float64"), torch.float32),
        (CLASSES.astype("float16"), torch.float16),
        (CLASSES == 1, torch.float32),
    ],
)
def test_types_of_targets(targets, kind):
    assert prepare(data=(X, targets)).targets.dtype == kind


def test_targets_of_one_column_are_noted():
    integers = prepare(data=(X, CLASSES[:, None]))
    assert integers.targets.shape == (20,)
    assert any("(20, 1) and became (20,)" in note for note in integers.notes)
    floats = prepare(data=(X, CLASSES[:, None].astype(float)))
    assert floats.targets.shape == (20, 1)
    assert any("shape (20, 1)" in note for note in floats.notes)


def test_the_default_type_and_a_type_asked_for_are_followed():
    assert prepare(data=(X, CLASSES), dtype=torch.float64).example[0].dtype == torch.float64
    torch.set_default_dtype(torch.float64)
    try:
        assert prepare(data=(X, CLASSES)).example[0].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_negative_integers_are_no_classes():
    assert prepare(data=(X, CLASSES * 2 - 1)).classes is None
    assert prepare(data=(X, np.where(CLASSES == 1, -100, 3))).classes == 4


def test_val_data_leaves_the_training_data_whole():
    prepared = prepare(data=(X, CLASSES), val_data=(X[:5], CLASSES[:5]))
    assert (prepared.train.samples, prepared.val.samples) == (20, 5)
    assert prepared.notes[0] == "20 samples to train, 5 to validate, as given."
    batch, _n = next(prepared.val.epoch(9, batch_size=5))
    assert torch.equal(batch[1], torch.tensor(CLASSES[:5]))


def test_train_data_alone_and_no_split_leave_no_validation():
    assert prepare(train_data=(X, CLASSES)).val is None
    none = prepare(data=(X, CLASSES), val_split=0)
    assert none.val is None
    assert none.notes[0] == "20 samples to train, none to validate."


def test_a_dict_of_splits():
    splits = {"train": (X, CLASSES), "validation": (X[:4], CLASSES[:4])}
    assert prepare(data=splits).val.samples == 4
    tested = prepare(data={"train": (X, CLASSES), "test": (X[:4], CLASSES[:4])})
    assert tested.val.samples == 4
    assert tested.train.samples == 16
    assert any("'test' is left alone" in note for note in tested.notes)


def test_later_changes_of_the_users_arrays_do_not_reach_the_run():
    mine, targets = X.astype("float32"), CLASSES.copy()
    for given in ({"train_data": (mine, targets)}, {"data": (mine, targets)}):
        prepared = prepare(**given)
        before = only(prepared)[0].sum()
        mine += 1
        assert only(prepared)[0].sum() == before


def test_large_data_is_not_copied(monkeypatch):
    monkeypatch.setattr("nbtrain.data.sources.COPIED", 0)
    mine = torch.tensor(X, dtype=torch.float32)
    prepared = prepare(data=(mine, CLASSES))
    assert prepared.train._data[0].data_ptr() == mine.data_ptr()
    left = prepare(data=(mine, CLASSES))
    seen = torch.cat(
        [b[0] for part in (left.train, left.val) for b, _ in part.epoch(0, batch_size=3)]
    )
    assert torch.equal(seen.sort(0).values, mine)


def test_a_tensor_dataset_is_data_in_memory():
    table = TensorDataset(torch.tensor(X), torch.tensor(CLASSES))
    prepared = prepare(data=table)
    assert isinstance(prepared.train, InMemory)
    assert isinstance(prepared.example, list)
    assert prepared.notes[0].endswith("stratified by class.")
    three = prepare(data=TensorDataset(torch.tensor(X), torch.tensor(X), torch.tensor(CLASSES)))
    inputs, targets = three.split(three.example)
    assert len(inputs) == 2
    assert targets.dtype == torch.int64
    one = prepare(data=TensorDataset(torch.tensor(X)))
    assert one.split(one.example)[1] is None


def test_a_list_of_samples_is_a_dataset():
    samples = [(torch.full((3,), float(i)), i % 2) for i in range(20)]
    prepared = prepare(data=samples)
    assert (prepared.train.samples, prepared.val.samples) == (16, 4)
    assert prepared.notes[0].endswith("stratified by class.")
    assert prepared.classes == 2
    assert prepared.example[0].shape == (2, 3)


class Pictures(Dataset):
    def __init__(self, targets):
        self.targets = targets
        self.made = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.made += 1
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return np.full((1, 4, 4), noise), np.uint8(self.targets[index])


def test_a_dataset_is_looked_at_without_a_trace():
    data = Pictures([i % 4 for i in range(400)])
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    prepared = prepare(data=data)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    assert data.made < 20
    assert prepared.example[0].shape == (2, 1, 4, 4)
    assert prepared.example[0].dtype == torch.float32
    assert prepared.classes == 4
    assert len(prepared.targets) == 400
    assert prepared.notes[0].endswith("stratified by class.")
    (_, targets), _ = next(prepared.train.epoch(0, batch_size=8))
    assert targets.dtype == torch.int64
    assert prepare(data=Pictures([i % 4 for i in range(400)])).fingerprint == prepared.fingerprint
    assert prepare(data=Pictures([i % 5 for i in range(400)])).fingerprint != prepared.fingerprint


def test_batches_that_are_named_tuples_dicts_and_objects():
    Pair = namedtuple("Pair", "x y")

    class Named(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return Pair(torch.ones(2) * index, np.float64(index))

    prepared = prepare(data=Named())
    assert prepared.example.y.dtype == torch.float32
    (batch, _n) = next(prepared.train.epoch(0, batch_size=4))
    assert type(batch).__name__ == "Pair"

    class Keyed(Named):
        def __getitem__(self, index):
            return {"x": torch.ones(2), "text": f"sentence {index}", "label": index % 2}

    prepared = prepare(data=Keyed())
    inputs, targets = prepared.split(prepared.example)
    assert inputs.shape == (2, 2)
    assert targets.tolist() == [0, 1]

    class Bag:
        def __init__(self, samples):
            self.x = torch.tensor([float(s.x[0]) for s in samples])

    loader = DataLoader(Named(), batch_size=5, collate_fn=Bag)
    prepared = prepare(data=loader)
    assert prepared.split(prepared.example) == (prepared.example, None)
    assert [n for _, n in prepared.train.epoch(0, batch_size=5)] == [5, 5]


def test_to_and_close_reach_both_sides():
    prepared = prepare(data=(X, CLASSES))
    prepared.to(torch.device("meta"))
    for part in (prepared.train, prepared.val):
        assert next(part.epoch(0, batch_size=2))[0][0].device.type == "meta"
    prepared.close()
