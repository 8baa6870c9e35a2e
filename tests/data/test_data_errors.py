"""Every wrong input gives one clear message with what to do next."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from nbtrain.data import prepare
from nbtrain.errors import DataError

X = np.linspace(0, 1, 60).reshape(20, 3)
Y = np.arange(20) % 2
FRAME = pd.DataFrame({"age": [1.0, 2.0], "name": ["a", "b"], "target": [0, 1]})
HOLES = pd.DataFrame({"age": [1.0, None, 3.0], "fare": [np.inf, 1.0, None], "id": [1, 2, 3]})


class Sized(Dataset):
    def __init__(self, samples, made=lambda index: (torch.ones(2), 0)):
        self.samples, self.made = samples, made

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return self.made(index)


class Unsized(Dataset):
    def __getitem__(self, index):
        return 0


class Nothing(IterableDataset):
    def __iter__(self):
        return iter(())


CASES = {
    "nothing": ({}, "nothing to train on", "data = X, y"),
    "both": ({"data": (X, Y), "train_data": (X, Y)}, "both given", "Leave one"),
    "string": ({"data": "digits.csv"}, "data is a string", "DataLoader"),
    "number": ({"data": 3}, "a single number", "Give"),
    "class": ({"data": Sized}, "the class Sized itself", "object"),
    "generator": ({"data": (i for i in range(3))}, "read only once", "Give"),
    "function": ({"data": print}, "data is a builtin_function_or_method", "Give"),
    "length": ({"data": (X, Y[:7])}, "20 and 7", "one row per sample"),
    "inputs differ": ({"data": ((X, X[:3]), Y)}, "differ in length", "one row per sample"),
    "empty": ({"data": (X[:0], Y[:0])}, "0 samples", "Check how it was loaded"),
    "empty list": ({"data": []}, "0 samples", "Check"),
    "empty tuple": ({"data": ()}, "empty tuple", "Give"),
    "empty dict": ({"data": {}}, "empty dict", "Put"),
    "empty dataset": ({"data": Sized(0)}, "0 samples", "Check"),
    "empty table": ({"data": TensorDataset(torch.ones(0, 2))}, "0 samples", "Check"),
    "empty loader": (
        {"data": DataLoader(Sized(3), batch_size=None, sampler=[])},
        "gave no batches",
        "Check",
    ),
    "dropped": (
        {"data": DataLoader(Sized(3), batch_size=4, drop_last=True)},
        "gives 0 batches",
        "drop_last",
    ),
    "empty stream": ({"data": Nothing()}, "no samples", "__iter__"),
    "one sample": ({"data": (X[:1], Y[:1])}, "1 sample cannot be split", "--val-split 0"),
    "no length": ({"data": Unsized()}, "has no length", "__len__"),
    "words": ({"data": (X, ["cat"] * 20)}, "'cat'", "LabelEncoder"),
    "numpy words": ({"data": (X, np.array(["cat"] * 20))}, "words", "LabelEncoder"),
    "categories": (
        {"data": (X, pd.Series(["cat"] * 20, dtype="category"))},
        "rather than numbers",
        "LabelEncoder",
    ),
    "objects": ({"data": (X, np.array([object()] * 20))}, "objects", "LabelEncoder"),
    "dates": (
        {"data": (pd.date_range("2020-01-01", periods=20), Y)},
        "dates",
        "Encode",
    ),
    "sample words": (
        {"data": Sized(20, lambda i: (torch.ones(2), "cat"))},
        "'cat'",
        "LabelEncoder",
    ),
    "column words": ({"data": (FRAME, "target")}, "'name'", "get_dummies"),
    "no column": ({"data": (FRAME, "tarjet")}, "no column 'tarjet'", "'target'"),
    "only target": ({"data": (FRAME[["target"]], "target")}, "only the target", "Add"),
    "no frame": ({"data": (X, "target")}, "names a target column", "pandas"),
    "nan": ({"data": (np.where(X > 0.9, np.nan, X), Y)}, "6 NaN", "nan_to_num"),
    "nan row": ({"data": (np.where(X > 0.9, np.nan, X), Y)}, "row 18", "Drop"),
    "holes": ({"data": (HOLES, [1, 0, 1])}, "2 NaN and 1 infinite", "fillna"),
    "hole columns": ({"data": (HOLES, [1, 0, 1])}, "'age', 'fare'", "fillna"),
    "nan target": ({"data": (X, np.full(20, np.nan))}, "20 NaN", "Drop"),
    "four": ({"data": (X, X, Y, Y)}, "four parts", "train_data = X_train, y_train"),
    "three": ({"data": (X, X, Y)}, "3 parts", "((X1, X2), y)"),
    "two sets": ({"data": ((X, Y), (X, Y))}, "one array of targets", "val_data"),
    "two datasets": ({"data": (Sized(3), Sized(3))}, "pair of datasets", "val_data"),
    "ragged": ({"data": ([[1, 2], [3]], [0, 1])}, "rows differ in length", "Pad"),
    "ragged tensors": ({"data": ([torch.ones(2), torch.ones(3)], [0, 1])}, "shape", "Pad"),
    "ragged samples": (
        {"data": Sized(9, lambda i: (torch.ones(i + 1), 0))},
        "do not make a batch",
        "collate_fn",
    ),
    "sparse": ({"data": (sparse.csr_matrix(X), Y)}, "sparse", ".toarray()"),
    "sparse tensor": ({"data": (torch.tensor(X).to_sparse(), Y)}, "sparse", ".to_dense()"),
    "masked": ({"data": (np.ma.masked_greater(X, 0.5), Y)}, "masked", ".filled"),
    "single": ({"data": np.float64(3)}, "", "Give"),
    "single tensor": ({"data": torch.tensor(3.0)}, "single number", "one row per sample"),
    "features differ": (
        {"train_data": (X, Y), "val_data": (X[:, :2], Y)},
        "(3,) and one of val_data (2,)",
        "same way",
    ),
    "targets missing": ({"train_data": (X, Y), "val_data": X}, "none", "(X, y)"),
    "splits": ({"data": {"test": (X, Y)}}, "no split to train on", "data['...']"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_input_is_explained(case):
    given, what, advice = CASES[case]
    with pytest.raises(DataError) as caught:
        prepare(**given)
    message = str(caught.value)
    assert what in message
    assert advice in message
    assert message.endswith((".", "?", ")"))


def test_a_users_error_in_the_dataset_is_the_users():
    def broken(index):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        prepare(data=Sized(9, broken))


def test_a_step_of_the_users_own_takes_targets_of_any_kind():
    prepared = prepare(data=Sized(20, lambda i: (torch.ones(2), "cat")), step=True)
    assert prepared.targets is None
    (_, words), _n = next(prepared.train.epoch(0, batch_size=4))
    assert list(words) == ["cat"] * 4
