"""The activation knob beside another cure: hidden sigmoids answer around a half, and pass little back."""

from collections.abc import Sequence
from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.skill import harm
from kgrad.diagnosis.usual_speed import USUAL_SPEED
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.log.structure import in_a_row
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.initializer import misfit_layers
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.rectifier import rectifier
from kgrad.prescription.swap import hidden_with, swap

# The largest slopes, at 0.
_SLOPES = {"sigmoid": 0.25, "hard_sigmoid": 1 / 6}
_SOURCE = "the slope of a rectifier that is on is 1 (Glorot, Bordes & Bengio 2011)"
_FULL = ("Dense", "Conv1D", "Conv2D", "Conv3D")


def prescribe_rectified_sigmoids(log: RunLog, finding: Finding, cure: Sequence[Prescription]) -> Prescription | None:
    """A rectifier in place of hidden sigmoids, where the run learned nothing: whatever else is mended, it gets further.

    What a sigmoid hands on has a mean of a half, which the next layer must first learn to take away, and it passes a
    quarter of the gradient back at most (LeCun et al. 1998, "Efficient BackProp", section 4.4; Glorot & Bengio 2010,
    section 3.1). Not tanh: without biases a network of it is odd in its inputs, and begins blind to what is the same
    at `x` and at `-x`, as rings around 0 are. In chains only: elsewhere a sigmoid may be a gate or an output.

    A rate of descent that sigmoids bore is brought to the usual one, as for rectifiers. Where the cure makes an
    optimizer itself, that has the word; beside descent that stays faster than usual there is none.

    Args:
        log: the run.
        finding: what it is prescribed for.
        cure: what it is prescribed beside.
    """
    hidden = _hidden_sigmoids(log)
    if not hidden or "loss" not in log or harm(log) != "high":
        return None
    made = next((each.settings for each in reversed(cure) if each.makes_optimizer), None)
    present = present_optimizer(log)
    rate = None
    if made is None and present.speed is not None and present.speed > 1.01 * USUAL_SPEED:
        if present.momentum >= 1:
            return None
        rate = float(number(USUAL_SPEED * (1 - present.momentum)))
    elif made is not None and present.is_descent and made.get("optimizer", "SGD") == "SGD":
        momentum = float(made.get("momentum", present.momentum) or 0.0)
        kept = float(made.get("learning_rate") or present.constant_rate or 0.0)
        if kept > 1.01 * USUAL_SPEED * (1 - momentum):
            return None
    slope = max(_SLOPES[str(log.structure.effective_activation(name))] for name in hidden)
    wanted = rectifier(log, hidden)
    why = f"Hidden sigmoids answer around 0.5 and pass {slope:.2g} of the gradient back at most; {wanted.reason}."
    effect = Effect("largest slope of a hidden unit", slope, 1.0, "1", _SOURCE)
    seen = (Evidence("largest slope of the present activation", slope),)
    return swap(log, finding, hidden, wanted.name, why, seen, effect, rate)


def prescribe_rectified_start(log: RunLog, finding: Finding) -> Prescription | None:
    """The same, with its weights, where all those that are off are the weights of hidden sigmoids.

    Weights that make up for a slope of 1/4 are four times as large as usual, and drive sigmoids to their ends.
    """
    of_sigmoids = {*finding.layers, *misfit_layers(log)} <= set(_hidden_sigmoids(log))
    made = prescribe_rectified_sigmoids(log, finding, ()) if of_sigmoids else None
    return None if made is None else replace(made, why=f"The first weights of sigmoids are off. {made.why}")


def _hidden_sigmoids(log: RunLog) -> list[str]:
    """The dense and convolutional layers of a chain whose answers a sigmoid squashes, but the last."""
    structure = log.structure
    if structure.kind not in ("sequential", "functional") or not in_a_row(structure.layers):
        return []
    named = [name for name in hidden_with(log, tuple(_SLOPES)) if structure.layer(name).class_name in _FULL]
    return [name for name in named if "/" not in name and "/" not in structure.activation_layer(name).name]
