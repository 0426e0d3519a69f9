"""From a Keras model to its `Structure`: variables -> layers -> depth order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from kgrad.log.structure import Layer, Structure, Variable

# Configuration entries that hold other layers; they are layers of their own in the structure.
_NESTED_CONFIG = ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells")


# Layers whose kernels end in something else: inputs, a multiplier of the input's channels, gates side by side.
_NO_UNITS_LAST = (
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D"),
    *("LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
)


def structure_of(model: keras.Model | Mapping[str, keras.Model], variables: Sequence[Any]) -> Structure:
    """The model's layers in depth order and the given variables in the order of their layers.

    Depth is the topological rank from the input for Sequential and Functional models, nested ones
    unfolded in place. A subclassed model has no graph: its layers come in the order in which their
    weights were created, which for layers built on first use is the order of the forward pass.

    Args:
        model: a built Keras model, or several that train together, by name: their layers follow each other.
        variables: the trainable variables, as the optimizer is given them.
    """
    models = dict(model) if isinstance(model, Mapping) else {"": model}
    layers = [entry for name, each in models.items() for entry in _ordered(each, f"{name}/" if name else "")]
    names = unique_names([path for path, _ in layers])
    name_of = _by_identity(names, layers)
    described = tuple(
        _describe(layer, name, depth, name_of)
        for depth, (name, (_, layer)) in enumerate(zip(names, layers, strict=True))
    )
    whole = "+".join(each.name for each in models.values())
    return Structure(
        whole,
        _kind(next(iter(models.values()))) if len(models) == 1 else "several",
        described,
        _variables(variables, layers, name_of, whole),
        sum(_size(weight) for each in models.values() for weight in each.weights),
    )


def layer_names(model: keras.Model) -> dict[int, str]:
    """The names that `structure_of` gives the model's layers, by `id(layer)`."""
    layers = _ordered(model, "")
    return _by_identity(unique_names([path for path, _ in layers]), layers)


def _by_identity(names: Sequence[str], layers: Sequence[tuple[str, Any]]) -> dict[int, str]:
    return {id(layer): name for name, (_, layer) in zip(names, layers, strict=True)}


def _ordered(model: keras.Model, prefix: str) -> list[tuple[str, Any]]:
    layers = list(_walk(model, prefix))
    return layers if _is_graph(model) else _by_creation(layers)


def column_order(structure: Structure, variables: Sequence[Any]) -> list[int]:
    """Where each of the structure's variables lies in the optimizer's list."""
    place = {name: i for i, name in enumerate(unique_names([_path(variable) for variable in variables]))}
    return [place[variable.name] for variable in structure.variables]


def units_last(structure: Structure) -> list[bool]:
    """Of each variable, whether its last axis is the units of its layer."""
    kinds = {layer.name: layer.class_name for layer in structure.layers}
    return [
        len(variable.shape) > 1
        and variable.role != "depthwise_kernel"
        and kinds.get(variable.layer) not in _NO_UNITS_LAST
        for variable in structure.variables
    ]


def _kind(model: keras.Model) -> str:
    if isinstance(model, keras.Sequential):
        return "sequential"
    return "functional" if _is_graph(model) else "subclassed"


def _is_graph(layer: Any) -> bool:
    # A Functional model knows its operations by depth; a Sequential one wraps such a model.
    return isinstance(layer, keras.Sequential) or hasattr(layer, "_operations_by_depth")


