"""The width knob: more units in hidden layers that have only a handful."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure
from kgrad.prescription.layer_code import comment_of, layers_code
from kgrad.prescription.prescription import Prescription

# Five in six healthy trainings have so many units or more in their narrowest dense or recurrent hidden layer, nine in
# ten have 8 (224 of both corpora; `benchmarks/healthy_trainings.py`).
_USUAL = 16
# A layer that is nearly as wide is left as it is (as of a rate: own choice).
_WORTHWHILE = 2.0
_WITH_UNITS = ("Dense", "SimpleRNN", "LSTM", "GRU")
# Layers that say how many numbers they hand on, whatever they are given; the last of them is the output.
_SETS_WIDTH = re.compile(r"Dense|SimpleRNN|LSTM|GRU|(Separable)?Conv[123]D")
# Others that take any number and need no change beside them.
_INDIFFERENT = re.compile(
    r"InputLayer|Embedding|Masking|(Global)?(Max|Average)Pooling[123]D|ZeroPadding[123]D|Flatten|Normalization|Rescaling"
    r"|(Batch|Layer)Normalization|(Spatial|Alpha|Gaussian)?Dropout([123]D)?|GaussianNoise"
    r"|Activation|Softmax|ReLU|LeakyReLU|PReLU|ELU"
)


def prescribe_wider(log: RunLog, finding: Finding) -> Prescription | None:
    """More units for the hidden layers that have fewer than half of what is usual, whatever else is wrong.

    A layer of a handful of units hands on no more numbers than that, and what it loses no later layer has. Such
    networks also get stuck where slightly wider ones do not (Safran & Shamir 2018, "Spurious Local Minima are Common in
    Two-Layer ReLU Neural Networks", section 5), and each ReLU layer of `w` units is dead for an input with a chance of
    `2^-w` (Lu et al. 2020, "Dying ReLU and Initialization", section 3). Only in chains, where no width is bound to
    another, and not where inputs may be given back: there a narrow layer is what is wanted.
    """
    if not _is_free(log.structure) or _may_give_back(log):
        return None
    narrow = [layer for layer in hidden_with_units(log.structure) if _WORTHWHILE * (layer.units or _USUAL) < _USUAL]
    if not narrow:
        return None
    widths, names = [layer.units or _USUAL for layer in narrow], [layer.name for layer in narrow]
    fewest, most = min(widths), max(widths)
    units = f"{fewest} to {most} units" if fewest < most else f"{most} unit{'s' * (most > 1)}"
    return Prescription(
        knob="architecture",
        target=tuple(names),
        before=units if len(names) == 1 else f"hidden layers of {units}",
        after=f"{_USUAL} units in {comment_of(names)}",
        why=f"{comment_of(names)} {'has' if len(names) == 1 else 'have'} {units}; in five of six small "
        f"healthy networks none has fewer than {_USUAL}, and wider ones get stuck less often (Safran & Shamir 2018).",
        code="\n".join(layers_code([(layer, {"units": str(_USUAL)})]) for layer in narrow),
        finding=finding.rule,
        evidence=(Evidence("units of the narrowest hidden layer", float(fewest), "units", float(_USUAL)),),
        settings={"layers": {name: {"units": _USUAL} for name in names}},
    )


def hidden_with_units(structure: Structure) -> list[Layer]:
    """The dense and recurrent layers before the last layer of a chain that sets a width; none where it is no chain.

    In a chain each layer reads the one before it and nothing else, so that no width hangs on that of another.
    """
    layers = structure.layers
    is_chain = structure.kind in ("sequential", "functional") and all(
        layer.inbound == (() if not place else (layers[place - 1].name,)) for place, layer in enumerate(layers)
    )
    setting = [layer for layer in layers if _SETS_WIDTH.fullmatch(layer.class_name)]
    return [layer for layer in setting[:-1] if layer.class_name in _WITH_UNITS] if is_chain else []


def is_wider(prescription: Prescription) -> bool:
    """Whether it is one of `prescribe_wider`."""
    return prescription.knob == "architecture" and "layers" in prescription.settings


def code_without(wider: Prescription, names: Collection[str]) -> str:
    """Its code without the lines for these layers, which other answers print with as many units."""
    lines = zip(wider.target, wider.code.splitlines(), strict=True)  # one for each layer
    return "\n".join(line for name, line in lines if name not in names)


def widened(log: RunLog, wider: Prescription) -> RunLog:
    """The run with these layers as wide as prescribed, for the code of other answers; what was measured stays."""
    units: Mapping[str, Mapping[str, int]] = wider.settings["layers"]
    layers = tuple(
        replace(layer, units=units[layer.name]["units"], config={**layer.config, **units[layer.name]})
        if layer.name in units
        else layer
        for layer in log.structure.layers
    )
    return replace(log, structure=replace(log.structure, layers=layers))


def _is_free(structure: Structure) -> bool:
    """Whether every layer takes whatever width the one before it has, and none has weights that are kept."""
    return all(
        (_SETS_WIDTH.fullmatch(layer.class_name) or _INDIFFERENT.fullmatch(layer.class_name))
        and (layer.trainable or not layer.parameters)
        and not layer.config.get("return_state")
        and "/" not in layer.name
        for layer in structure.layers
    )


def _may_give_back(log: RunLog) -> bool:
    """Whether targets are as large as the inputs, as in an autoencoder, or nobody saw either."""
    data = log.data
    if data is None or not data.inputs or not data.targets:
        return True
    given = data.inputs[0]
    classes = [each.one_hot or each.row_sums_one for each in data.targets]
    alike = [math.prod(each.shape) == math.prod(given.shape) > 1 for each in data.targets]
    same_kind = given.one_hot or given.row_sums_one
    return any(is_alike and (same_kind or not of_classes) for is_alike, of_classes in zip(alike, classes, strict=True))
