"""The width knob: more units in hidden layers that have only a handful."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure
from kgrad.prescription.code import comment_of, layer_code
from kgrad.prescription.prescription import Prescription

# So many units or more has the narrowest dense or recurrent hidden layer in three of four healthy trainings, in nine of
# ten 8 or more (175 of both corpora, `benchmarks/healthy_trainings.py`).
_USUAL = 16
# A layer that is nearly as wide is left as it is (as of a rate: own choice).
_WORTHWHILE = 2.0
_WITH_UNITS = ("Dense", "SimpleRNN", "LSTM", "GRU")
# Layers that take any number of units and need no change beside them.
_INDIFFERENT = re.compile(
    r"InputLayer|Dense|SimpleRNN|LSTM|GRU|Embedding|Concatenate|Masking|Bidirectional|TimeDistributed"
    r"|(Separable)?Conv[123]D|(Global)?(Max|Average)Pooling[123]D|ZeroPadding[123]D|Flatten|Normalization|Rescaling"
    r"|(Batch|Layer)Normalization|(Spatial|Alpha|Gaussian)?Dropout([123]D)?|GaussianNoise"
    r"|Activation|Softmax|ReLU|LeakyReLU|PReLU|ELU"
)


def prescribe_wider(log: RunLog, finding: Finding) -> Prescription | None:
    """More units for the hidden layers that have fewer than half of what is usual, whatever else is wrong.

    A layer of a handful of units hands on no more numbers than that, and what it loses no later layer has. Such
    networks also get stuck where slightly wider ones do not (Safran & Shamir 2018, "Spurious Local Minima are Common in
    Two-Layer ReLU Neural Networks", section 5), and each ReLU layer of `w` units is dead for an input with a chance of
    `2^-w` (Lu et al. 2020, "Dying ReLU and Initialization", section 3). Not where the width of a layer is bound to
    that of others, nor where inputs are to be given back: there a narrow layer is what is wanted.
    """
    if not _is_free(log.structure) or _gives_back(log):
        return None
    narrow = [layer for layer in hidden_with_units(log.structure) if _WORTHWHILE * (layer.units or _USUAL) < _USUAL]
    if not narrow:
        return None
    fewest = min(layer.units or _USUAL for layer in narrow)
    names = [layer.name for layer in narrow]
    return Prescription(
        knob="architecture",
        target=tuple(names),
        before=f"{fewest} units" if len(names) == 1 else f"hidden layers of {fewest} units",
        after=f"{_USUAL} units in {comment_of(names)}",
        why=f"{comment_of(names)} {'has' if len(names) == 1 else 'have'} {fewest} units; in three of four healthy "
        f"networks no hidden layer has fewer than {_USUAL}, and wider ones get stuck less often.",
        code="\n".join(f"{layer_code(layer, units=str(_USUAL))}{_for(layer.name)}" for layer in narrow),
        finding=finding.rule,
        evidence=(Evidence("units of the narrowest hidden layer", float(fewest), "units", float(_USUAL)),),
        settings={"layers": {name: {"units": _USUAL} for name in names}},
    )


def hidden_with_units(structure: Structure) -> list[Layer]:
    """The dense and recurrent layers that feed another layer with weights, those inside of others left out."""
    weighted = {layer.name for layer in structure.weighted_layers}
    feeding: set[str] = set()
    for layer in reversed(structure.layers):  # from the output on
        if layer.name in weighted | feeding:
            feeding.update(layer.inbound)
    return [
        layer
        for layer in structure.weighted_layers
        if layer.name in feeding and layer.class_name in _WITH_UNITS and "/" not in layer.name
    ]


def is_wider(prescription: Prescription) -> bool:
    """Whether it is one of `prescribe_wider`."""
    return prescription.knob == "architecture" and "layers" in prescription.settings


def code_without(wider: Prescription, names: Collection[str]) -> str:
    """Its code without the lines for these layers, which other answers print with as many units."""
    ends = tuple(_for(name) for name in names)
    return "\n".join(line for line in wider.code.splitlines() if not line.endswith(ends))


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


def _for(name: str) -> str:
    return f"  # {comment_of([name])}"


def _is_free(structure: Structure) -> bool:
    """Whether the graph is known and each layer takes whatever width the one before it has."""
    return structure.kind in ("sequential", "functional") and all(
        _INDIFFERENT.fullmatch(layer.class_name) and (layer.trainable or not layer.parameters)
        for layer in structure.layers
    )


def _gives_back(log: RunLog) -> bool:
    """Whether targets have the shape of the inputs, as in an autoencoder."""
    data = log.data
    if data is None or len(data.inputs) != 1 or len(data.targets) != 1:
        return False
    given, wanted = data.inputs[0], data.targets[0]
    is_classes = wanted.one_hot or wanted.row_sums_one
    return given.features > 1 and given.shape == wanted.shape and not is_classes
