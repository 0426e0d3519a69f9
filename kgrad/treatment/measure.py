"""One number by which models with different losses and penalties are compared on the same rows."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.treatment.batches import Batch
from kgrad.treatment.tally import Tally

# Of a mean of cross-entropies in float32 (own choice: eight spacings of numbers near 1).
_ROUNDING = 1e-6
# Share of the loss that a change of a model which showed nothing has to take away (own choice).
_FAR = 0.1


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
        own_loss: the loss that this model itself was compiled with; `None` where it was not measured.
    """

    loss: float | None
    accuracy: float | None
    r_squared: float | None = None
    rounded: float | None = None
    own_loss: float | None = None


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

    def of(self, model: keras.Model, own: bool = False) -> Score:
        """The score of a model that takes the same rows.

        The loss is that of `evaluate` without penalties: softmax and sigmoid outputs are taken as logits again, where
        Keras does so, and weights of rows count.

        Args:
            model: the compiled model.
            own: whether to measure the loss that it was itself compiled with, too.
        """
        same = tuple(model.outputs[0].shape[1:]) == self._shape and _takes_logits(model) == self._logits
        given = self._model._compile_loss if same else None
        forward = _forward(model, (given, model._compile_loss if own else None))
        rows, losses, tally = [], [], Tally(_takes_logits(model))
        for batch in self._batches:
            out, *both = forward(*batch)
            rows.append(len(keras.tree.flatten(batch[0])[0]))
            losses.append([math.nan if each is None else float(each) for each in both])
            tally.add(batch[1], out)
        self.rows = sum(rows)
        means = np.average(losses, axis=0, weights=rows)
        by_given, by_own = (float(each) if math.isfinite(each) else math.inf for each in means)
        loss = None if given is None else by_given
        accuracy = tally.accuracy
        values = (None, None) if accuracy is not None else (tally.r_squared, tally.rounded)
        return Score(loss, accuracy, *values, own_loss=by_own if own else None)


def _forward(model: keras.Model, judges: Sequence[Any]) -> Callable[[Any, Any, Any], tuple[Any, ...]]:
    """The predictions for a batch, and what each of some compiled losses says of them."""

    def forward(x: Any, y: Any, weights: Any) -> tuple[Any, ...]:
        out = model(x, training=False)
        return out, *(None if each is None else each(y, out, weights) for each in judges)

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


def by_own_loss(score: Score) -> Score:
    """The same, to be compared with a model of the same loss, which is not that of the given one."""
    return replace(score, loss=score.own_loss)


def is_less_right(new: Score, old: Score, rows: int) -> bool:
    """Whether a model is right about fewer rows, beyond the noise that `is_better` counts."""
    if new.accuracy is None or old.accuracy is None:
        return False
    return old.accuracy - new.accuracy > _noise(new.accuracy, old.accuracy, rows)


def is_far_better(new: Score, old: Score, rows: int) -> bool:
    """Whether a better model is worth a change of one that showed nothing: more right beyond noise, or far less loss.

    >>> [is_far_better(each, Score(0.37, 0.8), 150) for each in (Score(0.35, 0.81), Score(0.35, 0.95))]
    [False, True]
    """
    if is_less_right(old, new, rows) or new.loss is None or old.loss is None or math.isinf(old.loss):
        return True
    return old.loss - new.loss > _FAR * abs(old.loss)


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


def right_share(model: keras.Model, batches: Iterable[Batch]) -> float | None:
    """The accuracy of a model that was compiled without one; `None` where the targets are no classes."""
    tally = Tally(_takes_logits(model))
    for x, y, _ in batches:
        tally.add(y, model.predict_on_batch(x))
    return tally.accuracy
