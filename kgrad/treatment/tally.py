"""How often answers are right and how much of the targets they predict, counted batch by batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# More distinct whole numbers than this are counts or amounts, not classes.
_MOST_CLASSES = 1000


class Tally:
    """Targets and answers of one model, of which no more is kept than is needed: one number a row where there is one.

    Args:
        logits: whether the answers are scores of classes, before a sigmoid.
    """

    def __init__(self, logits: bool) -> None:
        self._logits = logits
        self._comparable = True
        self._rows = self._numbers = self._hits = self._rounded = 0
        self._one_hot = self._whole = self._labels = True
        self._several = False
        self._classes: set[float] = set()
        self._single: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._error = 0.0
        self._mean: NDArray[np.float64] | None = None
        self._scatter: Any = 0.0

    def add(self, wanted: Any, answered: Any) -> None:
        """Counts one batch; several outputs, and targets of another form than the answers, are not comparable."""
        if not (hasattr(wanted, "shape") and hasattr(answered, "shape")):
            self._comparable = False
            return
        truth, out = np.asarray(wanted), np.asarray(answered)
        self._rows += len(truth)
        self._whole = self._whole and bool((truth == np.round(truth)).all())
        self._add_classes(truth, out)
        self._add_values(truth, out)

    @property
    def accuracy(self) -> float | None:
        """Share of right classes; `None` for targets that are no classes."""
        if not self._comparable or not self._rows or not self._labels:
            return None
        if self._several:
            return self._hits / self._numbers if self._one_hot else None
        classes = sorted(self._classes)
        if not self._whole or len(classes) > min(_MOST_CLASSES, self._rows / 4):
            return None
        if not self._single:
            return self._hits / self._numbers if self._numbers and classes[0] >= 0 else None
        if len(classes) != 2:
            return None
        middle = 0.0 if self._logits else sum(classes) / 2
        right = sum(int(((out > middle) == (truth == classes[1])).sum()) for truth, out in self._single)
        return right / sum(truth.size for truth, _ in self._single)

    @property
    def r_squared(self) -> float | None:
        """The coefficient of determination over rows and columns; `None` for answers of another shape."""
        if not self._comparable or self._mean is None:
            return None
        spread = float(np.mean(self._scatter / self._rows))
        error = self._error / (self._rows * self._mean.size)
        if not spread > 0:
            return None
        return 1 - error / spread if np.isfinite(error) else -np.inf

    @property
    def rounded(self) -> float | None:
        """How often the answers, rounded, are the whole numbers that are wanted; `None` for other targets."""
        known = self._comparable and self._mean is not None and self._whole
        return self._rounded / (self._rows * self._mean.size) if known and self._mean is not None else None

    def _add_classes(self, truth: NDArray[Any], out: NDArray[Any]) -> None:
        by_column = truth.ndim > 1 and truth.ndim == out.ndim  # not a class for each step of a sequence
        if by_column and truth.shape[-1] > 1:
            self._several = True
            self._one_hot = self._one_hot and _is_one_hot(truth, out)
            if self._one_hot:
                self._hits += int((out.argmax(-1) == truth.argmax(-1)).sum())
                self._numbers += truth[..., 0].size
            return
        if self._whole and len(self._classes) <= _MOST_CLASSES:
            self._classes |= set(np.unique(truth).tolist())
        truth = truth.reshape(truth.shape[:-1]) if by_column else truth
        if out.shape[:-1] != truth.shape:
            self._labels = False
        elif out.shape[-1] > 1:
            self._hits += int((out.argmax(-1) == truth).sum())
            self._numbers += truth.size
        elif self._whole:
            self._single.append((truth, out[..., 0]))

    def _add_values(self, truth: NDArray[Any], out: NDArray[Any]) -> None:
        """Chan, Golub & LeVeque 1983: the squares about the mean of two parts add up."""
        before = self._rows - len(truth)
        fits = out.size == truth.size and len(out) == len(truth) and (self._mean is not None or not before)
        if not fits or (self._mean is not None and self._mean.shape != truth.shape[1:]):
            self._mean = None
            return
        values = truth.astype(np.float64)
        answers = out.reshape(truth.shape).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            self._error += float(((answers - values) ** 2).sum())
        self._rounded += int((np.round(answers) == truth).sum())
        mean, scatter = values.mean(axis=0), ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        if self._mean is None:
            self._mean, self._scatter = mean, scatter
            return
        gap = mean - self._mean
        self._scatter = self._scatter + scatter + gap**2 * before * len(truth) / self._rows
        self._mean = self._mean + gap * len(truth) / self._rows


def _is_one_hot(truth: NDArray[Any], out: NDArray[Any]) -> bool:
    return out.shape == truth.shape and set(np.unique(truth)) <= {0, 1} and bool((truth.sum(axis=-1) == 1).all())
