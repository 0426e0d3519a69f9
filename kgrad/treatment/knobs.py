"""Each knob as changes of a plan."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.prescription.together import parts_of
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.fitting import of_fit
from kgrad.treatment.places import Place, activation_place, places_of
from kgrad.treatment.plan import Plan
from kgrad.treatment.rebuilding import architecture, input_scaling, layer_settings, normalization
from kgrad.treatment.values import initializer_of

_CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")
# What layers call the initializer of their weight matrix; a separable convolution has two.
_KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
# What no change of a model can bring about, and where it is changed instead.
ELSEWHERE = {
    "epochs": "How long to train is an argument of fit, not a setting of the model.",
    "learning_rate_schedule": "It is a callback of fit, not a setting of the model.",
    "loss_scaling": "The dtype policy has to stand before the model is built.",
    "data_cleaning": "The data are not the model's to change.",
}


def plan_of(model: keras.Model, prescriptions: Sequence[Prescription]) -> Plan:
    """The changes that the prescriptions make to a Sequential or Functional model.

    Raises:
        TreatmentError: a knob or a layer is unknown, a value is not one, or two prescriptions contradict each other.
    """
    plan = Plan(places_of(model), loss=model.loss)
    for prescription in prescriptions:
        _turn(plan, prescription)
    return plan


def _turn(plan: Plan, prescription: Prescription) -> None:
    knob = _KNOBS.get(prescription.knob)
    if knob is not None:
        knob(plan, prescription)
        return
    elsewhere = ELSEWHERE.get(prescription.knob)
    raise TreatmentError(
        f"{elsewhere} By hand:\n{prescription.code}"
        if elsewhere
        else f"kgrad cannot turn the knob {prescription.knob!r}, only {', '.join(_KNOBS)}. "
        f"Change it by hand:\n{prescription.code}"
    )


def _several(plan: Plan, prescription: Prescription) -> None:
    for part in parts_of([prescription]):
        if not of_fit(part):  # `fitting.fit_arguments` has those
            _turn(plan, part)


def _activation(plan: Plan, prescription: Prescription) -> None:
    activation = _known_activation(prescription)
    kernel = prescription.settings.get("kernel_initializer")
    if "learning_rate" in prescription.settings:
        _learning_rate(plan, prescription)
    for path in prescription.target:
        place = plan.place(path, prescription)
        own = isinstance(place.layer, keras.layers.RNN)  # that of its state, not of a layer behind it
        carrier = place if own else activation_place(place, plan.places)
        if carrier is None:
            raise TreatmentError(
                f"Layer {path!r} is linear and kgrad cannot see which activation follows it outside of its wrapper "
                f"or nested model. Change it by hand:\n{prescription.code}"
            )
        plan.require(carrier, "activation", prescription)
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
    if "layers" in prescription.settings:
        layer_settings(plan, prescription)
        if named is None:
            return
    if named is None:
        plain = {key: value for key, value in prescription.settings.items() if key.endswith("_initializer")}
        named = dict.fromkeys(prescription.target, plain)
    if not any(named.values()):
        raise TreatmentError("This initializer prescription names no initializer in its settings.")
    for path, arguments in named.items():
        place = plan.place(path, prescription)
        for argument, code in arguments.items():
            true_name = _argument_of(place, argument)
            plan.require(place, true_name, prescription)
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
    if "remove" in settings:
        plan.removed.add(plan.place(str(settings["remove"]), prescription).path)
        return
    if not settings.keys() & {"activation", "units", "loss", "from_logits"}:
        raise TreatmentError(f"The targets are not the model's to change. Change them by hand:\n{prescription.code}")
    (path,) = prescription.target
    place = plan.place(path, prescription)
    if "activation" in settings:
        carrier = activation_place(place, plan.places) or place
        plan.require(carrier, "activation", prescription)
        plan.set_layer(carrier.path, "activation", _known_activation(prescription), prescription)
    if "units" in settings:
        plan.require(place, "units", prescription)
        plan.set_layer(path, "units", int(settings["units"]), prescription)
    if "loss" in settings:
        plan.compiled["loss"] = settings["loss"]
    elif "from_logits" in settings:
        plan.compiled["loss"] = _loss_of(plan.loss, bool(settings["from_logits"]), prescription)


def _loss_of(loss: Any, from_logits: bool, prescription: Prescription) -> Any:
    """The same loss, told whether it is given probabilities."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", getattr(loss, "name", ""))
    kind = getattr(keras.losses, "".join(part.capitalize() for part in str(name).split("_")), None)
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    try:
        return kind(**{**config, "from_logits": from_logits})  # type: ignore[misc]
    except (TypeError, ValueError):
        raise TreatmentError(f"The loss {name!r} knows no logits. Change it by hand:\n{prescription.code}") from None


def _optimizer(plan: Plan, prescription: Prescription) -> None:
    if "perturbation" in prescription.settings:
        raise TreatmentError(f"A push of trained weights is no change of the model. By hand:\n{prescription.code}")
    for argument, value in prescription.settings.items():
        if argument == "optimizer":
            plan.optimizer_class = str(value)
        else:
            plan.set_optimizer(argument, value, prescription)


def _accumulation(plan: Plan, prescription: Prescription) -> None:
    if "batch_size" in prescription.settings:
        raise TreatmentError(f"The batch size is an argument of fit. By hand:\n{prescription.code}")
    _optimizer(plan, prescription)


_KNOBS: dict[str, Callable[[Plan, Prescription], None]] = {
    "initializer": _initializer,
    "activation": _activation,
    "clipping": _clipping,
    "learning_rate": _learning_rate,
    "output": _output,
    "optimizer": _optimizer,
    "batch_size": _accumulation,
    "regularization": layer_settings,
    "normalization": normalization,
    "architecture": architecture,
    "input_scaling": input_scaling,
    "several": _several,
}


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
