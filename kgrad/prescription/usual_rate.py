"""The learning-rate knob for a training to come: no more than the usual rate of descent."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import compiled_code, number, optimizer_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.momentum import LASTING, USUAL, USUAL_RATE
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.present_optimizer import present_optimizer

# Rate over (1 - momentum), which is how far a steady gradient moves the weights per step (Goh 2017).
_USUAL_SPEED = USUAL_RATE / (1 - USUAL)
GROWS = ("exploding-gradient", "nonfinite-gradient")


def calmer_rate(log: RunLog) -> float | None:
    """The usual rate of plain descent where the present one is higher, momentum counted in; `None` for no change."""
    optimizer = present_optimizer(log)
    rate = optimizer.constant_rate
    if not optimizer.is_descent or rate is None or optimizer.momentum >= 1:
        return None
    usual = _USUAL_SPEED * (1 - optimizer.momentum)
    return float(number(usual)) if rate > 1.01 * usual else None


def prescribe_calmer_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """The usual rate beside the cure of what grows, where descent is faster than usual: either is enough to explode.

    With the usual momentum the usual rate goes as far per step as ten times that without, and stays stable on a loss
    nineteen times as steep: up to `2 (1 + momentum) / rate` (Goh 2017; Nesterov's is not, and is left out here).
    """
    optimizer = present_optimizer(log)
    present = optimizer.constant_rate
    if finding.rule not in GROWS or not optimizer.is_descent or present is None:
        return None
    speed = present / (1 - optimizer.momentum) if optimizer.momentum < 1 else math.inf
    if speed <= 1.01 * _USUAL_SPEED:
        return None
    momentum = USUAL if optimizer.momentum > LASTING else max(optimizer.momentum, USUAL)
    rate = float(number(_USUAL_SPEED * (1 - momentum)))
    changes = {"learning_rate": rate, "momentum": momentum, "nesterov": False}
    times = speed / _USUAL_SPEED
    why = f"Descent at a rate of {present:.3g} is {times:.3g} times as fast as usual, and may explode by itself."
    return Prescription(
        knob="optimizer",
        target=("optimizer",),
        before=f"SGD at a rate of {present:.3g}",
        after=f"SGD with momentum {momentum:.3g}, learning rate {number(rate)}",
        why=why,
        code=compiled_code(optimizer_code(log.info, **changes)),
        finding=finding.rule,
        evidence=(Evidence("learning rate over (1 - momentum)", speed, "1", _USUAL_SPEED),),
        settings=changes,
        effect=Effect("learning rate over (1 - momentum)", speed, _USUAL_SPEED, "1", "Bengio 2012, section 3.1.1"),
    )
