"""What a training batch looked like: numbers about inputs and targets, never the data itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The source of facts that hold for all that was trained on, and not for one batch.
WHOLE = "training arrays"
# The source of facts whose targets are those of several batches.
SAMPLE = "training batches"
# Facts of so many numbers are worked out in a tenth of a second; of more, some rows are taken.
MOST_NUMBERS = 1_000_000
# More distinct values than this are not counted: no set of classes is that large in one small batch.
_MOST_DISTINCT = 1000
# The smallest pictures that people train on, 8 by 8.
_SMALLEST_PICTURE = 64


@dataclass(frozen=True)
class TensorFacts:
    """One input or target tensor over the rows of a batch.

    Attributes:
        name: the name of the input or output, `""` where there is only one.
        shape: its shape without the axis of rows.
        dtype: its dtype.
        minimum: smallest finite element; `None` where no element is finite.
        maximum: largest finite element.
        mean: mean of the finite elements.
        std: population standard deviation of the finite elements.
        feature_std_minimum: smallest standard deviation of a feature (last axis) that is not constant.
        feature_std_maximum: largest standard deviation of a feature.
        feature_mean_maximum: largest magnitude among the features' means.
        constant_features: how many features have one value in all rows.
        features: size of the last axis, 1 for a plain vector of numbers.
        nonfinite: how many elements are NaN or infinite.
        integers: whether all finite elements are whole numbers.
        distinct: how many distinct values there are, `None` for more than 1,000.
        one_hot: whether every row (over the last axis) holds one 1 and zeros.
        row_sums_one: whether every row (over the last axis) is non-negative and sums to 1.
        rows: how many rows (over all axes but the last) there were.
        feature_variance: mean over the features (last axis) of their unbiased variance; `None` for one row. This and
            what follows are worked out for targets only.
        absolute_deviation: mean distance of the elements from the median of their feature; `None` for one row.
        feature_entropy: mean over the features of the entropy in nats of a coin that falls as their mean; `None` where
            an element is outside 0 to 1.
        label_entropy: entropy in nats of the shares of the classes, for rows that sum to 1 and for one column of whole
            numbers from 0; `None` for anything else.
        element_entropy: mean over the elements of the entropy of a coin that falls as each of them, 0 for zeros and
            ones; `None` where an element is outside 0 to 1.
        row_entropy: mean entropy of the rows, for rows that sum to 1, 0 for rows of one 1; `None` for anything else.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    feature_std_minimum: float | None = None
    feature_std_maximum: float | None = None
    feature_mean_maximum: float | None = None
    constant_features: int = 0
    features: int = 1
    nonfinite: int = 0
    integers: bool = False
    distinct: int | None = None
    one_hot: bool = False
    row_sums_one: bool = False
    rows: int = 0
    feature_variance: float | None = None
    absolute_deviation: float | None = None
    feature_entropy: float | None = None
    label_entropy: float | None = None
    element_entropy: float | None = None
    row_entropy: float | None = None

    @property
    def are_pixels(self) -> bool:
        """Whether these are raw pixels: whole numbers of a byte, or numbers that fill it, as enlarged pictures do.

        In rows as large as the smallest pictures, laid flat or not; short last axes are those of colours.
        """
        if self.minimum is None or self.maximum is None or not (self.minimum >= 0 and 64 < self.maximum <= 255):
            return False
        fill = self.integers or (self.minimum == 0 and self.maximum > 0.9 * 255)
        colours = len(self.shape) < 2 or self.features in (1, 3, 4) or self.features**2 >= _SMALLEST_PICTURE
        return fill and colours and math.prod(self.shape) >= _SMALLEST_PICTURE

    @classmethod
    def of(cls, name: str, values: NDArray[Any], target: bool = False) -> "TensorFacts":
        """The facts of an array whose first axis is rows.

        Args:
            name: of the input or output.
            values: the array.
            target: whether to work out what the best constant and a perfect answer to it leave of the usual losses.

        >>> TensorFacts.of("", np.eye(3)).one_hot
        True
        """
        shape, dtype = tuple(int(axis) for axis in values.shape[1:]), str(values.dtype)
        if not np.issubdtype(values.dtype, np.number) and values.dtype != np.bool_:
            return cls(name, shape, dtype)
        flat = values.astype(np.float64).reshape(-1, shape[-1] if shape else 1)
        finite = flat[np.isfinite(flat)]
        if not finite.size:
            return cls(name, shape, dtype, features=flat.shape[1], nonfinite=flat.size)
        known = np.where(np.isfinite(flat), flat, finite.mean())
        spread, middle = known.std(axis=0), np.abs(known.mean(axis=0))
        varies = known.max(axis=0) > known.min(axis=0)
        distinct = np.unique(finite)
        sums_one = bool(shape and shape[-1] > 1 and known.min() >= 0 and np.allclose(known.sum(axis=1), 1, atol=1e-4))
        return cls(
            name,
            shape,
            dtype,
            minimum=float(finite.min()),
            maximum=float(finite.max()),
            mean=float(finite.mean()),
            std=float(finite.std()),
            feature_std_minimum=float(spread[varies].min()) if varies.any() else 0.0,
            feature_std_maximum=float(spread.max()),
            feature_mean_maximum=float(middle.max()),
            constant_features=int((~varies).sum()),
            features=int(flat.shape[1]),
            nonfinite=int(flat.size - finite.size),
            integers=bool((distinct == np.round(distinct)).all()),
            distinct=len(distinct) if len(distinct) <= _MOST_DISTINCT else None,
            one_hot=sums_one and set(distinct.tolist()) <= {0.0, 1.0},
            row_sums_one=sums_one,
            rows=len(known),
            **(_answers(known, sums_one) if target else {}),
        )


