"""One number by which models with different losses and penalties are compared on the same rows."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
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
        batches: what all are measured on; gone through for each model.

    Attributes:
        rows: how many rows are measured on; known once a model was.
    """

    def __init__(self, model: keras.Model, batches: Iterable[Batch]) -> None:
        self._model = model
        self._batches = batches
        self._shape = tuple(model.outputs[0].shape[1:])
        self._logits = _takes_logits(model)
        self.rows = 0

    def of(self, model: keras.Model) -> Score:
        """The score of a model that takes the same rows.

        The loss is that of `evaluate` without penalties: softmax and sigmoid outputs are taken as logits again, where
        Keras does so, and weights of rows count.
        """
        same = tuple(model.outputs[0].shape[1:]) == self._shape and _takes_logits(model) == self._logits
        same = same and self._model._compile_loss is not None
        forward = self._forward(model, same)
        rows, losses, wanted, predicted = [], [], [], []
        for batch in self._batches:
            out, loss = forward(*batch)
            rows.append(len(keras.tree.flatten(batch[0])[0]))
            losses.append(float(loss))
            wanted.append(batch[1])
            predicted.append(out)
        self.rows = sum(rows)
        loss = float(np.average(losses, weights=rows)) if same else None
        if loss is not None and not math.isfinite(loss):
            loss = math.inf
        compared = _joined(wanted, predicted)
        if compared is None:
            return Score(loss, None)
        accuracy = _accuracy(*compared, _takes_logits(model))
        if accuracy is not None:
            return Score(loss, accuracy)
        return Score(loss, None, _r_squared(*compared), _rounded(*compared))

    def _forward(self, model: keras.Model, same: bool) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
        """The predictions for a batch and their loss, 0 where it says nothing."""

        def forward(x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
            out = model(x, training=False)
            return out, self._model._compile_loss(y, out, weights) if same else 0.0

        return forward if model.run_eagerly else tf.function(forward, reduce_retracing=True)


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
        gap = new.accuracy - old.accuracy
        if abs(gap) > _noise(new.accuracy, old.accuracy, rows) or not same_loss:
            return gap > 0
    return new.loss is not None and old.loss is not None and new.loss < old.loss


def is_less_right(new: Score, old: Score, rows: int) -> bool:
    """Whether a model is right about fewer rows, beyond the noise that `is_better` counts."""
    if new.accuracy is None or old.accuracy is None:
        return False
    return old.accuracy - new.accuracy > _noise(new.accuracy, old.accuracy, rows)


def _noise(one: float, other: float, rows: int) -> float:
    """Two standard deviations of the difference of two accuracies."""
    middle = (one + other) / 2
    return 2 * math.sqrt(2 * middle * (1 - middle) / rows)


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


def _joined(wanted: Sequence[Any], predicted: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Targets and predictions of all batches; `None` for several outputs and where there are no targets."""
    if not all(hasattr(part, "shape") for part in (*wanted, *predicted)):
        return None
    truth, out = (np.concatenate([np.asarray(each) for each in parts]) for parts in (wanted, predicted))
    return truth, out


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


def accuracy_of_batches(batches: Sequence[tuple[Any, Any]], model: keras.Model) -> float | None:
    """The same over batches of targets and the model's predictions of them."""
    compared = _joined(*zip(*batches, strict=True)) if batches else None
    return None if compared is None else _accuracy(*compared, _takes_logits(model))


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