def _walk(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Leaf layers under `owner` with their names, in topological order where there is a graph."""
    for layer in _children(owner):
        path = f"{prefix}{layer.name}"
        if isinstance(layer, keras.layers.RNN):  # its cell is its inside: people know the layer
            yield path, layer
        elif isinstance(layer, keras.Model) or (_children(layer) and not layer._trainable_variables):
            yield from _walk(layer, f"{path}/")
        else:
            yield path, layer
            for inner, sublayer in _walk(layer, f"{path}/"):
                if sublayer.weights:
                    yield inner, sublayer


def _children(owner: Any) -> list[Any]:
    if hasattr(owner, "_operations_by_depth"):
        ranks = sorted(owner._operations_by_depth, reverse=True)
        return [op for rank in ranks for op in owner._operations_by_depth[rank] if isinstance(op, keras.layers.Layer)]
    return [layer for layer in getattr(owner, "layers", None) or owner._layers if not _is_internal(layer)]


def _is_internal(layer: Any) -> bool:
    return isinstance(layer, (keras.metrics.Metric, keras.losses.Loss)) or not isinstance(layer, keras.layers.Layer)


def _by_creation(layers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Layers ordered by their first weight; those without weights stay behind the one before."""
    rank, order = -1, []
    for _, layer in layers:
        rank = min((_birth(weight) for weight in layer.weights), default=rank)
        order.append(rank)
    return [layers[i] for i in sorted(range(len(layers)), key=lambda i: order[i])]


def _birth(weight: Any) -> int:
    unique = str(getattr(weight.value, "_unique_id", "0")).rsplit("_", 1)[-1]
    return int(unique) if unique.isdigit() else 0


def _describe(layer: Any, name: str, depth: int, name_of: dict[int, str]) -> Layer:
    config = _config(layer)
    shape = getattr(getattr(layer, "output", None), "shape", None) if layer._inbound_nodes else None
    return Layer(
        name=name,
        class_name=type(layer).__name__,
        depth=depth,
        activation=_activation(layer, config),
        units=shape[-1] if shape is not None and len(shape) else getattr(layer, "units", None),
        inbound=tuple(dict.fromkeys(_inbound(layer, name_of))),
        parameters=sum(_size(weight) for weight in _own_weights(layer)),
        trainable=bool(layer.trainable),
        config=config,
    )


def _own_weights(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.RNN):
        return list(layer.weights)
    return list(layer._trainable_variables + layer._non_trainable_variables)


def _inbound(layer: Any, name_of: dict[int, str]) -> Iterator[str]:
    for node in layer._inbound_nodes:
        for parent in node.parent_nodes:
            operation = parent.operation
            if id(operation) in name_of:
                yield name_of[id(operation)]
            elif isinstance(operation, keras.Model) and operation.outputs:
                last = operation.outputs[0]._keras_history.operation
                if id(last) in name_of:
                    yield name_of[id(last)]


def _activation(layer: Any, config: dict[str, Any]) -> str | None:
    activation = getattr(layer, "activation", None)
    if activation is None:
        return None
    if isinstance(config.get("activation"), str):
        return str(config["activation"])
    return getattr(activation, "__name__", None) or type(activation).__name__


def _config(layer: Any) -> dict[str, Any]:
    try:
        config = layer.get_config()
    except Exception:  # a subclassed layer need not have a configuration
        return {}
    return {key: plain(value) for key, value in config.items() if key not in _NESTED_CONFIG}


def plain(value: Any) -> Any:
    """The value in JSON types; what has none becomes its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        if "class_name" in value and isinstance(value.get("config"), (dict, type(None))):
            return {"class_name": value["class_name"], "config": plain(value.get("config") or {})}
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return str(value)


def _variables(
    variables: Sequence[Any], layers: list[tuple[str, Any]], name_of: dict[int, str], model_name: str
) -> tuple[Variable, ...]:
    owner = {
        id(weight): (rank, layer) for rank, (_, layer) in reversed(list(enumerate(layers))) for weight in layer.weights
    }
    for rank, (_, layer) in enumerate(layers):  # the layer's own weights win over those of its sublayers
        owner.update({id(weight): (rank, layer) for weight in layer._trainable_variables})
    ranked = []
    for name, variable in zip(unique_names([_path(v) for v in variables]), variables, strict=True):
        rank, layer = owner.get(id(variable), (len(layers), None))
        owned_by = name_of[id(layer)] if layer is not None else model_name
        ranked.append((rank, _variable(variable, name, owned_by, layer)))
    return tuple(variable for _, variable in sorted(ranked, key=lambda pair: pair[0]))


def _variable(variable: Any, name: str, owner: str, layer: Any) -> Variable:
    role = str(variable.name)
    kind = role.removesuffix("_kernel")  # "recurrent_kernel" is made by `recurrent_initializer`
    initializer = getattr(layer, f"{role}_initializer", getattr(layer, f"{kind}_initializer", None))
    described = keras.saving.serialize_keras_object(initializer) if initializer is not None else None
    entry = plain(described)
    return Variable(
        name,
        owner,
        role,
        tuple(variable.shape),
        str(variable.dtype),
        entry if isinstance(entry, dict) else None,
    )


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name))


def _size(weight: Any) -> int:
    size = 1
    for axis in weight.shape:
        size *= int(axis)
    return size


def unique_names(names: list[str]) -> list[str]:
    """The names with `#2`, `#3`, ... behind those that repeat."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique
