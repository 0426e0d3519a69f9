"""Where two prescriptions turn one knob to different values: both are shown, and it is said."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kgrad.prescription.prescription import Prescription

# Settings that name the layers they are for, instead of being for the target.
_BY_LAYER = ("initializers", "layers")
# One thing by several names: Keras takes one kind of clipping; larger and smaller batches pull in opposite directions.
_ONE_THING = {
    **dict.fromkeys(("clipnorm", "global_clipnorm", "clipvalue"), "clipping"),
    **dict.fromkeys(("batch_size", "gradient_accumulation_steps"), "rows per update"),
}


def with_conflicts(offered: Sequence[Prescription]) -> tuple[Prescription, ...]:
    """The same, each with the others that set something of it to another value.

    What joins several is no rival of what it joins, nor of other answers to the same finding: it stands in for them.
    """
    turned = [_turned(each) for each in offered]

    def rivals(place: int) -> Iterable[str]:
        mine = offered[place]
        for other, theirs in zip(offered, turned, strict=True):
            joint = "several" in (mine.knob, other.knob) and mine.finding == other.finding
            if other is not mine and not joint and _disagree(turned[place], theirs):
                yield f"{other.knob}: {other.after} (for {other.finding})"

    return tuple(replace(each, conflicts_with=tuple(rivals(place))) for place, each in enumerate(offered))


def _disagree(one: dict[tuple[str, str], Any], other: dict[tuple[str, str], Any]) -> bool:
    return any(one[key] != other[key] for key in one.keys() & other.keys())


def _turned(prescription: Prescription) -> dict[tuple[str, str], Any]:
    """What it sets: `(layer or optimizer, setting)` -> value."""
    settings = prescription.settings
    if "parts" in settings:
        inside = (_turned(Prescription.from_dict(part)) for part in settings["parts"])
        return {key: value for each in inside for key, value in each.items()}
    found: dict[tuple[str, str], Any] = {}
    for name, value in settings.items():
        if name in _BY_LAYER:
            found |= {(layer, argument): code for layer, given in value.items() for argument, code in given.items()}
        elif name in _ONE_THING:
            found["", _ONE_THING[name]] = (name, value)
        elif name == "learning_rate":
            found["optimizer", name] = value
        else:
            found |= {(target, name): value for target in prescription.target}
    return found
