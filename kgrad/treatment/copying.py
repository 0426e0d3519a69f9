"""A fresh copy of a model, layer by layer through Keras' own configuration, with some arguments changed."""

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.saving.serialization_lib import SafeModeScope

from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.places import Place, is_activation, places_of

Changes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Copy:
    """The copy, and which layer of it stands for which.

    Attributes:
        model: the copy, freshly initialized.
        pairs: each layer that Keras rebuilt as one piece, with its copy.
    """

    model: keras.Model
    pairs: tuple[tuple[Any, Any], ...]


def fresh_copy(
    model: keras.Model,
    changes: Changes,
    places: dict[str, Place],
    seed: int,
    classes: Mapping[str, str] | None = None,
) -> Copy:
    """A new model with new weights; layers that several parts of the model share stay shared.

    Each layer is initialized from the seed and its own place in the model, so a change of one layer leaves the
    first weights of all others as they are.

    Args:
        model: a Sequential or Functional model.
        changes: layer name -> argument -> value as in the layer's configuration.
        places: where the named layers lie.
        seed: of the initial weights.
        classes: layer name -> name of the class of Keras that takes its place.

    Raises:
        TreatmentError: Keras cannot rebuild the model, or the rebuilt one does not hold the changes.
    """
    pairs: list[tuple[Any, Any]] = []

    def clone(layer: Any) -> Any:
        _seed(f"{seed}/{len(pairs)}")
        inside = {path: change for path, change in changes.items() if places[path].holder is layer}
        other = next((kind for path, kind in (classes or {}).items() if places[path].layer is layer), None)
        pairs.append((layer, _rebuilt(layer if other is None else _other(layer, other), inside, places)))
        return pairs[-1][1]

    with _own_scope(model):
        try:
            copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
        except Exception as error:  # custom layers can raise anything
            raise TreatmentError(f"Keras cannot rebuild {model.name!r} from its configuration: {error}") from error
    _check(model, copy, changes, bool(classes))
    return Copy(copy, tuple(pairs))


def through_config(model: keras.Model) -> keras.Model:
    """The same model from its own configuration, with the same weights: its layers are nodes of one graph only."""
    with _own_scope(model):
        try:
            again = type(model).from_config(model.get_config())
        except Exception as error:  # custom layers can raise anything
            raise TreatmentError(f"Keras cannot rebuild {model.name!r} from its configuration: {error}") from error
    again.set_weights(model.get_weights())
    return again


@contextmanager
def _own_scope(model: keras.Model) -> Iterator[None]:
    """Knows the user's own classes; a Lambda is in memory already, so it brings in nothing foreign."""
    scope = keras.saving.custom_object_scope(_own_objects(model))
    with warnings.catch_warnings(), scope, SafeModeScope(False):
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
        yield


def _other(layer: Any, class_name: str) -> Any:
    """A layer of another class with all that its configuration shares with that of the given one.

    Initializers of the recurrence and what a plain cell's activation was chosen for are the new class's own.
    """
    kind = getattr(keras.layers, class_name)
    shared = kind(1).get_config().keys() - {"activation", "recurrent_initializer", "recurrent_activation"}
    return kind(**{name: value for name, value in layer.get_config().items() if name in shared})


def _rebuilt(layer: Any, changes: Changes, places: dict[str, Place]) -> Any:
    """A new layer from the configuration of the old one, with the changes of what lies inside it."""
    config = layer.get_config()
    for path, arguments in changes.items():
        if places[path].layer is not layer:
            _nested_config(config, places[path]).update(arguments)
        elif is_activation(layer) and "activation" not in config:
            return keras.layers.Activation(arguments["activation"], name=layer.name, dtype=layer.dtype_policy)
        else:
            holding = config if all(name in config for name in arguments) else config["cell"]["config"]
            holding.update(arguments)
    return type(layer).from_config(config)


def _nested_config(config: Any, place: Place) -> dict[str, Any]:
    """The configuration, inside that of a wrapper, of the one layer of the given name."""
    found = [entry for entry in _entries(config) if entry.get("name") == place.layer.name]
    if len(found) != 1:
        raise TreatmentError(f"the configuration of {place.holder.name!r} does not tell where {place.path!r} is")
    return found[0]


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """Every nested configuration of a Keras object."""
    if isinstance(value, dict):
        if "class_name" in value and isinstance(value.get("config"), dict):
            yield value["config"]
        for entry in value.values():
            yield from _entries(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _entries(entry)


def _check(model: keras.Model, copy: keras.Model, changes: Changes, other_classes: bool) -> None:
    """Refuses a copy that lost something: a class of model, a weight, or one of the changes."""
    if _models(model) != _models(copy):
        raise TreatmentError(
            f"Keras rebuilds {model.name!r} as a plain {type(copy).__name__}, without what its own class adds. "
            "Let its class take the arguments of keras.Model: (inputs, outputs, name)."
        )
    if _weights_differ(model, copy, changes, other_classes):
        raise TreatmentError(f"The configuration of {model.name!r} does not tell all of its weights.")
    places = places_of(copy)
    for path, arguments in changes.items():
        config = places[path].layer.get_config()
        config = {**(config.get("cell") or {}).get("config", {}), **config}
        missed = [name for name, value in arguments.items() if config.get(name) != value]
        if missed:
            raise TreatmentError(f"Layer {path!r} does not take {', '.join(missed)} from its configuration.")


def _weights_differ(model: keras.Model, copy: keras.Model, changes: Changes, other_classes: bool) -> bool:
    """Whether the copy has other weights than it should: as many, less the biases that are taken out."""
    without_bias = sum(arguments.get("use_bias") is False for arguments in changes.values())
    if other_classes or without_bias or any("units" in arguments for arguments in changes.values()):
        return len(_shapes(model)) != len(_shapes(copy)) + without_bias
    return _shapes(model) != _shapes(copy)


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return sorted(tuple(weight.shape) for weight in model.weights)


def _models(model: keras.Model) -> list[str]:
    return sorted(type(each).__name__ for each in model._flatten_layers() if isinstance(each, keras.Model))


def _own_objects(model: keras.Model) -> dict[str, Any]:
    """The user's own classes and functions by name, so that they need not be registered with Keras."""
    settings = keras.tree.flatten(dict(model._compile_config.config)) if model.compiled else []
    things = [*(type(layer) for layer in model._flatten_layers()), *settings]
    things += [vars(layer).get("activation") for layer in model._flatten_layers()]
    named = {getattr(thing, "__name__", type(thing).__name__): thing for thing in things if thing is not None}
    own = {name: thing if callable(thing) else type(thing) for name, thing in named.items()}
    return {name: thing for name, thing in own.items() if not str(thing.__module__).startswith("keras.")}


def _seed(text: str) -> None:
    """Seeds what Keras draws the seeds of initializers from, and numpy for initializers that use it."""
    random.seed(text)
    np.random.seed(random.getrandbits(32))


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Leaves the random generators of Python and numpy as they were."""
    own, numbers = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numbers)
