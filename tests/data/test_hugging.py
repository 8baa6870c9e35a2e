"""Hugging Face datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbtrain.data import prepare
from nbtrain.data.loaders import Mapped
from nbtrain.data.memory import InMemory
from nbtrain.data.stream import Stream
from nbtrain.errors import DataError

datasets = pytest.importorskip("datasets")


def table(samples=20, **more):
    columns = {"x": np.linspace(0, 1, samples * 3).reshape(samples, 3).tolist()}
    return datasets.Dataset.from_dict({**columns, "label": [i % 2 for i in range(samples)], **more})


def test_a_dataset_of_numbers_is_read_into_memory():
    prepared = prepare(data=table())
    assert isinstance(prepared.train, InMemory)
    assert prepared.notes[0] == "16 samples to train, 4 to validate, stratified by class."
    inputs, targets = prepared.split(prepared.example)
    assert inputs.shape == (2, 3)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert prepared.classes == 2
    assert prepared.fingerprint == prepare(data=table()).fingerprint


def test_several_columns_are_a_dict_of_inputs_and_text_is_left_out():
    data = table(mask=[[1, 0]] * 20, text=["a sentence"] * 20)
    prepared = prepare(data=data)
    assert isinstance(prepared.train, Mapped)
    assert prepared.notes[0].endswith("stratified by class.")
    batch, _n = next(prepared.train.epoch(0, batch_size=4))
    assert batch["text"] == ["a sentence"] * 4
    inputs, targets = prepared.split(batch)
    assert sorted(inputs) == ["mask", "x"]
    assert targets.shape == (4,)


def test_class_labels_and_splits():
    names = datasets.ClassLabel(names=["cat", "dog", "owl"])
    data = table().cast_column("label", names)
    prepared = prepare(data=datasets.DatasetDict(train=data, validation=table(6)))
    assert prepared.classes == 3
    assert (prepared.train.samples, prepared.val.samples) == (20, 6)
    tested = prepare(data=datasets.DatasetDict(train=data, test=table(6)))
    assert (tested.train.samples, tested.val.samples) == (16, 4)
    with pytest.raises(DataError, match="no split to train on"):
        prepare(data=datasets.DatasetDict(test=data))


def test_a_transform_of_the_users_own_is_kept():
    data = table().with_transform(
        lambda rows: {"x": [torch.tensor(x) * 0 + 7 for x in rows["x"]], "y": rows["label"]}
    )
    prepared = prepare(data=data)
    assert isinstance(prepared.train, Mapped)
    batch, _n = next(prepared.train.epoch(0, batch_size=4))
    assert torch.equal(batch["x"], torch.full((4, 3), 7.0))


def test_without_a_label_the_batch_is_the_dict():
    prepared = prepare(data=table().remove_columns("label"))
    assert prepared.split(prepared.example) == (prepared.example, None)


def test_words_as_labels_and_empty_datasets_are_explained():
    with pytest.raises(DataError, match="class_encode_column"):
        prepare(data=table().remove_columns("label").add_column("label", ["cat"] * 20))
    with pytest.raises(DataError, match="0 samples"):
        prepare(data=table().select([]))


def test_a_streamed_dataset_is_a_stream():
    prepared = prepare(data=table().to_iterable_dataset())
    assert isinstance(prepared.train, Stream)
    batch, _n = next(prepared.train.epoch(0, batch_size=4))
    assert batch["x"].shape == (4, 3)
    _inputs, targets = prepared.split(batch)
    assert targets.tolist() == [0, 1, 0, 1]