def _answers(values: NDArray[np.float64], sums_one: bool) -> dict[str, float | None]:
    """What the best constant and a perfect answer leave of the usual losses; `values` is `(rows, features)`."""
    found = {**_spread(values), **_coins(values), "label_entropy": _label_entropy(values, sums_one)}
    return found | ({"row_entropy": float(-times_log(values).sum(axis=1).mean())} if sums_one else {})


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    distance = np.abs(values - np.median(values, axis=0))
    return {
        "feature_variance": float(values.var(axis=0, ddof=1).mean()),
        "absolute_deviation": float(distance.mean()),
    }


def _coins(values: NDArray[np.float64]) -> dict[str, float]:
    """Entropies of coins that fall as the features' means and as the elements do, where all lie from 0 to 1.

    The means count half a row each of 0 and 1 besides (Jeffreys' prior).
    """
    if values.min() < 0 or values.max() > 1:
        return {}
    mean = (values.sum(axis=0) + 0.5) / (len(values) + 1)
    return {"feature_entropy": _coin(mean), "element_entropy": _coin(values)}


def _coin(shares: NDArray[np.float64]) -> float:
    return float(-(times_log(shares) + times_log(1 - shares)).mean())


def times_log(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """`x log x`, 0 at 0."""
    return np.asarray(values * np.log(np.where(np.asarray(values) > 0, values, 1.0)))


def _label_entropy(values: NDArray[np.float64], sums_one: bool) -> float | None:
    """Entropy of the shares of the classes, with the correction of Miller (1955) for few rows."""
    if sums_one:
        shares = values.mean(axis=0)
    elif values.shape[1] == 1 and values.min() >= 0 and (values == np.round(values)).all():
        shares = np.unique(values, return_counts=True)[1] / len(values)
    else:
        return None
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * len(values)))


@dataclass(frozen=True)
class BatchFacts:
    """The reference batch of a run, or all its data.

    Attributes:
        source: `"first training batch"`, `"given"`, `SAMPLE` where the targets are of several batches, or `WHOLE` for
            all rows (or, of very many, evenly spaced ones).
        rows: how many rows were looked at (for their targets), or of `WHOLE` how many there are.
        inputs: one entry per input tensor.
        targets: one entry per target tensor; empty where the training has none.
        weighted: whether the rows count differently, by `sample_weight` or `class_weight`, or by other than 1.
    """

    source: str
    rows: int
    inputs: tuple[TensorFacts, ...]
    targets: tuple[TensorFacts, ...] = ()
    weighted: bool = False

    @classmethod
    def of(
        cls,
        source: str,
        inputs: Mapping[str, NDArray[Any]],
        targets: Mapping[str, NDArray[Any]],
        weights: Mapping[str, NDArray[Any]] | None = None,
    ) -> "BatchFacts":
        """The facts of a batch, given as arrays by name."""
        rows = next((len(values) for values in inputs.values()), 0)
        weighted = any((np.asarray(each) != 1).any() for each in (weights or {}).values())
        return cls(source, rows, _facts(inputs), _facts(targets, target=True), weighted)

    def with_targets(self, source: str, targets: Mapping[str, NDArray[Any]], is_weighted: bool) -> "BatchFacts":
        """The same, with the targets of these arrays; weighted also where those rows were."""
        rows = next((len(values) for values in targets.values()), 0)
        weighted = self.weighted or is_weighted
        return replace(self, source=source, rows=rows, targets=_facts(targets, target=True), weighted=weighted)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BatchFacts":
        """The facts as `to_dict` wrote them."""
        weighted = bool(data.get("weighted"))
        return cls(data["source"], data["rows"], _loaded(data["inputs"]), _loaded(data["targets"]), weighted)

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain JSON types."""
        return asdict(self)


def _facts(arrays: Mapping[str, NDArray[Any]], target: bool = False) -> tuple[TensorFacts, ...]:
    return tuple(TensorFacts.of(name, np.asarray(values), target) for name, values in arrays.items())


def _loaded(items: Sequence[Mapping[str, Any]]) -> tuple[TensorFacts, ...]:
    return tuple(TensorFacts(**{**item, "shape": tuple(item["shape"])}) for item in items)
