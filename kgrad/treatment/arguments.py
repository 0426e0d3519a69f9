"""What `apply`, `dry_run`, `trial` and `treat` are called with, checked before anything is trained."""

import contextlib
import numbers
import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.errors import TreatmentError

_AROUND = ("in user code:", "File ", "Exception encountered", "ValueError: Exception encountered", "Arguments received")


def chosen_of(prescriptions: Any) -> tuple[Prescription, ...]:
    """One prescription or several as a tuple.

    Raises:
        TreatmentError: it is something else.
    """
    if isinstance(prescriptions, Prescription):
        return (prescriptions,)
    several = isinstance(prescriptions, Iterable) and not isinstance(prescriptions, (str, bytes, dict))
    chosen = tuple(prescriptions) if several else (prescriptions,)
    wrong = next((each for each in chosen if not isinstance(each, Prescription)), None)
    if wrong is not None or not several:
        raise TreatmentError(
            f"prescriptions: got {_named(prescriptions if not several else wrong)}; expected a kgrad Prescription or a "
            "list of them, such as examination.prescriptions[0]."
        )
    return chosen


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """A whole number that is large enough; numpy's and floats without a fraction are taken too.

    >>> whole_number("steps", 10.0)
    10

    Raises:
        TreatmentError: it is none.
    """
    whole = isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1
    if not whole or value < least:
        raise TreatmentError(f"{name}={value!r}: expected a whole number from {least} on.")
    return int(value)


def seeds_of(seeds: Any) -> tuple[int, ...]:
    """How many seeds, or which, as a tuple of different whole numbers.

    Raises:
        TreatmentError: there is none, or two are the same.
    """
    listed = isinstance(seeds, Iterable) and not isinstance(seeds, (str, bytes, dict))
    numbered = tuple(seeds) if listed else range(whole_number("seeds", seeds))
    chosen = tuple(whole_number("seeds", each, 0) for each in numbered)
    if not chosen or len(set(chosen)) < len(chosen):
        raise TreatmentError(f"seeds={seeds!r}: expected how many, or a list of one seed or more, all different.")
    return chosen


def check_model(model: Any) -> None:
    """Refuses what is no model.

    Raises:
        TreatmentError: it is none.
    """
    if not isinstance(model, keras.Model):
        raise TreatmentError(f"model: got {_named(model)}; expected a built and compiled keras.Model.")


def check_data(model: keras.Model, x: Any, y: Any) -> None:
    """Refuses data that cannot be cut into batches, and arrays without targets for a model that has a loss.

    Raises:
        TreatmentError: the data are such.
    """
    if isinstance(x, tf.data.Dataset):
        return
    if not all(hasattr(leaf, "shape") or isinstance(leaf, (list, numbers.Real)) for leaf in keras.tree.flatten(x)):
        raise TreatmentError(
            f"x: got {_named(x)}; expected arrays or a tf.data.Dataset of batches. A generator or a PyDataset becomes "
            "one with tf.data.Dataset.from_generator."
        )
    if y is None and model.loss is not None:
        raise TreatmentError(
            f"{model.name!r} is compiled with a loss, and there are no targets: give y beside x, or a "
            "tf.data.Dataset of (x, y)."
        )


@contextlib.contextmanager
def fitting_data(model: keras.Model) -> Iterator[None]:
    """Whatever Keras says of data that the model does not take is told as what it is.

    Raises:
        TreatmentError: the model does not take them.
    """
    try:
        yield
    except TreatmentError:
        raise
    except Exception as error:
        shapes = [
            "(" + ", ".join("rows" if size is None else str(size) for size in each.shape) + ")" for each in model.inputs
        ]
        raise TreatmentError(
            f"{model.name!r} does not take these data. It expects batches of inputs of shape {', '.join(shapes)} with "
            f"targets for its loss; Keras says {_sentence(error)}"
        ) from error


def _sentence(error: Exception) -> str:
    """What an error says, without what TensorFlow and Keras put around it."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    behind_file = [False, *(line.startswith("File ") for line in lines)]  # a line of code
    told = [line for line, code in zip(lines, behind_file, strict=False) if line and not code]
    told = [line for line in told if not line.startswith(_AROUND)]
    return f"{type(error).__name__}: {told[0] if told else ''}"


def _named(value: Any) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 40 else shown[:40] + '...'}"
