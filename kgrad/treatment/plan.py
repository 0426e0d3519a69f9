"""What prescriptions change, worked out and checked before anything is built."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.places import Place, activation_place, is_activation, places_of
from kgrad.treatment.values import initializer_of

_CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")
# What layers call the initializer of their weight matrix; a separable convolution has two.
_KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")


@dataclass
class Plan:
    """All changes, as arguments of Keras.

    Attributes:
        places: the model's layers by name.
        layers: layer name -> argument -> its new value, serialized as in the layer's configuration.
        optimizer: argument of the optimizer -> its new value.
        compiled: argument of `compile` -> its new value.
        optimizer_class: name of another optimizer of Keras; `None` keeps the present one.
    """

    places: dict[str, Place]
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict)
    optimizer_class: str | None = None

    def set_layer(self, path: str, argument: str, value: Any, prescription: Prescription) -> None:
        """Notes one change of one layer; refuses a second, different one of the same argument."""
        self._set(self.layers.setdefault(path, {}), argument, value, f"{argument} of layer {path!r}", prescription)

    def set_optimizer(self, argument: str, value: Any, prescription: Prescription) -> None:
        """Notes one change of the optimizer; refuses a second, different one of the same argument."""
        self._set(self.optimizer, argument, value, f"{argument} of the optimizer", prescription)

    @staticmethod
    def _set(changes: dict[str, Any], argument: str, value: Any, what: str, prescription: Prescription) -> None:
        if argument in changes and changes[argument] != value:
            raise TreatmentError(
                f"Two prescriptions set the {what} to different values, one of them the {prescription.knob} "
                f"prescription for {prescription.finding!r} ({prescription.after}). Apply one of the two."
            )
        changes[argument] = value


def plan_of(model: keras.Model, prescriptions: Sequence[Prescription]) -> Plan:
    """The changes that the prescriptions make to a Sequential or Functional model.

    Raises:
        TreatmentError: a knob or a layer is unknown, a value is not one, or two prescriptions contradict each other.
    """
    plan = Plan(places_of(model))
    for prescription in prescriptions:
        knob = _KNOBS.get(prescription.knob)
        if knob is None:
            raise TreatmentError(
                f"kgrad cannot turn the knob {prescription.knob!r}, only {', '.join(_KNOBS)}. "
                f"Change it by hand:\n{prescription.code}"
            )
        knob(plan, prescription)
    return plan


def _activation(plan: Plan, prescription: Prescription) -> None:
    activation = _known_activation(prescription)
    kernel = prescription.settings.get("kernel_initializer")
    for path in prescription.target:
        place = _place(plan, path, prescription)
        carrier = activation_place(place, plan.places)
        if carrier is None:
            raise TreatmentError(
                f"Layer {path!r} is linear and kgrad cannot see which activation follows it outside of its wrapper "
                f"or nested model. Change it by hand:\n{prescription.code}"
            )
        _require(carrier, "activation", prescription)
        plan.set_layer(carrier.path, "activation", activation, prescription)
        if kernel is not None:
            _set_kernel_initializers(plan, place, kernel, prescription)


def _set_kernel_initializers(plan: Plan, place: Place, code: str, prescription: Prescription) -> None:
    """Layers without a matrix of weights, such as a normalization, have none of these and need none."""
    config = place.layer.get_config()
    for argument in _KERNEL_INITIALIZERS:
        if argument in config:
            plan.set_layer(place.path, argument, _serialized(code), prescription)


def _initializer(plan: Plan, prescription: Prescription) -> None:
    named = prescription.settings.get("initializers")
    if named is None:
        plain = {key: value for key, value in prescription.settings.items() if key.endswith("_initializer")}
        named = dict.fromkeys(prescription.target, plain)
    if not any(named.values()):
        raise TreatmentError("This initializer prescription names no initializer in its settings.")
    for path, arguments in named.items():
        place = _place(plan, path, prescription)
        for argument, code in arguments.items():
            true_name = _argument_of(place, argument)
            _require(place, true_name, prescription)
            plan.set_layer(path, true_name, _serialized(code), prescription)


def _argument_of(place: Place, argument: str) -> str:
    """A run calls every weight matrix a kernel; a depthwise convolution calls its own otherwise."""
    config = place.layer.get_config()
    if argument == "kernel_initializer" and argument not in config and "depthwise_initializer" in config:
        return "depthwise_initializer"
    return argument


def _clipping(plan: Plan, prescription: Prescription) -> None:
    given = {name: prescription.settings[name] for name in _CLIPPING if prescription.settings.get(name) is not None}
    if len(given) != 1:
        raise TreatmentError(f"A clipping prescription sets one of {', '.join(_CLIPPING)}; this one sets {len(given)}.")
    for name in _CLIPPING:  # Keras takes one kind of clipping at a time
        plan.set_optimizer(name, _positive(given[name], name) if name in given else None, prescription)


def _learning_rate(plan: Plan, prescription: Prescription) -> None:
    rate = _positive(prescription.settings.get("learning_rate"), "learning_rate")
    plan.set_optimizer("learning_rate", rate, prescription)


def _output(plan: Plan, prescription: Prescription) -> None:
    settings = prescription.settings
    if not settings.keys() & {"activation", "units", "loss", "from_logits"}:
        raise TreatmentError(f"The targets are not the model's to change. Change them by hand:\n{prescription.code}")
    (path,) = prescription.target
    place = _place(plan, path, prescription)
    if "activation" in settings:
        carrier = activation_place(place, plan.places) or place
        _require(carrier, "activation", prescription)
        plan.set_layer(carrier.path, "activation", _known_activation(prescription), prescription)
    if "units" in settings:
        _require(place, "units", prescription)
        plan.set_layer(path, "units", int(settings["units"]), prescription)
    if "loss" in settings:
        plan.compiled["loss"] = settings["loss"]
    elif "from_logits" in settings:
        raise TreatmentError(f"The loss is not a layer's setting. Change it by hand:\n{prescription.code}")


def _optimizer(plan: Plan, prescription: Prescription) -> None:
    for argument, value in prescription.settings.items():
        if argument == "optimizer":
            plan.optimizer_class = str(value)
        else:
            plan.set_optimizer(argument, value, prescription)


def _layer_settings(plan: Plan, prescription: Prescription) -> None:
    for path, arguments in prescription.settings["layers"].items():
        place = _place(plan, path, prescription)
        for argument, value in arguments.items():
            _require(place, argument, prescription)
            made = value
            if isinstance(value, Mapping):
                regularizer = getattr(keras.regularizers, value["class_name"])(**value["config"])
                made = keras.saving.serialize_keras_object(regularizer)
            plan.set_layer(path, argument, made, prescription)


_KNOBS: dict[str, Callable[[Plan, Prescription], None]] = {
    "initializer": _initializer,
    "activation": _activation,
    "clipping": _clipping,
    "learning_rate": _learning_rate,
    "output": _output,
    "optimizer": _optimizer,
    "batch_size": _optimizer,
    "regularization": _layer_settings,
}


def _place(plan: Plan, path: str, prescription: Prescription) -> Place:
    if path not in plan.places:
        raise TreatmentError(
            f"The model has no layer {path!r}, which the {prescription.knob} prescription for "
            f"{prescription.finding!r} changes. It has: {', '.join(plan.places)}."
        )
    return plan.places[path]


def _require(place: Place, argument: str, prescription: Prescription) -> None:
    """Refuses a layer whose configuration does not hold the argument, its cell's included."""
    config = place.layer.get_config()
    cell = (config.get("cell") or {}).get("config", {})
    if argument in config or argument in cell or (argument == "activation" and is_activation(place.layer)):
        return
    raise TreatmentError(
        f"Layer {place.path!r} ({type(place.layer).__name__}) has no argument {argument!r}. "
        f"Change it by hand:\n{prescription.code}"
    )


def _known_activation(prescription: Prescription) -> str:
    name = prescription.settings.get("activation")
    try:
        if isinstance(name, str):
            return str(keras.activations.serialize(keras.activations.get(name)))  # "swish" is "silu" to Keras
    except ValueError:
        pass
    raise TreatmentError(f"{name!r} is no activation of Keras.")


def _serialized(code: str) -> Any:
    return keras.saving.serialize_keras_object(initializer_of(code))


def _positive(value: Any, name: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    raise TreatmentError(f"{name} has to be a positive number; the prescription says {value!r}.")
