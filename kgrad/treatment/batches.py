"""Batches to try a model on: from arrays or from a `tf.data.Dataset`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.treatment.errors import TreatmentError

# x, y and sample weights; each an array, any nesting of arrays, or None.
Batch = tuple[Any, Any, Any]

# As many rows tell a loss to about 3 % of the spread between rows (1 / sqrt(1024)).
_MEASURED_ROWS = 1024
_MEASURED_BATCHES = 16


def endless(x: Any, y: Any, batch_size: int, seed: int) -> Iterator[Batch]:
    """Batches for training, without end; the same for the same seed where the data are arrays.

    Arrays are shuffled anew for each pass, and only full batches are given. A dataset decides by itself on the order
    and the size of its batches.

    Args:
        x: arrays, or a `tf.data.Dataset` of batches.
        y: targets; `None` for a dataset.
        batch_size: rows per batch, for arrays.
        seed: of the order, for arrays.

    Raises:
        TreatmentError: there are no batches, or not all arrays have the same number of rows.
    """
    if isinstance(x, tf.data.Dataset):
        yield from _repeated(x, y)
    rows = _rows(x, y)
    size = min(batch_size, rows)
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield _taken(x, y, order[start : start + size])


def measured(x: Any, y: Any, batch_size: int) -> list[Batch]:
    """The batches that losses are measured on: rows evenly spaced over arrays, the first batches of a dataset.

    Raises:
        TreatmentError: as in `endless`.
    """
    if isinstance(x, tf.data.Dataset):
        return list(islice(_repeated(x, y), min(_MEASURED_BATCHES, _length(x))))
    rows = _rows(x, y)
    size = min(batch_size, rows)
    count = max(min(rows, _MEASURED_ROWS) // size, 1)
    chosen = np.linspace(0, rows - 1, count * size).round().astype(int)
    return [_taken(x, y, part) for part in np.split(chosen, count)]


def probe_batch(x: Any, y: Any, rows: int) -> Batch:
    """One batch: rows evenly spaced over arrays, or the first batch of a dataset."""
    return measured(x, y, rows)[0] if isinstance(x, tf.data.Dataset) else _spaced(x, y, rows)


def _spaced(x: Any, y: Any, rows: int) -> Batch:
    available = _rows(x, y)
    return _taken(x, y, np.linspace(0, available - 1, min(rows, available)).round().astype(int))


def _repeated(dataset: tf.data.Dataset, y: Any) -> Iterator[Batch]:
    if y is not None:
        raise TreatmentError("A tf.data.Dataset brings its own targets: give no y beside it.")
    empty = True
    while True:
        for batch in dataset:
            empty = False
            yield keras.utils.unpack_x_y_sample_weight(batch)
        if empty:
            raise TreatmentError("The dataset has no batches.")


def _length(dataset: tf.data.Dataset) -> int:
    """Number of batches; where the dataset does not know it, as many as are wanted."""
    known = int(dataset.cardinality())
    return known if known > 0 else _MEASURED_BATCHES


def _rows(x: Any, y: Any) -> int:
    counts = {int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in keras.tree.flatten((x, y)) if leaf is not None}
    if len(counts) != 1 or counts == {0}:
        raise TreatmentError(f"x and y need one common number of rows, and have {sorted(counts)}.")
    return counts.pop()


def _taken(x: Any, y: Any, rows: Any) -> Batch:
    def take(leaf: Any) -> Any:
        return None if leaf is None else np.asarray(leaf)[rows]

    return keras.tree.map_structure(take, x), keras.tree.map_structure(take, y), None
