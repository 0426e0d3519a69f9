"""Which rectifier suits a model, and the rate of descent that it bears."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer
from kgrad.prescription.feed_forward import is_feed_forward

# "On networks with more than 5 layers" ELU learns faster and generalizes better than ReLU (Clevert et al. 2016).
DEEP = 5
# Above this chance that a whole layer of ReLU is dead before the first step, ReLU is not prescribed.
BORN_DEAD = 0.01


class Rectifier(NamedTuple):
    """An activation that suits, and why, as the end of a sentence."""

    name: str
    reason: str


def rectifier(log: RunLog, names: Sequence[str] = ()) -> Rectifier:
    """The rectifier that suits these hidden layers: ReLU, ELU in deep chains or where ReLU is born dead, or GELU.

    Of a chain of `n` ReLU layers of `w` units, with symmetric weights and zero biases, all units of some layer are off
    for an input with a chance of `1 - (1 - 2^-w)^n`; the output is then a constant and no gradient goes through (Lu et
    al. 2020, "Dying ReLU and Initialization", section 3). ELU has a slope everywhere; in networks of more than five
    layers it also learns faster and generalizes better than ReLU (Clevert et al. 2016, abstract). GELU is for the
    feed-forward branches of transformers, which it was made for (Hendrycks & Gimpel 2016; Devlin et al. 2019): on
    inputs that a layer normalization brings to unit scale it passes those near zero on by their size.
    """
    if names and all(is_feed_forward(log.structure, name) for name in names):
        return Rectifier(
            "gelu", "gelu passes on all that is far above 0, and branches of transformers are made with it"
        )
    layers = depth(log)
    if layers > DEEP:
        why = f"in {layers} layers elu, which is flat nowhere, learns faster than relu (Clevert et al. 2016)"
        return Rectifier("elu", why)
    if born_dead(log) > BORN_DEAD:
        return Rectifier("elu", "elu is flat nowhere, where relu would be dead from the start in layers this narrow")
    return Rectifier("relu", "relu passes all of it where it is active")


def depth(log: RunLog) -> int:
    """Layers with a kernel on the longest way through the model, the output layer among them.

    Where nobody knows what a layer reads (subclassed models) all of them count.
    """
    owners = {variable.layer for variable in log.structure.variables if variable.is_kernel}
    longest: dict[str, int] = {}
    for layer in log.structure.layers:  # from the input on
        before = max((longest.get(name, 0) for name in layer.inbound), default=0)
        longest[layer.name] = before + (layer.name in owners)
    return max(longest.values(), default=0) if any(each.inbound for each in log.structure.layers) else len(owners)


def born_dead(log: RunLog) -> float:
    """The chance that some hidden layer of the model, were all ReLU, is dead for an input from the start."""
    widths = [layer.units for layer in dense_chain(log) if layer.units]
    return 1.0 - math.prod(1.0 - 0.5**width for width in widths)


def dense_chain(log: RunLog) -> list[Layer]:
    """The hidden dense layers; a convolution has as many chances to be on as it has places."""
    return [layer for layer in log.structure.weighted_layers[:-1] if layer.class_name == "Dense"]
