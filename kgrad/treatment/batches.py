"""Batches to try a model on: from arrays or from a `tf.data.Dataset`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class WholeSet:
    """All rows in their order, in batches, as often as it is gone through.

    Attributes:
        x: arrays, or a `tf.data.Dataset` of batches.
        y: targets; `None` for a dataset.
        weights: of the rows; `None` for a dataset, which brings its own, and for none.
        batch_size: rows per batch, for arrays.
        most: so many batches at most; `None` for all there are.
    """

    x: Any
    y: Any
    weights: Any
    batch_size: int
    most: int | None = None

    def __iter__(self) -> Iterator[Batch]:
        """One pass.

        Raises:
            TreatmentError: there are no batches, or not all arrays have the same number of rows.
        """
        if isinstance(self.x, tf.data.Dataset):
            yield from islice(_passed(self.x, self.y), self.most)
            return
        parts, rows = _arrays(self.x, self.y, self.weights)
        for start in islice(range(0, rows, self.batch_size), self.most):
            yield _taken(parts, slice(start, start + self.batch_size))


def validation_batches(validation: Any, batch_size: int, most: int | None = None) -> WholeSet:
    """All of what `fit` takes as `validation_data`, the weights of its rows included.

    Args:
        validation: `(x, y)`, `(x, y, sample_weight)` or a dataset.
        batch_size: rows per batch, for arrays.
        most: so many batches at most, which a dataset without end needs.

    Raises:
        TreatmentError: it is none of these, or a dataset without end.
    """
    if isinstance(validation, tf.data.Dataset):
        if most is None and int(validation.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise TreatmentError(
                "The validation dataset has no end: give it one with .take() (or give treat fit's validation_steps)."
            )
        return WholeSet(validation, None, None, batch_size, most)
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        got = f"{len(validation)} parts" if isinstance(validation, (tuple, list)) else type(validation).__name__
        raise TreatmentError(
            f"The validation data are {got}; expected (x, y), (x, y, sample_weight) or a tf.data.Dataset."
        )
    x, y, *weights = validation
    return WholeSet(x, y, weights[0] if weights else None, batch_size, most)


def some_validation(validation: Any, batch_size: int) -> Iterable[Batch]:
    """For short trainings: as many rows, evenly spaced, as `measured` takes of arrays, and all of a dataset.

    Raises:
        TreatmentError: as in `validation_batches`.
    """
    whole = validation_batches(validation, batch_size)
    if isinstance(whole.x, tf.data.Dataset):
        return whole
    return measured(whole.x, whole.y, batch_size, whole.weights)


def endless(x: Any, y: Any, batch_size: int, seed: int, weights: Any = None) -> Iterator[Batch]:
    """Batches for training, without end; the same for the same seed where the data are arrays.

    Arrays are shuffled anew for each pass, and only full batches are given. A dataset decides by itself on the order
    and the size of its batches.

    Args:
        x: arrays, or a `tf.data.Dataset` of batches.
        y: targets; `None` for a dataset.
        batch_size: rows per batch, for arrays.
        seed: of the order, for arrays.
        weights: of the rows, for arrays; `None` for none.

    Raises:
        TreatmentError: there are no batches, or not all arrays have the same number of rows.
    """
    while isinstance(x, tf.data.Dataset):
        yield from _passed(x, y)
    parts, rows = _arrays(x, y, weights)
    size = min(batch_size, rows)
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield _taken(parts, order[start : start + size])


def measured(x: Any, y: Any, batch_size: int, weights: Any = None) -> list[Batch]:
    """Batches of training data that losses are measured on: rows evenly spaced over arrays, a dataset's first ones.

    Args:
        x: arrays, or a `tf.data.Dataset` of batches.
        y: targets; `None` for a dataset.
        batch_size: rows per batch, for arrays.
        weights: of the rows, for arrays; `None` for none.

    Raises:
        TreatmentError: as in `endless`.
    """
    if isinstance(x, tf.data.Dataset):
        return list(islice(_passed(x, y), _MEASURED_BATCHES))
    parts, rows = _arrays(x, y, weights)
    size = min(batch_size, rows)
    count = max(min(rows, _MEASURED_ROWS) // size, 1)
    chosen = np.linspace(0, rows - 1, count * size).round().astype(int)
    return [_taken(parts, part) for part in np.split(chosen, count)]


def probe_batch(x: Any, y: Any, rows: int) -> Batch:
    """One batch: rows evenly spaced over arrays, or the first batch of a dataset."""
    return measured(x, y, rows)[0] if isinstance(x, tf.data.Dataset) else _spaced(x, y, rows)


def _spaced(x: Any, y: Any, rows: int) -> Batch:
    parts, available = _arrays(x, y, None)
    return _taken(parts, np.linspace(0, available - 1, min(rows, available)).round().astype(int))


def _passed(dataset: tf.data.Dataset, y: Any) -> Iterator[Batch]:
    """One pass over a dataset."""
    if y is not None:
        raise TreatmentError("A tf.data.Dataset brings its own targets: give no y beside it.")
    empty = True
    for batch in dataset:
        empty = False
        yield keras.utils.unpack_x_y_sample_weight(batch)
    if empty:
        raise TreatmentError("The dataset has no batches.")


def _arrays(*parts: Any) -> tuple[Batch, int]:
    """Inputs, targets and weights as numpy arrays, and how many rows they have in common."""
    leaves = [leaf for leaf in keras.tree.flatten(parts) if leaf is not None]
    counts = {int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in leaves}
    if len(counts) != 1 or counts == {0}:
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves}))
        raise TreatmentError(f"x and y need one common number of rows, and have {sorted(counts)} ({kinds}).")
    arrays = keras.tree.map_structure(lambda leaf: None if leaf is None else np.asarray(leaf), of_numbers(parts))
    return arrays, counts.pop()


def of_numbers(values: Any) -> Any:
    """Any nesting of arrays with each `pandas.DataFrame` and `Series` as an array; other leaves stay as they are.

    Columns of several types become numbers of Keras' precision, as in `fit`.

    Raises:
        TreatmentError: a column has values that are no numbers.
    """
    return keras.tree.map_structure(_of_numbers, values)


def _of_numbers(leaf: Any) -> Any:
    if not hasattr(leaf, "to_numpy"):
        return leaf
    values = leaf.to_numpy()
    try:
        return values if values.dtype != object else values.astype(keras.config.floatx())
    except (TypeError, ValueError) as error:
        raise TreatmentError(
            f"A {type(leaf).__name__} has values that are no numbers ({error}): encode them first, for instance with "
            "pandas.get_dummies or keras.layers.StringLookup."
        ) from error


def _taken(parts: Batch, rows: Any) -> Batch:
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[rows], parts)
