"""The width knob: more units in hidden layers that have only a handful."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.widths import AMPLE_UNITS, FEW_UNITS, SETS_WIDTH, USUAL_UNITS, narrow_layers
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Structure
from kgrad.prescription.layer_code import comment_of, layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import sections, snippet

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
    usual = f"in five of six small healthy networks none has fewer than {USUAL_UNITS}"
    return _wider(log, finding, FEW_UNITS, USUAL_UNITS, usual)


def prescribe_ample_width(log: RunLog, finding: Finding) -> Prescription | None:
    """As many units in each hidden layer as one in five small healthy networks has in all of its own, in such chains.

    Nothing says that more are needed; where no answer to a finding helps, it is worth a trial.
    """
    ample = f"one in five small healthy networks has {AMPLE_UNITS} or more in each"
    return _wider(log, finding, AMPLE_UNITS, AMPLE_UNITS, ample)


def _wider(log: RunLog, finding: Finding, fewer_than: int, wanted: int, others: str) -> Prescription | None:
    """`wanted` units in the layers with `fewer_than` so many, and what others have as the reason."""
    narrow = narrow_layers(log, fewer_than)
    if not narrow or not _is_free(log.structure):
        return None
    widths, names = [layer.units or wanted for layer in narrow], [layer.name for layer in narrow]
    fewest, most = min(widths), max(widths)
    units = f"{fewest} to {most} units" if fewest < most else f"{most} unit{'s' * (most > 1)}"
    return Prescription(
        knob="architecture",
        target=tuple(names),
        before=units if len(names) == 1 else f"hidden layers of {units}",
        after=f"{wanted} units in {comment_of(names)}",
        why=f"{comment_of(names)} {'has' if len(names) == 1 else 'have'} {units}; {others}; wider ones get stuck less "
        "often (Safran & Shamir 2018).",
        code=snippet("\n".join(layers_code([(layer, {"units": str(wanted)})]) for layer in narrow)),
        finding=finding.rule,
        evidence=(Evidence("units of the narrowest hidden layer", float(fewest), "units", float(wanted)),),
        settings={"layers": {name: {"units": wanted} for name in names}},
    )


def is_wider(prescription: Prescription) -> bool:
    """Whether it is one of `prescribe_wider`."""
    layers = prescription.settings.get("layers", {}) if prescription.knob == "architecture" else {}
    return any("units" in arguments for arguments in layers.values())


def code_without(wider: Prescription, names: Collection[str]) -> str:
    """Its code without the lines for these layers, which other answers print with as many units."""
    lines = zip(wider.target, sections(wider.code)[0], strict=True)  # one for each layer
    return snippet("\n".join(line for name, line in lines if name not in names))


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
        (SETS_WIDTH.fullmatch(layer.class_name) or _INDIFFERENT.fullmatch(layer.class_name))
        and (layer.trainable or not layer.parameters)
        and not layer.config.get("return_state")
        and "/" not in layer.name
        for layer in structure.layers
    )
