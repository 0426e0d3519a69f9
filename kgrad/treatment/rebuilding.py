"""The knobs that add layers, take other classes or connect them in another way, as changes of a plan."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.places import Place
from kgrad.treatment.plan import Plan

_GATED = ("LSTM", "GRU")
_SQUARED = ("mse", "mean_squared_error", "MeanSquaredError")


def normalization(plan: Plan, prescription: Prescription) -> None:
    """A normalization behind each layer, and its activation before that or behind; a bias before it has no effect."""
    kind = str(prescription.settings.get("layer", "BatchNormalization"))
    after = prescription.settings.get("place") == "after the activation"
    for path in prescription.target:
        place = _bare(plan, path, prescription)
        if after:
            plan.behind[path] = [(kind, {})]
            continue
        plan.require(place, "activation", prescription)
        activation = place.layer.get_config()["activation"]
        plan.set_layer(path, "activation", "linear", prescription)
        if kind == "BatchNormalization" and place.layer.get_config().get("use_bias"):
            plan.set_layer(path, "use_bias", False, prescription)
        plan.behind[path] = [(kind, {}), ("Activation", {"activation": activation})]


def architecture(plan: Plan, prescription: Prescription) -> None:
    """A connection around layers, fewer layers, more units, a hidden layer, or a gated cell in place of a plain one."""
    if "layers" in prescription.settings:
        layer_settings(plan, prescription)
        return
    if "hidden" in prescription.settings:
        (path,) = prescription.target
        plan.ahead[_bare(plan, path, prescription).path] = [("Dense", dict(prescription.settings["hidden"]))]
        return
    kind = prescription.settings.get("class_name")
    if prescription.settings.get("remove"):
        _without(plan, prescription)
        return
    if kind is None and not prescription.settings.get("residual"):
        raise TreatmentError(f"kgrad does not rebuild the model this way. By hand:\n{prescription.code}")
    for path in prescription.target:
        place = _bare(plan, path, prescription)
        if kind is None:
            _around(plan, place, prescription)
        elif kind in _GATED and type(place.layer).__name__ == "SimpleRNN":
            plan.classes[path] = str(kind)
        else:
            raise TreatmentError(f"{kind!r} cannot take the place of {path!r} ({type(place.layer).__name__}).")


def layer_settings(plan: Plan, prescription: Prescription) -> None:
    """Arguments of each layer by name; a mapping is a regularizer's configuration."""
    for path, arguments in prescription.settings["layers"].items():
        place = plan.place(path, prescription)
        for argument, value in arguments.items():
            plan.require(place, argument, prescription)
            made = value
            if isinstance(value, Mapping):
                regularizer = getattr(keras.regularizers, value["class_name"])(**value["config"])
                made = keras.saving.serialize_keras_object(regularizer)
            plan.set_layer(path, argument, made, prescription)


def _without(plan: Plan, prescription: Prescription) -> None:
    """Takes layers out that give the shape they take, so that what follows fits what feeds them."""
    for path in prescription.settings["remove"]:
        place = _bare(plan, str(path), prescription)
        if tuple(place.layer.input.shape) != tuple(place.layer.output.shape):
            raise TreatmentError(
                f"Layer {place.path!r} gives another shape than it takes and cannot be left out. "
                f"By hand:\n{prescription.code}"
            )
        plan.removed.add(place.path)


def input_scaling(plan: Plan, prescription: Prescription) -> None:
    """A layer in front, or one behind that stands for standardised targets."""
    settings = prescription.settings
    if "targets" in settings:
        _targets(plan, prescription)
    if settings.get("layer") == "Normalization":
        plan.front = "Normalization"
        plan.front_inputs = tuple(settings["inputs"]) if "inputs" in settings else None
    elif settings.get("layer") == "Rescaling":
        plan.front = _finite(settings.get("scale"))
    elif "targets" not in settings:
        raise TreatmentError(f"This prescription names no layer to put in front. By hand:\n{prescription.code}")
    if settings.get("learning_rate") is not None:
        plan.scaled_rate = _finite(settings["learning_rate"])


def _targets(plan: Plan, prescription: Prescription) -> None:
    """Outputs `mean + std * f(x)`: under a squared error the same training as with standardised targets.

    The loss and so the gradient are `std^2` times those of the standardised problem; plain descent gets a learning
    rate that much smaller, optimizers that divide by the gradient's size need nothing. The targets stay as they are.
    """
    loss = plan.compiled.get("loss", plan.loss)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    mean, std = _finite(prescription.settings.get("mean")), _finite(prescription.settings.get("std"))
    if name not in _SQUARED or std <= 0:
        raise TreatmentError(f"Only a squared error follows the scale of its targets. By hand:\n{prescription.code}")
    plan.output_scale = (std, mean)


def _around(plan: Plan, place: Place, prescription: Prescription) -> None:
    if tuple(place.layer.input.shape) != tuple(place.layer.output.shape):
        raise TreatmentError(
            f"Layer {place.path!r} gives another shape than it takes, so nothing can go around it. "
            f"By hand:\n{prescription.code}"
        )
    plan.around.add(place.path)
    for argument, value in prescription.settings.get("arguments", {}).items():
        plan.require(place, argument, prescription)
        made: Any = value
        if argument.endswith("_initializer"):
            made = keras.saving.serialize_keras_object(keras.initializers.VarianceScaling(**value))
        plan.set_layer(place.path, argument, made, prescription)


def _bare(plan: Plan, path: str, prescription: Prescription) -> Place:
    place = plan.place(path, prescription)
    if place.holder is not place.layer:
        raise TreatmentError(
            f"Layer {path!r} lies inside of {place.holder.name!r}, which kgrad does not take apart. "
            f"By hand:\n{prescription.code}"
        )
    return place


def _finite(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise TreatmentError(f"A scale has to be a number; the prescription says {value!r}.")
