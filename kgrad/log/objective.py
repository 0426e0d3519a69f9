"""What a run is trained for: each output layer with its activation, its loss and its targets, from `run.json`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kgrad.log.batch import TensorFacts
from kgrad.log.run_log import RunLog
from kgrad.log.structure import ACTIVATION_LAYERS, Layer, Structure

_SHORT = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
}
# Layers at the end of a model that change no value an output layer gave.
_SHAPERS = frozenset({"Reshape", "Flatten", "Permute", "Identity", "Cropping1D", "Cropping2D", "Dropout"})


@dataclass(frozen=True)
class Loss:
    """A loss as it was compiled.

    Attributes:
        name: Keras' name of the function, as in `"mean_squared_error"`; a user's own name otherwise.
        from_logits: whether it was told that it gets logits, not probabilities.
        config: the rest of its configuration.
    """

    name: str
    from_logits: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, entry: Any) -> "Loss | None":
        """The loss as `run.json` holds it: a name, or `{"class_name", "config"}`; `None` for anything else.

        >>> Loss.parse("MSE").name
        'mean_squared_error'
        """
        if isinstance(entry, Mapping):
            config = entry.get("config")
            if isinstance(config, str):  # a function
                return cls(_canonical(config))
            known = config if isinstance(config, Mapping) else {}
            return cls(_canonical(str(entry.get("class_name", ""))), bool(known.get("from_logits")), known)
        return cls(_canonical(entry)) if isinstance(entry, str) else None


def _canonical(name: str) -> str:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return _SHORT.get(snake, snake)


@dataclass(frozen=True)
class Objective:
    """One output of the model and what is asked of it.

    Attributes:
        layer: name of the output layer, the last one that changes values.
        activations: the activations that follow each other at the end, the last one last; `None` where one of
            them is not known. Empty for none, which is to say linear.
        fused: whether the last activation belongs to a layer of its own kind, so that Keras on TensorFlow finds
            the logits behind it: it then computes a cross-entropy from them whatever `from_logits` says.
        units: size of the last axis, `None` where unknown.
        loss: `None` where unknown.
        target: what the targets looked like, `None` where none was seen.
        weight: factor on the loss, as compiled.
        scores: name of the layer with weights whose own activation comes before the last one; `None` for none.
    """

    layer: str
    activations: tuple[str, ...] | None
    fused: bool
    units: int | None
    loss: Loss | None
    target: TensorFacts | None
    weight: float = 1.0
    scores: str | None = None

    @property
    def activation(self) -> str | None:
        """The last activation, `"linear"` for none, `None` where it is not known."""
        if self.activations is None:
            return None
        return self.activations[-1] if self.activations else "linear"


def objectives(log: RunLog) -> tuple[Objective, ...]:
    """Every output of the run's model with its loss and targets; empty where the outputs cannot be told."""
    targets = log.data.targets if log.data else ()
    losses, weights = _by_output(log.info.get("loss")), _by_output(log.info.get("loss_weights"))
    found = _outputs(log.structure, set(losses), max(len(targets), len(losses)))
    half = "float16" in str(log.info.get("dtype_policy"))
    return tuple(_objective(log.structure, name, losses, weights, targets, len(found) == 1, half) for name in found)


def sole_objective(log: RunLog) -> Objective | None:
    """The only output of the run's model; `None` where there are several or none can be told."""
    found = objectives(log)
    return found[0] if len(found) == 1 else None


def _by_output(entry: Any) -> dict[str, Any]:
    """What was compiled for each output, by name or place; that for all under the name `""`."""
    if isinstance(entry, Mapping) and "class_name" not in entry:
        return dict(entry)
    if isinstance(entry, (list, tuple)):
        return {str(place): each for place, each in enumerate(entry)}
    return {"": entry}


def _entry(entries: Mapping[str, Any], name: str, alone: bool) -> Any:
    found = entries.get(name, entries.get(""))
    return next(iter(entries.values())) if found is None and alone and len(entries) == 1 else found


def _outputs(structure: Structure, named: set[str], expected: int) -> list[str]:
    read = {name for layer in structure.layers for name in layer.inbound}
    loose = [layer.name for layer in structure.layers if layer.name not in read]
    heads = [name for name in loose if structure.layer(name).inbound] or loose[-1:]
    chosen = [name for name in heads if name in named]
    if chosen or expected == len(heads):
        return chosen or heads
    # An operation that is no layer (`x + y`) hides who reads a layer; the deepest one is the output.
    return heads[-1:] if expected <= 1 else []


def _objective(
    structure: Structure,
    name: str,
    losses: Mapping[str, Any],
    weights: Mapping[str, Any],
    targets: tuple[TensorFacts, ...],
    alone: bool,
    half: bool,
) -> Objective:
    loss, weight = Loss.parse(_entry(losses, name, alone)), _entry(weights, name, alone)
    factor = float(weight) if isinstance(weight, (int, float)) else 1.0
    same = [target for target in targets if target.name == name]
    target = same[0] if same else targets[0] if alone and len(targets) == 1 else None
    layer, activations, behind, below = _ending(structure, name)
    # A reshape or a cast behind the activation, and keras.layers.Softmax, hide its logits.
    fused = not behind and not half and layer.class_name not in ACTIVATION_LAYERS
    own = below is not layer and len(activations or ()) == 2 and below.activation not in (None, "linear")
    scores = below.name if own else None
    return Objective(layer.name, activations, fused, layer.units, loss, target, factor, scores)


def _ending(structure: Structure, name: str) -> tuple[Layer, tuple[str, ...] | None, bool, Layer]:
    """The last layer that changes values, the activations up to it, whether others lie behind it, the first of them."""
    layer, behind, found = structure.layer(name), False, list[str]()
    last: Layer | None = None
    while True:
        if layer.class_name in ACTIVATION_LAYERS or layer.class_name == "Activation":
            found.append(ACTIVATION_LAYERS.get(layer.class_name) or layer.activation or "linear")
            last = last or layer
        elif layer.class_name not in _SHAPERS:
            break
        else:
            behind = behind or last is None
        if len(layer.inbound) != 1:
            return last or layer, None, behind, layer
        layer = structure.layer(layer.inbound[0])
    inner = next((each for each in structure.layers if each.name.startswith(f"{layer.name}/")), None)
    activation = inner.activation if layer.class_name == "TimeDistributed" and inner else layer.activation
    if activation is None:  # no dense layer: a sum, a lambda, an input
        return last or layer, tuple(reversed(found)) if found else None, behind, layer
    found.append(activation)
    return last or layer, tuple(each for each in reversed(found) if each != "linear"), behind, layer
