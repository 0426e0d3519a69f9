"""Small variables of one shape are reduced together.

A model of many layers has many biases, scales and small kernels of a few shapes. Those of one shape are stacked and
reduced as one tensor: fewer operations to trace and to launch. Large ones are left alone: copying them costs more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Elements of the largest variable that is copied into a stack. With all statistics of 19 variables, stacks of 1,024
# elements take half the time, of 2,048 as long, and of 4,096 three times as long (CPU time, two cores).
_LARGEST = 1024


@dataclass(frozen=True)
class Piece:
    """One variable, or several of one shape.

    Attributes:
        values: of one variable as they are; of several flat, shape `(variables, elements)`.
        axis: the axes that a statistic is reduced over: all (`None`), or 1.
    """

    values: tf.Tensor
    axis: int | None = None

    def half_squares(self) -> tf.Tensor:
        """Half the sum of squares; of several variables the whole sums, which `Stacks.by_variable` halves."""
        return tf.nn.l2_loss(self.values) if self.axis is None else tf.reduce_sum(tf.square(self.values), self.axis)

    def reduced(self, reduce: Callable[[tf.Tensor, int | None], tf.Tensor]) -> tf.Tensor:
        """A number for each variable, float32."""
        return tf.cast(reduce(self.values, self.axis), tf.float32)

    def like(self, values: tf.Tensor) -> "Piece":
        """Other values of the same variables."""
        return Piece(values, self.axis)


class Stacks:
    """Which variables are reduced together, and where the number of each lies in a row.

    Args:
        gradients: one for each variable; `None` where there is none.
        variables: the variables, or tensors of their shapes.
    """

    def __init__(self, gradients: Sequence[tf.Tensor | None], variables: Sequence[Any]) -> None:
        kinds: dict[Any, list[int]] = {}
        for place, (gradient, variable) in enumerate(zip(gradients, variables, strict=True)):
            kinds.setdefault(_kind(place, gradient, variable), []).append(place)
        self._together = [places for places in kinds.values() if len(places) > 1]
        stacked = [place for places in self._together for place in places]
        self._alone = [place for place in range(len(variables)) if place not in set(stacked)]
        self._position = np.argsort(np.array([*self._alone, *stacked], dtype=np.int64))

    def pieces(self, tensors: Sequence[tf.Tensor | None]) -> list[Piece | None]:
        """The tensors of the variables put together; `None` for one that is missing."""
        alone = [None if tensors[place] is None else Piece(tensors[place]) for place in self._alone]
        return [*alone, *(Piece(_stacked([tensors[place] for place in places]), 1) for places in self._together)]

    def vector(self, numbers: Sequence[Any]) -> tf.Tensor:
        """The numbers of the pieces as one vector, in a row's order, float32."""
        scalars, vectors = list(numbers[: len(self._alone)]), list(numbers[len(self._alone) :])
        joined = [tf.stack(scalars), *vectors] if scalars else vectors
        return joined[0] if len(joined) == 1 else tf.concat(joined, 0)

    def by_variable(self, numbers: NDArray[Any], halved: bool = False) -> NDArray[Any]:
        """The numbers of rows in the order of the variables.

        Args:
            numbers: in a row's order, shape `(..., variables)`.
            halved: whether they come from `Piece.half_squares`.
        """
        ordered = numbers[..., self._position]
        return np.where(self._position >= len(self._alone), ordered / 2.0, ordered) if halved else ordered


def _kind(place: int, gradient: tf.Tensor | None, variable: Any) -> Any:
    """What variables of one stack have in common; a kind of its own for what stays alone."""
    if gradient is None or not gradient.shape.is_fully_defined() or gradient.shape.num_elements() > _LARGEST:
        return place
    return tuple(gradient.shape), tuple(variable.shape), str(variable.dtype)


def _stacked(tensors: list[tf.Tensor]) -> tf.Tensor:
    stack = tf.stack(tensors)
    return stack if stack.shape.rank == 2 else tf.reshape(stack, [len(tensors), -1])
