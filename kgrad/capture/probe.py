"""A probe: what gradients alone do not show, taken on one reference batch.

The probe runs the model on its own: under `tf.function`, with its own `tf.GradientTape`, inside a
`keras.StatelessScope`, which turns every assignment to a Keras variable (moving statistics, seeds, metrics)
into a value that is thrown away. What escapes that scope (a layer that assigns a plain `tf.Variable`, a
`tf.random.Generator`) is found by reading the traced graph, and refused before it runs once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.capture.activations import ActivationStatistics, as_row, statistics_of
from kgrad.capture.curvature import DEFAULT_BASIS_BYTES, Curvature, extreme_eigenvalues
from kgrad.capture.graphs import run_traced, summary_of, traced_without_writing
from kgrad.capture.hessian import CurvatureUnavailable, HessianProduct
from kgrad.capture.layer_calls import LayerCall, is_reachable, named_layers, recorded
from kgrad.capture.probe_batch import bounded, nbytes
from kgrad.capture.topology import unique_names
from kgrad.errors import CaptureError

# Relative rounding unit of bfloat16, which keeps 8 bits.
_BFLOAT16_UNIT = 2.0**-7


class Probe:
    """Activation statistics, gradient norms and curvature of a model on a fixed reference batch.

    Every method looks at the model's current weights and leaves weights, optimizer, metrics, moving
    statistics and seeds as they are, bit for bit. Graphs are traced at the first call of each method (that
    costs seconds), again after `compile` or a change of what is trainable, and kept.

    A loss that a custom `train_step` computes by itself, without `compute_loss`, is not seen.

    Attributes:
        rows: how many rows of the batch are kept.
        nbytes: the memory they take.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        max_rows: int = 256,
        max_bytes: int = 64 << 20,
        layer_names: Mapping[int, str] | None = None,
    ) -> None:
        """Copies rows, evenly spaced over the batch, and nothing more.

        Args:
            model: a built model.
            x: input of the model: an array or tensor, or any nesting of them; the first axis is rows.
            y: targets, likewise; `None` where the loss needs none.
            sample_weight: weights, likewise.
            max_rows: how many rows are kept at most.
            max_bytes: how much memory they may take at most.
            layer_names: names to use instead of the probe's own, by `id(layer)`.

        Raises:
            CaptureError: the model is not built, or the batch cannot be cut (ragged, sparse, no rows, one
                row larger than `max_bytes`).
        """
        if not model.built:
            raise CaptureError("The probe needs a built model: call it on a batch, or fit it, first.")
        self._model = model
        self._batch = bounded((x, y, sample_weight), max_rows, max_bytes)
        leaves = [leaf for leaf in keras.tree.flatten(self._batch) if leaf is not None]
        self.rows = int(leaves[0].shape[0])
        self.nbytes = sum(nbytes(leaf) for leaf in leaves)
        self._layer_names = layer_names or {}
        self._traces: dict[Any, Any] = {}
        self._traced_for: tuple[Any, ...] = ()

    def activation_statistics(self, training: bool = True) -> list[ActivationStatistics]:
        """One row per call of a layer, in the order in which the model calls them.

        Works for every kind of model: while the graph is traced, each layer's `call` notes its output (and
        its activation its input, in Keras' own layers), and is put back. Layers inside loops (the cells of
        recurrent layers) are not seen. Of several outputs the first floating one counts.

        Args:
            training: as the training step sees the model: batch normalization with the batch's statistics,
                dropout on, with the seed of the next step.

        Raises:
            CaptureError: the model cannot be run by the probe, or no layer's output was seen.
        """
        calls, concrete = self._traced(("activations", training), lambda: self._trace_activations(training))
        return [as_row(call, v) for call, v in zip(calls, run_traced(concrete).tolist(), strict=True)]

    def gradient_profile(self, training: bool = True) -> dict[str, float | None]:
        """The gradient's L2 norm by trainable variable (its Keras path, `#2` and so on where paths repeat).

        `None` where the loss does not depend on the variable. No underflow: the square of a gradient of
        1e-30 would be 0 in float32, so each is divided by its largest element first. The loss is not scaled:
        layers that compute in float16 underflow here as they would in training without loss scaling.

        Args:
            training: as the training step sees the model; see `activation_statistics`.

        Raises:
            CaptureError: the model's loss cannot be computed by the probe.
        """
        connected, concrete = self._traced(("gradients", training), lambda: self._trace_gradients(training))
        parts = run_traced(concrete).astype(np.float64)
        names = unique_names([variable.path for variable in self._model.trainable_variables])
        norms = iter(parts[:, 0] * np.sqrt(parts[:, 1]))
        named = zip(names, connected, strict=True)
        return {name: float(next(norms)) if depends else None for name, depends in named}

    def curvature(self, iterations: int = 20, seed: int = 0, max_bytes: int = DEFAULT_BASIS_BYTES) -> Curvature:
        """The extreme eigenvalues of the Hessian of the compiled loss, regularization included.

        The loss is that of `training=False`. With dropout on there is no one loss to have a Hessian, only
        one per mask; and batch normalization by the batch's own statistics couples the rows, so that the
        result would describe this batch rather than the weights. Early in training, while moving
        statistics have not caught up, the two losses differ, and so do their Hessians.

        Args:
            iterations: Lanczos steps; about as many products, and two more.
            seed: of the start vector.
            max_bytes: memory for the Lanczos basis; see `extreme_eigenvalues`.

        Raises:
            CurvatureUnavailable: the loss has no second derivative, or is computed in float16.
            CaptureError: the model's loss cannot be computed by the probe.
        """
        product = self._traced("curvature", self._trace_curvature)
        return extreme_eigenvalues(product, iterations, seed, max_bytes)

    def _trace_activations(self, training: bool) -> tuple[list[LayerCall], Any]:
        seen: list[LayerCall] = []

        def forward() -> Any:
            layers = named_layers(self._model, self._layer_names)
            with keras.StatelessScope(collect_losses=True), recorded(layers) as calls:
                self._predict(training)
            seen[:] = [call for call in calls if is_reachable(call.output) and is_reachable(call.inputs)]
            return tf.stack([statistics_of(call) for call in seen]) if seen else tf.zeros((0, 6))

        concrete = traced_without_writing(forward)
        if not seen:
            raise CaptureError("No activations: the model calls no layer that the probe can see.")
        return seen, concrete

    def _trace_gradients(self, training: bool) -> tuple[list[bool], Any]:
        connected: list[bool] = []

        def profile() -> Any:
            variables = [variable.value for variable in self._model.trainable_variables]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss = self._loss(training)
            gradients = tape.gradient(loss, variables)
            connected[:] = [gradient is not None for gradient in gradients]
            # Converting sums the duplicate rows of an embedding's gradient.
            dense = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients if g is not None]
            return tf.stack([_scaled_square(gradient) for gradient in dense]) if dense else tf.zeros((0, 2))

        return connected, traced_without_writing(profile)

    def _trace_curvature(self) -> HessianProduct:
        types = {layer.compute_dtype for layer in self._model._flatten_layers()}
        if "float16" in types:
            raise CurvatureUnavailable(
                "No curvature: layers compute in float16, where second derivatives underflow unnoticed. "
                "Probe a copy of the model with dtype float32."
            )
        precision = _BFLOAT16_UNIT if "bfloat16" in types else None
        # A loss that fails by itself has no missing second derivative: say the true reason.
        run_traced(traced_without_writing(lambda: self._loss(training=False)))
        return HessianProduct(lambda: self._loss(training=False), self._model.trainable_variables, precision)

    def _predict(self, training: bool) -> Any:
        if getattr(self._model, "_call_has_training_arg", True):
            return self._model(self._batch[0], training=training)
        return self._model(self._batch[0])

    def _loss(self, training: bool) -> Any:
        x, y, sample_weight = self._batch
        # In a StatelessScope Keras looks for regularized weights in the mapping, and only there.
        mapping = [(v, v.value) for v in self._model.trainable_variables if v.regularizer is not None]
        with keras.StatelessScope(mapping, collect_losses=True):
            predicted = self._predict(training)
            return self._model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=sample_weight, training=training)

    def _traced(self, key: Any, trace: Callable[[], Any]) -> Any:
        """What `trace` returns, kept for as long as the model's loss and trainable variables are the same."""
        now = (self._model._compile_loss, *self._model.trainable_variables)
        same = len(now) == len(self._traced_for) and all(a is b for a, b in zip(now, self._traced_for, strict=True))
        if not same:
            self._traces.clear()
            self._traced_for = now
        if key not in self._traces:
            self._build_loss()
            self._traces[key] = trace()
        return self._traces[key]

    def _build_loss(self) -> None:
        """Creates the compiled loss' own metrics, as `fit` does, where nothing was fitted yet."""
        loss = self._model._compile_loss
        if loss is None or loss.built:
            return

        def predict() -> Any:
            with keras.StatelessScope(collect_losses=True):
                return self._predict(training=False)

        # Traced, not run eagerly: only a trace can be checked before it runs.
        predicted = traced_without_writing(predict)()
        try:
            loss.build(self._batch[1], predicted)
        except Exception as error:
            raise CaptureError(f"The probe cannot build this loss: {summary_of(error)}") from error


def _scaled_square(gradient: Any) -> Any:
    """The largest magnitude m, and the sum of the squares of gradient / m; shape `(2,)`."""
    largest = tf.reduce_max(tf.abs(gradient))
    return tf.stack([largest, tf.reduce_sum(tf.square(tf.math.divide_no_nan(gradient, largest)))])
