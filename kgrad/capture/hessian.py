"""Hessian-vector products: the Hessian of a loss is never formed, a product with it costs a few gradients.

TensorFlow's second derivatives are not all right (found in 2.21, by finite differences). `tf.nn.moments`
stops a gradient that vanishes in first order and not in second, which makes the Hessian of layer and group
normalization wrong by tens of per cent and leaves it symmetric: it is replaced while the product is traced.
The gradient of bilinear resizing counts as constant: refused. What nothing here can see: another rule that is
wrong and symmetric (`tests/capture/test_hessian.py` lists the layers that were checked); a `stop_gradient` in
the model, after which there is no Hessian; and the kinks of piecewise-linear layers (the Hessian of a ReLU
network is that of the piece on which the weights stand).
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kgrad.capture.graphs import operations_of, summary_of
from kgrad.capture.moments import differentiable_moments
from kgrad.errors import CaptureError

Vector = NDArray[np.float64]

# Gradient operations that TensorFlow declares constant: differentiating again silently loses terms.
_SILENT = frozenset(
    {
        "ResizeBilinearGrad",
        "FakeQuantWithMinMaxArgsGradient",
        "FakeQuantWithMinMaxVarsGradient",
        "FakeQuantWithMinMaxVarsPerChannelGradient",
    }
)


class CurvatureUnavailable(CaptureError):
    """The curvature of this loss cannot be taken; the message says why (*not applicable*, not zero)."""


class HessianProduct:
    """Products of the Hessian of `loss` at the variables' current values with vectors.

    Calling it with a float64 vector of shape `(size,)` returns the product, float64, of the same shape; the
    variables' elements come in the order of `variables`, each flattened row by row. The graph reads the
    variables and writes nothing.

    Reverse-over-reverse first, because it also covers embeddings and loops; where an operation's gradient
    has no gradient, forward-over-reverse.

    Source: Pearlmutter (1994), "Fast exact multiplication by the Hessian".

    Attributes:
        size: number of elements of all variables.
        precision: relative rounding unit of what a product is computed in.
        products: how many products were asked for so far.
        mode: `"reverse over reverse"` or `"forward over reverse"`.
    """

    def __init__(self, loss: Callable[[], Any], variables: Sequence[Any], precision: float | None = None) -> None:
        """Traces the product, and runs it once: some operations fail only then.

        Args:
            loss: computes the scalar loss from the variables' current values; traced, so it must not write.
            variables: Keras or TensorFlow variables of float dtype.
            precision: relative rounding unit, where the loss computes in a coarser type than its variables.

        Raises:
            CurvatureUnavailable: there is nothing to differentiate, or TensorFlow cannot differentiate twice.
        """
        if not variables:
            raise CurvatureUnavailable("No curvature: there is no trainable variable to take it for.")
        self._loss = loss
        self._variables = [v.value if isinstance(v, keras.Variable) else v for v in variables]
        self._sizes = [int(np.prod(v.shape)) for v in self._variables]
        wide = all(v.dtype == tf.float64 for v in self._variables)
        self._dtype = tf.float64 if wide else tf.float32
        self.size = sum(self._sizes)
        self.precision = precision or _precision(wide)
        self.products = 0
        self.mode, self._concrete = self._trace()

    def __call__(self, vector: Vector) -> Vector:
        """The Hessian times `vector`, shape `(size,)`, float64.

        Raises:
            CurvatureUnavailable: the product is not finite or fails while running.
        """
        self.products += 1
        try:
            result: Vector = self._concrete(tf.constant(vector, self._dtype)).numpy().astype(np.float64)
        except tf.errors.OpError as error:
            raise CurvatureUnavailable(f"No curvature: {summary_of(error)}") from error
        if not np.isfinite(result).all():
            raise CurvatureUnavailable("No curvature: the Hessian-vector product is not finite (NaN or Inf).")
        return result

    def _trace(self) -> tuple[str, Any]:
        failures = []
        for mode in (self._reverse_over_reverse, self._forward_over_reverse):
            name = mode.__name__.strip("_").replace("_", " ")
            try:
                concrete = tf.function(mode, autograph=False).get_concrete_function(
                    tf.TensorSpec((self.size,), self._dtype)
                )
                # Loops in forward mode fail only here.
                concrete(tf.zeros((self.size,), self._dtype))
            except Exception as error:  # whatever foreign code raises means: not applicable
                failures.append(f"{name}: {summary_of(error)}")
            else:
                self._refuse_silent_rules(concrete.graph)
                return name, concrete
        raise CurvatureUnavailable("No curvature: the loss has no second derivative. " + "; ".join(failures))

    @staticmethod
    def _refuse_silent_rules(graph: Any) -> None:
        silent = sorted(operations_of(graph) & _SILENT)
        if silent:
            raise CurvatureUnavailable(
                f"No curvature: TensorFlow has no second derivative for {', '.join(silent)}, and takes it for 0."
            )

    def _reverse_over_reverse(self, vector: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(self._variables)
            pairs = zip(self._gradients(), self._split(vector), strict=True)
            slopes = [tf.reduce_sum(g * piece) for g, piece in pairs if g is not None]
            slope = tf.add_n([tf.cast(s, self._dtype) for s in slopes]) if slopes else None
        if slope is None:
            return tf.zeros_like(vector)
        return self._join(outer.gradient(slope, self._variables))

    def _forward_over_reverse(self, vector: Any) -> Any:
        with tf.autodiff.ForwardAccumulator(self._variables, self._split(vector)) as accumulator:
            gradients = self._gradients()
        return self._join([None if g is None else accumulator.jvp(g) for g in gradients])

    def _gradients(self) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            with differentiable_moments():
                loss = self._loss()
        # IndexedSlices (embeddings) become dense: the vector is dense anyway.
        gradients = tape.gradient(loss, self._variables)
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    def _split(self, vector: Any) -> list[Any]:
        pieces = zip(tf.split(vector, self._sizes), self._variables, strict=True)
        return [tf.cast(tf.reshape(piece, v.shape), v.dtype) for piece, v in pieces]

    def _join(self, products: Sequence[Any]) -> Any:
        flat = []
        for product, size in zip(products, self._sizes, strict=True):
            # A variable the gradient does not depend on has rows of zeros.
            dense = tf.zeros((size,), self._dtype) if product is None else tf.convert_to_tensor(product)
            flat.append(tf.cast(tf.reshape(dense, (size,)), self._dtype))
        return tf.concat(flat, axis=0)


def _precision(wide: bool) -> float:
    """Relative rounding unit of float64 or float32 arithmetic, as this machine does it."""
    if wide:
        return float(np.finfo(np.float64).eps)
    # TensorFloat-32 keeps 10 bits of what a GPU multiplies.
    coarse = tf.config.experimental.tensor_float_32_execution_enabled()
    return 2.0**-10 if coarse and tf.config.list_physical_devices("GPU") else float(np.finfo(np.float32).eps)
