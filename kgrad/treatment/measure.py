"""One number by which models with different losses and penalties are compared on the same rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kgrad.treatment.batches import Batch

# More distinct whole numbers than this are counts or amounts, not classes.
_MOST_CLASSES = 1000
# Of a mean of cross-entropies in float32 (own choice: eight spacings of numbers near 1).
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Score:
    """How good a model is on the measured rows.

    Attributes:
        loss: the loss that the given model was compiled with, of this model's predictions, without penalties;
            infinite where it is not finite; `None` where the predictions have another shape or meaning.
        accuracy: share of rows whose class is right; `None` where the targets are no classes.
        r_squared: the share of the targets' variance that is predicted, whatever the loss (1 is all, under 0 is worse
            than their mean); `None` for classes, and where the predictions have another shape.
        rounded: share of whole-numbered targets that the rounded answers hit; `None` for classes, and others.
    """

    loss: float | None
    accuracy: float | None
    r_squared: float | None = None
    rounded: float | None = None


class Measure:
    """Measures models on fixed rows by the loss of the given model and by accuracy.

    Args:
        model: the compiled model that was given.
        batches: what all are measured on.
    """

    def __init__(self, model: keras.Model, batches: Sequence[Batch]) -> None:
        self._model = model
        self._batches = batches
        self._shape = tuple(model.outputs[0].shape[1:])
        self._logits = _takes_logits(model)

    @property
    def rows(self) -> int:
        """How many rows are measured on."""
        return sum(len(keras.tree.flatten(batch[0])[0]) for batch in self._batches)

    def of(self, model: keras.Model) -> Score:
        """The score of a model that takes the same rows."""
        rows = [len(keras.tree.flatten(batch[0])[0]) for batch in self._batches]
        predicted = [model.predict_on_batch(batch[0]) for batch in self._batches]
        same = tuple(model.outputs[0].shape[1:]) == self._shape and _takes_logits(model) == self._logits
        loss = None
        if same:
            losses = [
                float(self._model._compile_loss(y, out, weight))
                for (_, y, weight), out in zip(self._batches, predicted, strict=True)
            ]
            loss = float(np.average(losses, weights=rows))
            loss = loss if math.isfinite(loss) else math.inf
        compared = _joined(self._batches, predicted)
        if compared is None:
            return Score(loss, None)
        accuracy = _accuracy(*compared, _takes_logits(model))
        if accuracy is not None:
            return Score(loss, accuracy)
        return Score(loss, None, _r_squared(*compared), _rounded(*compared))


def badness(score: Score, same_loss: bool) -> float | None:
    """What is compared, less being better: the loss, or what is not predicted where the loss itself was changed.

    >>> badness(Score(0.5, 0.75), True), badness(Score(0.5, 0.75), False), badness(Score(None, None), False)
    (0.5, 0.25, None)
    >>> badness(Score(-7.0, None, 0.75), False)
    0.25
    """
    right = score.r_squared if score.accuracy is None else score.accuracy
    return score.loss if same_loss or right is None else 1 - right


def is_better(new: Score, old: Score, same_loss: bool, rows: int) -> bool:
    """Whether a model is better: by accuracy where that differs beyond noise, else by the loss where it is the same.

    Where the loss was changed and there are no classes, by the share of the targets' variance that is predicted; where
    one answers classes and the other their numbers, by how often each is right.

    Over `rows` rows two accuracies about `p` differ by chance with a standard deviation of `sqrt(2 p (1 - p) / rows)`;
    two of these count as noise. (The rows are the same for both models, so this is on the safe side.)

    >>> [is_better(Score(0.9, each), Score(0.6, 0.75), True, 300) for each in (0.95, 0.76)]
    [True, False]
    """
    if not same_loss and new.r_squared is not None and old.r_squared is not None:
        return new.r_squared > old.r_squared
    one_has_classes = (new.accuracy is None) != (old.accuracy is None)
    if not same_loss and one_has_classes:  # the other answers their numbers
        right, before = (each.rounded if each.accuracy is None else each.accuracy for each in (new, old))
        return right is not None and before is not None and right > before
    if new.loss == math.inf or old.loss == math.inf:
        return old.loss == math.inf and new.loss != math.inf
    if new.accuracy is not None and old.accuracy is not None:
        gap, middle = new.accuracy - old.accuracy, (new.accuracy + old.accuracy) / 2
        if abs(gap) > 2 * math.sqrt(2 * middle * (1 - middle) / rows) or not same_loss:
            return gap > 0
    return new.loss is not None and old.loss is not None and new.loss < old.loss


def are_alike(one: Score, other: Score) -> bool:
    """Whether two models are right about as many rows, with losses that differ by the rounding of float32 alone.

    A cross-entropy near 0 is known to about 1e-7, the spacing of numbers near 1, a few times over.

    >>> are_alike(Score(1.2e-7, 1.0), Score(9e-7, 1.0)), are_alike(Score(1.2e-7, 1.0), Score(1e-4, 1.0))
    (True, False)
    """
    known = one.loss is not None and other.loss is not None and one.accuracy is not None
    return bool(known and one.accuracy == other.accuracy and abs(one.loss - other.loss) <= _ROUNDING)  # type: ignore[operator]


def same_loss(one: keras.Model, other: keras.Model) -> bool:
    """Whether both are compiled with the same loss."""
    return _name(one.loss) == _name(other.loss) and _takes_logits(one) == _takes_logits(other)


def _name(loss: Any) -> str:
    return str(loss) if not callable(loss) else str(getattr(loss, "name", getattr(loss, "__name__", loss)))


def _takes_logits(model: keras.Model) -> bool:
    return isinstance(model.loss, keras.losses.Loss) and bool(model.loss.get_config().get("from_logits"))


def _joined(batches: Sequence[Batch], predicted: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Targets and predictions of all batches; `None` for several outputs and where there are no targets."""
    if not all(isinstance(out, np.ndarray) for out in predicted) or any(batch[1] is None for batch in batches):
        return None
    return np.concatenate([np.asarray(batch[1]) for batch in batches]), np.concatenate(predicted)


