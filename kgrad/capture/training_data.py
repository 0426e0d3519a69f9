"""What the arrays that a fit was given look like as a whole: one batch of data in order shows a corner of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kgrad.capture.frames import stack
from kgrad.log.batch import MOST_NUMBERS, WHOLE, BatchFacts

# Keras' own default for arrays.
_USUAL_BATCH = 32


def facts_of_fit() -> BatchFacts | None:
    """The facts of the rows that the `Model.fit` above trains on, `None` where they are no arrays.

    Keras tells a callback nothing of the data; they stand in the frame of `fit`, the rows of `validation_split` already
    cut off. Data sets and generators are left alone: reading them would change what the training gets.
    """
    given = _given_to_fit()
    facts = facts_of_arrays(given.get("x"), given.get("y"), given.get("sample_weight"))
    return replace(facts, weighted=True) if facts and given.get("class_weight") is not None else facts


def batch_size_of_fit() -> int | None:
    """The `batch_size` that the `Model.fit` above cuts its arrays into, `None` where it was given anything else."""
    given = _given_to_fit()
    return int(given.get("batch_size") or _USUAL_BATCH) if _arrays(given.get("x")) else None


def _given_to_fit() -> Mapping[str, Any]:
    """The arguments of the `Model.fit` above, by name; empty where there is none."""
    given = next((frame.f_locals for frame in stack() if frame.f_code.co_name == "fit"), {})
    return given if "epoch_iterator" in given else {}


def facts_of_arrays(x: Any, y: Any = None, sample_weight: Any = None) -> BatchFacts | None:
    """The facts of inputs, targets and weights as `Model.fit` takes them, `None` where one of them is no array."""
    inputs, targets, weights = (_named(each) for each in (x, y, sample_weight))
    if not inputs or targets is None:
        return None
    facts = BatchFacts.of(WHOLE, inputs, targets, weights)
    return replace(facts, rows=int(keras.tree.flatten(x)[0].shape[0]))


def _named(nested: Any) -> dict[str, NDArray[Any]] | None:
    """Evenly spaced rows of each array by its name; `None` where one is no array."""
    arrays = _arrays(nested)
    return None if arrays is None else {name: _some_rows(leaf) for name, leaf in arrays.items()}


def _arrays(nested: Any) -> dict[str, Any] | None:
    """Each array by its name, `""` where there is only one; `None` where one is no array."""
    if nested is None:
        return {}
    entries = nested if isinstance(nested, Mapping) else dict(enumerate(keras.tree.flatten(nested)))
    if any(not _is_array(leaf) for leaf in entries.values()):
        return None
    alone = len(entries) == 1 and not isinstance(nested, Mapping)
    return {"" if alone else str(name): leaf for name, leaf in entries.items()}


def _is_array(leaf: Any) -> bool:
    known = isinstance(leaf, np.ndarray | tf.Tensor | tf.Variable) or hasattr(leaf, "to_numpy")  # as pandas has
    return bool(known and len(leaf.shape) >= 1 and leaf.shape[0])


def _some_rows(leaf: Any) -> NDArray[Any]:
    values = np.asarray(leaf)
    most = max(1, MOST_NUMBERS // max(1, int(np.prod(values.shape[1:]))))
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.int64)]
