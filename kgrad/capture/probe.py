"""A probe: what gradients alone do not show, taken on one reference batch.

The probe runs the model on its own: under `tf.function`, with its own `tf.GradientTape`, inside a
`keras.StatelessScope`, which turns every assignment to a Keras variable (moving statistics, seeds, metrics)
into a value that is thrown away. What escapes that scope (a layer that assigns a plain `tf.Variable`, a
`tf.random.Generator`) is found by reading the traced graph, and refused before it runs once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.capture.curvature import (
    DEFAULT_BASIS_BYTES,
    Curvature,
    CurvatureUnavailable,
    HessianProduct,
    extreme_eigenvalues,
    operations_of,
    summary_of,
)
from kgrad.capture.topology import unique_names
from kgrad.errors import CaptureError

# Operations that leave something behind: in variables, tables, random generators or files.
_WRITING = ("Assign", "Resource", "LookupTableInsert", "LookupTableImport", "Stateful", "Rng", "Write")
_HARMLESS = ("ResourceGather", "StatefulPartitionedCall")

_ACTIVATION_LAYERS = {"Softmax": "softmax", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu"}
# Exactly zero over half of their domain, so a unit can be zero for every row.
_RECTIFIERS = frozenset({"relu", "relu6"})
# A value beyond these lies where the slope is under 2 % of 1 (tanh: 1 - 0.99^2) or under 4 % of its
# greatest, 1/4 (sigmoid: 0.99 * 0.01). A convention, in the manner of Glorot and Bengio (2010), section 3,
# who name no number; kgrad has not calibrated it.
_SATURATED: Mapping[str, Callable[[Any], Any]] = {
    "tanh": lambda y: tf.abs(y) > 0.99,
    "hard_tanh": lambda y: tf.abs(y) > 0.99,
    "sigmoid": lambda y: (y < 0.01) | (y > 0.99),
    "hard_sigmoid": lambda y: (y < 0.01) | (y > 0.99),
}
# Relative rounding unit of bfloat16, which keeps 8 bits.
_BFLOAT16_UNIT = 2.0**-7


@dataclass(frozen=True)
class ActivationStatistics:
    """What one call of one layer put out for the reference batch.

    Attributes:
        layer: the layer's name; a nested one carries its owner, as in `"encoder/dense"`.
        call: counts from 0 the calls of a layer that is used more than once.
        activation: name of its activation, `None` where it has none or where its output is not that
            activation's (LSTM, GRU).
        mean: mean over rows, positions and units.
        std: standard deviation over the same.
        saturated_fraction: share of values at the flat ends of a tanh or sigmoid (|y| > 0.99; y < 0.01 or
            y > 0.99); `None` for every other activation, softmax included.
        dead_fraction: share of units that are exactly zero for every row and position; `None` unless the
            activation is of the ReLU family.
        pre_mean: mean of what went into the activation; `None` where it is not seen.
        pre_std: standard deviation of the same.
    """

    layer: str
    call: int
    activation: str | None
    mean: float
    std: float
    saturated_fraction: float | None
    dead_fraction: float | None
    pre_mean: float | None
    pre_std: float | None


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
        self._batch = _bounded((x, y, sample_weight), max_rows, max_bytes)
        leaves = [leaf for leaf in keras.tree.flatten(self._batch) if leaf is not None]
        self.rows = int(leaves[0].shape[0])
        self.nbytes = sum(_nbytes(leaf) for leaf in leaves)
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
        return [_row(call, v) for call, v in zip(calls, _run(concrete).tolist(), strict=True)]

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
        parts = _run(concrete).astype(np.float64)
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

    def _trace_activations(self, training: bool) -> tuple[list["_Call"], Any]:
        seen: list[_Call] = []

        def forward() -> Any:
            layers = _named_layers(self._model, self._layer_names)
            with keras.StatelessScope(collect_losses=True), _recorded(layers) as calls:
                self._predict(training)
            seen[:] = [call for call in calls if _is_reachable(call.output) and _is_reachable(call.inputs)]
            return tf.stack([_statistics(call) for call in seen]) if seen else tf.zeros((0, 6))

        concrete = _concrete(forward)
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

        return connected, _concrete(profile)

    def _trace_curvature(self) -> HessianProduct:
        types = {layer.compute_dtype for layer in self._model._flatten_layers()}
        if "float16" in types:
            raise CurvatureUnavailable(
                "No curvature: layers compute in float16, where second derivatives underflow unnoticed. "
                "Probe a copy of the model with dtype float32."
            )
        precision = _BFLOAT16_UNIT if "bfloat16" in types else None
        # A loss that fails by itself has no missing second derivative: say the true reason.
        _run(_concrete(lambda: self._loss(training=False)))
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
        predicted = _concrete(predict)()
        try:
            loss.build(self._batch[1], predicted)
        except Exception as error:
            raise CaptureError(f"The probe cannot build this loss: {summary_of(error)}") from error


@dataclass(frozen=True)
class _Call:
    """One call of a layer, as symbolic tensors of the graph that is being traced."""

    layer: str
    index: int
    activation: str | None
    unit_axis: int
    output: Any
    inputs: Any  # of the activation; None where unseen


def _bounded(batch: Any, max_rows: int, max_bytes: int) -> Any:
    """The batch as tensors of its own, cut to rows evenly spaced over it: files are often sorted by class."""
    leaves = [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
    if any(isinstance(leaf, tf.RaggedTensor | tf.SparseTensor) for leaf in leaves):
        raise CaptureError("The probe cannot cut a ragged or sparse batch; give it dense arrays.")
    counts = {int(np.shape(leaf)[0]) for leaf in leaves if np.ndim(leaf)}
    if len(counts) != 1 or counts == {0} or not all(np.ndim(leaf) for leaf in leaves):
        raise CaptureError(f"The probe's arrays need one common number of rows, and have {sorted(counts)}.")
    available = counts.pop()
    row_bytes = sum(_nbytes(leaf) for leaf in leaves) / available
    rows = min(available, max_rows, int(max_bytes / max(row_bytes, 1)))
    if rows < 1:
        raise CaptureError(
            f"The probe keeps no row: one takes {row_bytes:.0f} bytes, max_bytes is {max_bytes} and "
            f"max_rows is {max_rows}."
        )
    kept = np.linspace(0, available - 1, rows).round().astype(np.int64)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, kept), batch)


def _nbytes(leaf: Any) -> int:
    """Memory of an array or tensor, in bytes."""
    if isinstance(leaf, tf.Tensor):
        return int(np.prod(leaf.shape)) * int(leaf.dtype.size or 1)
    return int(np.asarray(leaf).nbytes)


def _concrete(function: Callable[[], Any]) -> Any:
    """The traced function, once it is known to write nothing."""
    try:
        concrete = tf.function(function, autograph=False).get_concrete_function()
    except Exception as error:  # the model's own code can raise anything
        raise CaptureError(f"The probe cannot run this model: {summary_of(error)}") from error
    operations = operations_of(concrete.graph)
    writing = {o for o in operations if o.startswith(_WRITING) and not o.startswith(_HARMLESS)}
    if writing:
        raise CaptureError(
            f"The probe would disturb this model: running it writes state outside Keras variables "
            f"({', '.join(sorted(writing))})."
        )
    return concrete


def _run(concrete: Any) -> Any:
    """The traced function's result as a numpy array."""
    try:
        return concrete().numpy()
    except tf.errors.OpError as error:
        raise CaptureError(f"The probe cannot run this model: {summary_of(error)}") from error