def _accuracy(truth: NDArray[Any], out: NDArray[Any], logits: bool) -> float | None:
    """Share of right classes; `None` for targets that are no classes."""
    if truth.ndim > 1 and truth.shape[-1] > 1:
        one_hot = out.shape == truth.shape and set(np.unique(truth)) <= {0, 1} and (truth.sum(axis=-1) == 1).all()
        return float(np.mean(out.argmax(-1) == truth.argmax(-1))) if one_hot else None
    classes = np.unique(truth)
    truth = truth.reshape(truth.shape[:-1]) if truth.ndim > 1 else truth
    if (classes != np.round(classes)).any() or len(classes) > min(_MOST_CLASSES, len(truth) / 4):
        return None
    if out.shape[-1] > 1:
        return float(np.mean(out.argmax(-1) == truth)) if out.shape[:-1] == truth.shape and classes[0] >= 0 else None
    if len(classes) != 2 or out.shape[:-1] != truth.shape:
        return None
    middle = 0.0 if logits else float(classes.mean())
    return float(np.mean((out[..., 0] > middle) == (truth == classes[1])))


def _r_squared(truth: NDArray[Any], out: NDArray[Any]) -> float | None:
    """The coefficient of determination over all rows and columns; `None` where targets and answers differ in shape."""
    if out.size != truth.size or len(out) != len(truth):
        return None
    truth = truth.astype(np.float64)
    spread = float(np.var(truth, axis=0).mean())
    error = float(np.mean((out.reshape(truth.shape) - truth) ** 2))
    if not spread > 0:
        return None
    return 1 - error / spread if math.isfinite(error) else -math.inf


def _rounded(truth: NDArray[Any], out: NDArray[Any]) -> float | None:
    """How often the answers, rounded, are the whole numbers that are wanted."""
    if out.size != truth.size or len(out) != len(truth) or (truth != np.round(truth)).any():
        return None
    return float(np.mean(np.round(out.reshape(truth.shape)) == truth))
