"""The data and arguments of `fit` as `treat` was given them, taken apart."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from kgrad.treatment.arguments import whole_number
from kgrad.treatment.batches import WholeSet, endless, measured, of_numbers, validation_batches
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.watch import Data


def given_data(x: Any, y: Any, fit_arguments: Mapping[str, Any]) -> Data:
    """What to train on, what to validate on, and the other arguments; a `validation_split` is made here.

    Args:
        x: arrays, or a `tf.data.Dataset` of batches.
        y: targets; `None` for a dataset.
        fit_arguments: of `fit`.

    Raises:
        TreatmentError: an argument cannot be, or the rows do not fit each other.
    """
    rest = dict(fit_arguments)
    x, y = of_numbers(x), of_numbers(y)
    rest["callbacks"] = _listed(rest.get("callbacks"))
    for name in ("epochs", "batch_size", "steps_per_epoch", "validation_steps", "validation_batch_size"):
        if rest.get(name) is not None:
            rest[name] = whole_number(name, rest[name])
    batch_size = rest.get("batch_size") or 32
    validation, share = rest.pop("validation_data", None), rest.pop("validation_split", None) or 0.0
    if isinstance(validation, (tuple, list)):
        validation = tuple(of_numbers(part) for part in validation)
    if not 0 <= share < 1:
        raise TreatmentError(f"validation_split={share!r}: expected a share from 0 to 1.")
    if validation is None and share > 0:
        if isinstance(x, tf.data.Dataset):
            raise TreatmentError("validation_split cannot cut a tf.data.Dataset: give validation_data.")
        (x, y, weights), validation = _cut((x, y, rest.pop("sample_weight", None)), share)
        if weights is not None:
            rest["sample_weight"] = weights
    return Data(x, y, validation, rest, batch_size, _steps_per_epoch(x, y, batch_size, rest))


def measured_on(data: Data) -> WholeSet | list[Any]:
    """The batches to compare models on: all validation data, or up to 1,024 rows of the training data."""
    if data.validation is None:
        return measured(data.x, data.y, data.batch_size, data.arguments.get("sample_weight"))
    size = data.arguments.get("validation_batch_size") or data.batch_size
    return validation_batches(data.validation, size, data.arguments.get("validation_steps"))


def _listed(callbacks: Any) -> list[Any]:
    """`fit` takes one callback, some, or a `CallbackList`."""
    held = getattr(callbacks, "callbacks", callbacks)
    if held is None:
        return []
    return list(held) if isinstance(held, Iterable) else [held]


def _cut(parts: tuple[Any, Any, Any], share: float) -> tuple[tuple[Any, Any, Any], tuple[Any, ...]]:
    """The last rows are for validation, as Keras has it."""
    place = math.floor(len(keras.tree.flatten(parts[0])[0]) * (1 - share))
    kept, cut = (
        tuple(
            keras.tree.map_structure(lambda leaf, rows=rows: None if leaf is None else leaf[rows], part)
            for part in parts
        )
        for rows in (slice(None, place), slice(place, None))
    )
    return kept, cut if cut[2] is not None else cut[:2]


def _steps_per_epoch(x: Any, y: Any, batch_size: int, arguments: Mapping[str, Any]) -> int:
    if arguments.get("steps_per_epoch"):
        return arguments["steps_per_epoch"]
    if isinstance(x, tf.data.Dataset):
        known = int(x.cardinality())
        if known <= 0:
            raise TreatmentError("The dataset does not know its length; give steps_per_epoch.")
        return known
    next(endless(x, y, batch_size, 0, arguments.get("sample_weight")))  # says what is wrong with the rows
    return math.ceil(len(keras.tree.flatten(x)[0]) / batch_size)
