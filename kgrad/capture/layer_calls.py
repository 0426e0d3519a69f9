"""Which layers a model calls while its forward pass is traced, and what goes into and out of each call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import keras
import tensorflow as tf

from kgrad.capture.topology import unique_names

_ACTIVATION_LAYERS = {"Softmax": "softmax", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu"}


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, as symbolic tensors of the graph that is being traced."""

    layer: str
    index: int
    activation: str | None
    unit_axis: int
    output: Any
    inputs: Any  # of the activation; None where unseen


def named_layers(model: keras.Model, names: Mapping[int, str]) -> list[tuple[str, Any]]:
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
def recorded(layers: Sequence[tuple[str, Any]]) -> Iterator[list[LayerCall]]:
    """A list that fills with the layers' calls, for the length of the block."""
    calls: list[LayerCall] = []
    with ExitStack() as stack:
        for name, layer in layers:
            stack.enter_context(_watched(layer, name, calls))
        yield calls


@contextmanager
def _watched(layer: Any, name: str, calls: list[LayerCall]) -> Iterator[None]:
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
            calls.append(LayerCall(name, count, activation, unit_axis, output, inputs[0] if inputs else None))
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


def is_reachable(tensor: Any) -> bool:
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