def _named_layers(model: keras.Model, names: Mapping[int, str]) -> list[tuple[str, Any]]:
    """Every layer inside the model but models, inputs and the cells of recurrent layers, each once."""
    found: dict[int, tuple[str, Any]] = {}

    def visit(owner: Any, prefix: str) -> None:
        for layer in owner._flatten_layers(include_self=False, recursive=False):
            if id(layer) in found:
                continue
            if not isinstance(layer, keras.Model | keras.layers.InputLayer):
                found[id(layer)] = (prefix + layer.name, layer)
            if not isinstance(layer, keras.layers.RNN):
                visit(layer, f"{prefix}{layer.name}/")

    visit(model, "")
    unique = unique_names([name for name, _ in found.values()])
    return [(names.get(id(layer), name), layer) for name, (_, layer) in zip(unique, found.values(), strict=True)]


@contextmanager
def _recorded(layers: Sequence[tuple[str, Any]]) -> Iterator[list[_Call]]:
    """A list that fills with the layers' calls, for the length of the block."""
    calls: list[_Call] = []
    with ExitStack() as stack:
        for name, layer in layers:
            stack.enter_context(_watched(layer, name, calls))
        yield calls


@contextmanager
def _watched(layer: Any, name: str, calls: list[_Call]) -> Iterator[None]:
    activation = _activation_name(layer)
    unit_axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    original_call, original_activation = layer.call, vars(layer).get("activation")
    inputs: list[Any] = []
    count = 0

    @wraps(original_call)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        inputs.clear()
        result = original_call(*args, **kwargs)
        output = next((leaf for leaf in keras.tree.flatten(result) if _is_measurable(leaf)), None)
        if output is not None:
            calls.append(_Call(name, count, activation, unit_axis, output, inputs[0] if inputs else None))
            count += 1
        return result

    def activate(value: Any, *args: Any, **kwargs: Any) -> Any:
        inputs.append(value)
        return original_activation(value, *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(_replaced(layer, "call", call))
        # Only in Keras' own layers is it known that the attribute is called, and never compared.
        own = type(layer).__module__.startswith("keras.")
        if own and activation not in (None, "linear") and callable(original_activation):
            stack.enter_context(_replaced(layer, "activation", activate))
        yield


@contextmanager
def _replaced(layer: Any, attribute: str, value: Any) -> Iterator[None]:
    """Puts the value into the instance, past Keras' tracking of attributes, and takes it out again."""
    own = vars(layer)
    before = {attribute: own[attribute]} if attribute in own else {}
    own[attribute] = value
    try:
        yield
    finally:
        del own[attribute]
        own.update(before)


def _is_reachable(tensor: Any) -> bool:
    """Whether the tensor exists in the graph being traced, and not in a loop or branch inside it."""
    return not tf.is_symbolic_tensor(tensor) or tensor.graph is tf.compat.v1.get_default_graph()


def _is_measurable(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor) and bool(leaf.dtype.is_floating) and bool(leaf.shape.rank)


def _activation_name(layer: Any) -> str | None:
    """Name of the activation whose values the layer puts out, `None` where there is none."""
    if isinstance(layer, keras.layers.RNN) and not isinstance(layer, keras.layers.SimpleRNN):
        return None
    if isinstance(layer, keras.layers.ReLU):
        return "leaky_relu" if layer.negative_slope else "relu"
    if type(layer).__name__ in _ACTIVATION_LAYERS:
        return _ACTIVATION_LAYERS[type(layer).__name__]
    activation = getattr(layer, "activation", None)
    if activation is None or isinstance(activation, str):
        return activation
    if isinstance(activation, keras.layers.Layer):
        return _activation_name(activation)
    return str(getattr(activation, "__name__", type(activation).__name__))


def _statistics(call: _Call) -> Any:
    """Mean, standard deviation, saturated share, dead share, and mean and deviation before activation.

    Shape `(6,)`, float32; 0 stands where `_row` puts `None`.
    """
    output = tf.cast(call.output, tf.float32)
    zero = tf.constant(0.0)
    saturated = dead = zero
    flat_end = _SATURATED.get(call.activation or "")
    if flat_end is not None:
        saturated = tf.reduce_mean(tf.cast(flat_end(output), tf.float32))
    if call.activation in _RECTIFIERS:
        others = [axis for axis in range(output.shape.rank) if axis != call.unit_axis % output.shape.rank]
        dead = tf.reduce_mean(tf.cast(tf.reduce_all(output == 0, axis=others), tf.float32))
    inputs = None if call.inputs is None else tf.cast(call.inputs, tf.float32)
    before = [zero, zero] if inputs is None else [tf.reduce_mean(inputs), tf.math.reduce_std(inputs)]
    return tf.stack([tf.reduce_mean(output), tf.math.reduce_std(output), saturated, dead, *before])


def _row(call: _Call, values: Sequence[float]) -> ActivationStatistics:
    return ActivationStatistics(
        layer=call.layer,
        call=call.index,
        activation=call.activation,
        mean=values[0],
        std=values[1],
        saturated_fraction=values[2] if call.activation in _SATURATED else None,
        dead_fraction=values[3] if call.activation in _RECTIFIERS else None,
        pre_mean=None if call.inputs is None else values[4],
        pre_std=None if call.inputs is None else values[5],
    )


def _scaled_square(gradient: Any) -> Any:
    """The largest magnitude m, and the sum of the squares of gradient / m; shape `(2,)`."""
    largest = tf.reduce_max(tf.abs(gradient))
    return tf.stack([largest, tf.reduce_sum(tf.square(tf.math.divide_no_nan(gradient, largest)))])
