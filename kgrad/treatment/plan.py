"""What prescriptions change, worked out and checked before anything is built."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.places import Place, is_activation


@dataclass
class Plan:
    """All changes, as arguments of Keras.

    Attributes:
        places: the model's layers by name.
        layers: layer name -> argument -> its new value, serialized as in the layer's configuration.
        optimizer: argument of the optimizer -> its new value.
        compiled: argument of `compile` -> its new value.
        optimizer_class: name of another optimizer of Keras; `None` keeps the present one.
        loss: what the model is compiled with.
        classes: layer name -> name of the Keras class that takes its place.
        ahead: layer name -> layers to put in front of it, as pairs of class name and configuration.
        behind: layer name -> layers to put behind it, as pairs of class name and configuration.
        around: names of layers that get a connection around them.
        removed: names of layers to take out.
        front: `"Normalization"` or the scale of a `Rescaling` to put in front; `None` for neither.
        front_inputs: places of the inputs that get it, among several; `None` for the only one.
        scaled_rate: the learning rate that suits inputs once scaled; one that a prescription sets goes before it.
        output_scale: `(scale, offset)` that the outputs are brought to, `None` for as they are.
    """

    places: dict[str, Place]
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict)
    optimizer_class: str | None = None
    loss: Any = None
    classes: dict[str, str] = field(default_factory=dict)
    ahead: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    behind: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    around: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    front: str | float | None = None
    front_inputs: tuple[int, ...] | None = None
    scaled_rate: float | None = None
    output_scale: tuple[float, float] | None = None

    @property
    def rewires(self) -> bool:
        """Whether layers are added, taken out or connected in another way."""
        return bool(self.ahead or self.behind or self.around or self.removed or self.front or self.output_scale)

    def place(self, path: str, prescription: Prescription) -> Place:
        """Where the layer lies; refuses a name that the model does not have."""
        if path not in self.places:
            raise TreatmentError(
                f"The model has no layer {path!r}, which the {prescription.knob} prescription for "
                f"{prescription.finding!r} changes. It has: {', '.join(self.places)}.{_counted_on(path, self.places)}"
            )
        return self.places[path]

    @staticmethod
    def require(place: Place, argument: str, prescription: Prescription) -> None:
        """Refuses a layer whose configuration does not hold the argument, its cell's included."""
        config = place.layer.get_config()
        cell = (config.get("cell") or {}).get("config", {})
        if argument in config or argument in cell or (argument == "activation" and is_activation(place.layer)):
            return
        raise TreatmentError(
            f"Layer {place.path!r} ({type(place.layer).__name__}) has no argument {argument!r}. "
            f"Change it by hand:\n{prescription.code}"
        )

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


def _counted_on(path: str, places: Iterable[str]) -> str:
    """Keras numbers the layers of a process: the same model built again has other names."""

    def plain(name: str) -> str:
        return re.sub(r"_\d+$", "", name)

    if plain(path) not in map(plain, places):
        return ""
    return (
        " Where the model was built again in this process, Keras has counted its layers on: call "
        "keras.utils.clear_session() before it is built, or give its layers names."
    )
