"""The table of layers: gradient through depth and update size, one row a layer."""

from dataclasses import dataclass

import numpy as np

from kgrad.log.structure import Layer
from kgrad.reporters.view import View, median
from kgrad.reporters.wording import clip, number


@dataclass(frozen=True)
class LayerRow:
    """A layer's numbers, ready to print.

    Attributes:
        place: its place in the charts, from 0 nearest the input.
        name: short name.
        kind: class and activation.
        norms: gradient norm at the start, worst and end.
        update: median of update / weight.
        lost: how many of the recorded steps' gradients were not finite, empty for none.
    """

    place: int
    name: str
    kind: str
    norms: tuple[str, ...]
    update: str
    lost: str


def layer_rows(view: View) -> tuple[LayerRow, ...]:
    """A row for each layer with weights, by depth."""
    if view.gradient is None:
        return ()
    layers = view.log.structure.weighted_layers
    unknown = np.full(len(layers), np.nan)
    updates = unknown if view.update is None else median(view.update.middle)
    lost = view.gradient.broken.mean(axis=0)
    return tuple(
        LayerRow(
            place=place,
            name=clip(layer.name),
            kind=kind_of(view, layer),
            norms=tuple(_known(profile.norms[place]) for profile in view.profiles),
            update=_known(updates[place]),
            lost=f"{number(100 * lost[place])} %" if lost[place] else "",
        )
        for place, layer in enumerate(layers)
    )


def kind_of(view: View, layer: Layer) -> str:
    """A layer's class, and the activation that its output goes through.

    What `Structure.effective_activation` says is asked only of the layers shown, since it walks the model.
    """
    activation = view.log.structure.effective_activation(layer.name)
    return clip(layer.class_name if activation in (None, "linear") else f"{layer.class_name}, {activation}")


def _known(value: float) -> str:
    return "–" if np.isnan(value) else number(float(value))
