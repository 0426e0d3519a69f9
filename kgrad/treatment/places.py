"""Where in a Keras model the layers lie that a prescription names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

# Layers that are an activation and nothing else: one kind can stand in for another.
_ACTIVATION_LAYERS = frozenset({"Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU"})
# Layers that hand a pre-activation on to the activation behind them, as `Structure.effective_activation` has it.
_TRANSPARENT = frozenset(
    {
        *("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization"),
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise"),
        *("Reshape", "Flatten"),
    }
)


@dataclass(frozen=True)
class Place:
    """One layer and where it lies.

    Attributes:
        path: its name in the run, as in `"encoder/dense"`.
        layer: the layer.
        holder: the layer that Keras rebuilds as one piece: `layer` itself, or the wrapper it lies in.
        graph: the Sequential or Functional model that `holder` is a node of.
    """

    path: str
    layer: Any
    holder: Any
    graph: Any


def is_graph(layer: Any) -> bool:
    """Whether it is a Sequential or Functional model: one that Keras can rebuild layer by layer."""
    return isinstance(layer, keras.Sequential) or hasattr(layer, "_operations_by_depth")


def places_of(model: keras.Model) -> dict[str, Place]:
    """Every layer of a Sequential or Functional model by its name in the run, nested ones included."""
    return {place.path: place for place in _walk(model, "", None, model)}


def activation_place(place: Place, places: dict[str, Place]) -> Place | None:
    """The layer that holds the non-linearity which the given one's output goes through: itself or one behind it.

    `None` where the output leaves a wrapper or a nested model, so that what is behind it cannot be seen.
    """
    found = place
    while _own_activation(found.layer) in (None, "linear"):
        if found.layer is not found.holder or _leaves_its_graph(found):
            return None
        behind = _consumers(found)
        follower = next((other for other in places.values() if [other.layer] == behind), None)
        if follower is not None and is_activation(follower.layer):
            return follower
        if follower is None or type(follower.layer).__name__ not in _TRANSPARENT:
            return place
        found = follower
    return found


def is_activation(layer: Any) -> bool:
    """Whether the layer is an activation and nothing else."""
    return type(layer).__name__ in _ACTIVATION_LAYERS


def _walk(owner: Any, prefix: str, holder: Any, graph: Any) -> Iterator[Place]:
    for layer in _children(owner):
        path = f"{prefix}{layer.name}"
        if holder is None and is_graph(layer):
            yield from _walk(layer, f"{path}/", None, layer)
            continue
        yield Place(path, layer, holder or layer, graph)
        if not isinstance(layer, keras.layers.RNN):  # its cell is its inside: people know the layer
            yield from _walk(layer, f"{path}/", holder or layer, graph)


def _children(owner: Any) -> list[Any]:
    if is_graph(owner):
        return list(owner.layers)
    return list(owner._flatten_layers(include_self=False, recursive=False))


def _own_activation(layer: Any) -> str | None:
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", type(activation).__name__) if activation is not None else None


def _consumers(place: Place) -> list[Any]:
    """The layers of the same graph that read the layer's output; other graphs may use the layer too."""
    nodes = {id(node) for node in place.layer._inbound_nodes}
    return [
        other
        for other in place.graph.layers
        if any(id(parent) in nodes for node in other._inbound_nodes for parent in node.parent_nodes)
    ]


def _leaves_its_graph(place: Place) -> bool:
    """Whether the layer's output is that of a nested model."""
    nested = "/" in place.path.removesuffix(place.layer.name)
    return nested and any(tensor._keras_history.operation is place.layer for tensor in place.graph.outputs)
