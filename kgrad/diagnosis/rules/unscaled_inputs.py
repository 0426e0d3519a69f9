"""The rule `unscaled-inputs`."""

import math
from collections.abc import Iterator
from typing import Any

from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import constant_answer, harm, skill
from kgrad.log.batch import BatchFacts, TensorFacts
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure

LARGE = Limit(
    "scale of inputs",
    10.0,
    "1",
    "the usual initializers assume inputs of unit variance (LeCun et al. 1998, Efficient BackProp, section 4.3); a "
    "decade more makes every pre-activation a decade larger. Unscaled controls of the corpus that learn reach 8.",
)
SMALL = Limit(
    "scale of inputs, too small",
    0.1,
    "1",
    "the mirror image: a decade under unit variance, so that the biases outweigh the inputs.",
)
TARGETS = Limit(
    "scale of targets",
    100.0,
    "1",
    "the gradient of a squared error grows with the scale; two decades take the usual learning rates (1e-4 to 1e-2) "
    "out of their range. Less is a matter of the learning rate (own choice).",
)
OFF_CENTRE = Limit(
    "mean of the inputs over their spread",
    10.0,
    "1",
    "the Hessian's largest eigenvalue grows with the square of the mean (LeCun et al. 1998, section 4.3): a condition "
    "number of 100 from this alone.",
)
START = Limit(
    "loss of the first steps over that of a constant answer",
    10.0,
    "1",
    "sound initial weights begin near the constant answer (log of the classes); a decade above it is spent on undoing "
    "the scale before anything is learned.",
)
FEWEST = Limit("rows", 8.0, "rows", "fewer rows give no spread to compare a mean with (own choice).")

# Layers that bring inputs to scale, or for which their scale means nothing.
_ABSORBING = ("Normalization", "Rescaling", "Embedding", "Lookup", "Hashing", "Discretization", "Encoding", "Vector")
# Layers that pass the scale of their input on.
_PASSING = (
    *("Random", "Resizing", "Pooling", "Padding", "Crop", "Reshape", "Flatten", "Permute", "Dropout", "Noise"),
    *("Masking", "Concatenate", "UpSampling", "InputLayer"),
)


@rule(columns=("loss",), limits=(LARGE, SMALL, TARGETS, OFF_CENTRE, START, FEWEST))
def unscaled_inputs(log: RunLog) -> Finding | None:
    """The inputs (or the targets of a regression) are far from unit scale, which the initial weights assume.

    Measured: mean and standard deviation of the features of the first batch, unless the model's first layers
    normalize, rescale or embed them; for squared errors those of the targets too. The severity follows the harm:
    how little was learned beyond the best constant answer, or how far above it the run began. Inputs out of scale in a
    run that begins soundly and learns are a note.

    Blind spot: an operation that is no layer (`x / 255`) hides what follows the input, and the rule is then silent;
    one batch may not show the whole range.
    """
    if log.data is None:
        raise NotApplicable("the run holds no facts of a batch")
    found = next(_inputs(log.structure, log.data), None) or _targets(log)
    if found is None:
        return None
    kind, text, layers, fix, evidence = found
    reached, curve, constant = skill(log), loss_curve(log), constant_answer(log)
    seen = [evidence, Evidence("progress of the loss", curve.progress, "share")]
    severity = harm(log)
    if reached is not None and constant is not None:
        start = curve.start / constant
        severity = "low" if severity == "info" and start >= START.value else severity
        seen.append(Evidence("learned beyond the best constant answer", reached, "share", 0.5))
        seen.append(Evidence(START.name, start, "1", START.value))
    return Finding(
        rule="unscaled-inputs",
        severity=severity,
        summary=text,
        layers=layers,
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=tuple(seen),
        confidence=0.85 if kind != "off-centre" else 0.7,
        details={"kind": kind, "fix": fix},
    )


_Found = tuple[str, str, tuple[str, ...], dict[str, Any], Evidence]


def _inputs(structure: Structure, batch: BatchFacts) -> Iterator[_Found]:
    entries = [layer for layer in structure.layers if layer.class_name == "InputLayer"] or list(structure.layers[:1])
    for place, facts in enumerate(batch.inputs):
        named = [layer for layer in entries if layer.name == facts.name]
        own = named or ([entries[place]] if len(entries) == len(batch.inputs) else entries)
        readers = {reader.name: reader for entry in own for reader in _readers(structure, entry)}
        if readers and all(_is_raw(structure, reader) for reader in readers.values()):
            said = _judge(facts, batch.rows, tuple(readers))
            if said is not None:
                yield said


def _readers(structure: Structure, layer: Layer) -> Iterator[Layer]:
    """The first layers behind `layer` that do more than pass the scale on; itself where it does."""
    if not any(part in layer.class_name for part in _PASSING):
        yield layer
        return
    for follower in structure.consumers(layer.name):
        yield from _readers(structure, follower)


def _is_raw(structure: Structure, layer: Layer) -> bool:
    if any(part in layer.class_name for part in _ABSORBING) or structure.is_normalized(layer.name):
        return False
    return any(v.is_kernel and v.layer.split("/")[0] == layer.name for v in structure.variables)


def _judge(facts: TensorFacts, rows: int, layers: tuple[str, ...]) -> _Found | None:
    if facts.mean is None or facts.std is None or facts.minimum is None or facts.maximum is None:
        return None
    scale = max(facts.feature_std_maximum or 0.0, facts.feature_mean_maximum or 0.0)
    if rows < FEWEST.value:  # one feature of one row is a value, no scale
        scale = math.hypot(facts.mean, facts.std)
    span = f"from {facts.minimum:.3g} to {facts.maximum:.3g}"
    fix: dict[str, Any] = {"layer": "Normalization"}
    if scale >= LARGE.value:
        fix = {"layer": "Rescaling", "scale": 1 / 255} if facts.are_pixels else fix
        text = f"The inputs reach {span}, a scale of {power(scale)}, and go into {layers[0]} as they are."
        return "large-inputs", text, layers, fix, Evidence("scale of the largest feature", scale, "1", LARGE.value)
    if rows < FEWEST.value:
        return None
    if 0 < scale <= SMALL.value:
        text = f"The inputs reach {span} only, a scale of {scale:.2g}, and go into {layers[0]} as they are."
        return "small-inputs", text, layers, fix, Evidence("scale of the largest feature", scale, "1", SMALL.value)
    offset = abs(facts.mean) / facts.std if facts.std else 0.0
    if offset >= OFF_CENTRE.value:
        text = f"The inputs lie around {facts.mean:.3g} with a spread of {facts.std:.2g} only: they are off-centre."
        seen = Evidence("mean of the inputs over their spread", offset, "1", OFF_CENTRE.value)
        return "off-centre", text, layers, fix, seen
    return None


def _targets(log: RunLog) -> _Found | None:
    for output in objectives(log):
        facts = output.target
        if output.loss is None or output.loss.name != "mean_squared_error" or facts is None:
            continue
        if log.structure.layer(output.layer).class_name == "Rescaling":
            continue  # it brings what is learned to the scale of the targets
        scale = max(facts.feature_std_maximum or 0.0, facts.feature_mean_maximum or 0.0)
        if scale >= TARGETS.value:
            text = (
                f"The targets reach from {facts.minimum:.3g} to {facts.maximum:.3g}, a scale of {power(scale)}, "
                "and the squared error and its gradient grow with its square."
            )
            fix = {"targets": "standardise", "mean": facts.mean, "std": facts.std}
            seen = Evidence("scale of the targets", scale, "1", TARGETS.value)
            return "large-targets", text, (output.layer,), fix, seen
    return None
