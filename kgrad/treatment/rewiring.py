"""A copy with layers added, taken out or connected in another way."""

from typing import Any

import keras
import numpy as np

from kgrad.treatment.batches import measured
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.places import is_graph
from kgrad.treatment.plan import Plan

# As many rows tell a standard deviation to about 1.6 % (1 / sqrt(2 * 2048)).
_ROWS = 2048


def rewired(model: keras.Model, plan: Plan, x: Any = None) -> keras.Model:
    """The model with what the plan adds, on the same layers; its graph is a new one.

    Args:
        model: a copy that the caller owns.
        plan: its `ahead`, `behind`, `around`, `removed`, `front` and `output_scale`.
        x: inputs, from which a `Normalization` in front takes mean and variance.

    Raises:
        TreatmentError: a layer in front is wanted and the model has several inputs, or `x` is missing.
    """
    made: dict[Any, Any] = {}
    if isinstance(model, keras.Sequential) and not plan.around:
        return _sequence(model, plan, "", _front(model, plan, x), _end(model, plan), made)
    return _graph(model, plan, "", _front(model, plan, x), _end(model, plan), made)


def _sequence(
    model: Any, plan: Plan, prefix: str, front: dict[int, Any], end: list[Any], made: dict[Any, Any]
) -> keras.Sequential:
    layers: list[Any] = [keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype), *front.values()]
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if path not in plan.removed:
            added = _added(plan.ahead, path, made), _added(plan.behind, path, made)
            layers += [*added[0], _inner(layer, plan, path, made), *added[1]]
    return keras.Sequential([*layers, *end], name=model.name, trainable=model.trainable)


def _graph(
    model: Any, plan: Plan, prefix: str, front: dict[int, Any], end: list[Any], made: dict[Any, Any]
) -> keras.Model:
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        path = f"{prefix}{layer.name}"
        if path in plan.removed:
            return args[0]
        if path in plan.ahead:
            args = (_through(_added(plan.ahead, path, made), args[0]), *args[1:])
        out = _inner(layer, plan, path, made)(*args, **kwargs)
        out = _through(_added(plan.behind, path, made), out) if path in plan.behind else out
        return keras.layers.Add()([args[0], out]) if path in plan.around else out

    def begin(tensor: Any) -> Any:
        return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)

    if isinstance(model, keras.Sequential):
        inputs = begin(model.inputs[0])
        outputs = _through(list(front.values()), inputs)
        for layer in model.layers:
            outputs = call(layer, outputs)
        kind: Any = keras.Model
    else:
        inputs = keras.tree.map_structure(begin, model.input)
        flat = keras.tree.flatten(inputs)
        flat = [front[place](tensor) if place in front else tensor for place, tensor in enumerate(flat)]
        scaled = keras.tree.pack_sequence_as(inputs, flat)
        outputs = model._run_through_graph(scaled, call_fn=call)
        kind = type(model)
    if end:
        outputs = keras.tree.map_structure(lambda tensor: _through(end, tensor), outputs)
    return kind(inputs, outputs, name=model.name)


def _inner(layer: Any, plan: Plan, path: str, made: dict[Any, Any]) -> Any:
    """The layer itself; a new one where another width comes in; of a nested model, the one rewired likewise, once."""
    if path in plan.ahead:
        return made.setdefault(id(layer), type(layer).from_config(layer.get_config()))
    touched = [*plan.ahead, *plan.behind, *plan.around, *plan.removed]
    if not is_graph(layer) or not any(each.startswith(f"{path}/") for each in touched):
        return layer
    if id(layer) not in made:
        plain = isinstance(layer, keras.Sequential) and not any(each.startswith(f"{path}/") for each in plan.around)
        made[id(layer)] = (_sequence if plain else _graph)(layer, plan, f"{path}/", {}, [], made)
    return made[id(layer)]


def _added(places: dict[str, list[tuple[str, dict[str, Any]]]], path: str, made: dict[Any, Any]) -> list[Any]:
    """The layers that go in front of the named one or behind it; a layer that is called twice shares them."""
    if (id(places), path) not in made:
        name = path.replace("/", "_")
        made[id(places), path] = [
            getattr(keras.layers, kind)(**config, name=f"{name}_{kind.lower()}")
            for kind, config in places.get(path, ())
        ]
    return list(made[id(places), path])


def _through(layers: list[Any], tensor: Any) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _front(model: keras.Model, plan: Plan, x: Any) -> dict[int, Any]:
    """The layer that goes behind each input, by the input's place; empty for none."""
    if plan.front is None:
        return {}
    if len(model.inputs) != 1 and plan.front_inputs is None:
        raise TreatmentError(f"{model.name!r} has {len(model.inputs)} inputs; put a layer in front of each by hand.")
    if isinstance(plan.front, float):
        return {0: keras.layers.Rescaling(plan.front, name="input_scaling")}
    if x is None:
        raise TreatmentError("A Normalization takes mean and variance from the inputs; give them: apply(..., x=x).")
    batches = [keras.tree.flatten(batch[0]) for batch in measured(x, None, _ROWS)]
    places = plan.front_inputs if plan.front_inputs is not None else (0,)
    if max(places) >= min(len(model.inputs), len(batches[0])):
        raise TreatmentError(f"Input {max(places)} is to be scaled; the model has {len(model.inputs)}, counted from 0.")
    names = {place: f"input_scaling_{place}" if len(model.inputs) > 1 else "input_scaling" for place in places}
    return {place: _normalization([batch[place] for batch in batches], names[place]) for place in places}


def _normalization(batches: list[Any], name: str) -> Any:
    """A `Normalization` by the mean and variance of these rows.

    Without its own state, so that it comes through the configuration of the model as it is. A constant feature has no
    spread to divide by.
    """
    values = np.concatenate(batches).astype(float)
    axes = tuple(range(values.ndim - 1)) if values.ndim > 1 else None
    variance = values.var(axes)
    variance = np.where(variance > 0, variance, 1.0)
    return keras.layers.Normalization(
        axis=-1 if axes is not None else None,
        mean=values.mean(axes).tolist(),
        variance=variance.tolist(),
        name=name,
    )


def _end(model: keras.Model, plan: Plan) -> list[Any]:
    if plan.output_scale is None:
        return []
    last = model.outputs[0]._keras_history.operation
    if len(model.outputs) != 1 or getattr(last, "activation", keras.activations.linear) != keras.activations.linear:
        raise TreatmentError("Outputs are brought to the scale of the targets behind one linear output only.")
    scale, offset = plan.output_scale
    return [keras.layers.Rescaling(scale, offset=offset, name="target_scaling")]
