"""The learning-rate knob for a training to come: no more than the usual rate of descent."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.reach import RECTIFIERS
from kgrad.diagnosis.usual_speed import USUAL_MOMENTUM, usual_speed
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.momentum import LASTING
from kgrad.prescription.optimizer import LARGEST_RATE, adam_instead, adam_rate
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled

_GROWS = ("exploding-gradient", "nonfinite-gradient")
# Their first step changes every weight by the rate or more (Duchi et al. 2011; Kingma & Ba 2015, section 2.1).
_ADAPTIVE = ("Adagrad", "RMSprop", "Adam", "AdamW", "Nadam", "Adamax")
# Units that died at a rate so many times the usual one die again with the units alone mended (own choice).
_KILLS = 10.0


def calmer_rate(log: RunLog) -> float | None:
    """The usual rate of plain descent where the present one is higher, momentum counted in; `None` for no change."""
    optimizer, usual = present_optimizer(log), usual_speed(log)
    if optimizer.speed is None or not 1.01 * usual < optimizer.speed < math.inf:
        return None
    return float(number(usual * (1 - optimizer.momentum)))


def prescribe_calmer_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """The usual rate beside the cure of what grows, where descent is faster than usual: either is enough to explode.

    It is the cure itself where the weights grow too. Beside that of dead units too, and of large inputs, which kill
    rectifiers, where it is many times as fast.

    With the usual momentum the usual rate goes as far per step as ten times that without, and stays stable on a loss
    nineteen times as steep: up to `2 (1 + momentum) / rate` (Goh 2017; Nesterov's is not, and is left out here).
    """
    optimizer, usual = present_optimizer(log), usual_speed(log)
    speed = optimizer.speed
    large_inputs = "unscaled-inputs:large-inputs" in finding.names
    if large_inputs and not _has_rectifiers(log):
        return None
    if large_inputs and optimizer.name in _ADAPTIVE:
        return _calmer_adam(log, finding)
    kills = large_inputs or finding.rule == "dead-units"
    too_fast = 1.01 if finding.rule in _GROWS else _KILLS if kills else None
    if too_fast is None or speed is None or not 0.999 * too_fast * usual <= speed < math.inf:  # rounded quotients
        return None
    momentum = USUAL_MOMENTUM if optimizer.momentum > LASTING else max(optimizer.momentum, USUAL_MOMENTUM)
    rate = float(number(usual * (1 - momentum)))
    changes = {"learning_rate": rate, "momentum": momentum, "nesterov": False}
    harms = "explode" if finding.rule in _GROWS else "kill units"
    present, times = f"a rate of {optimizer.constant_rate:.3g}", speed / usual
    why = f"Descent at {present} is {times:.3g} times as fast as usual, and may {harms} by itself."
    return recompiled(
        log,
        finding,
        changes,
        knob="optimizer",
        before=f"SGD at {present}",
        after=f"SGD with momentum {momentum:.3g}, learning rate {number(rate)}",
        why=why,
        evidence=(Evidence("learning rate over (1 - momentum)", speed, "1", usual),),
        effect=Effect("learning rate over (1 - momentum)", speed, usual, "1", "Bengio 2012, section 3.1.1"),
    )


def _has_rectifiers(log: RunLog) -> bool:
    hidden = (log.structure.effective_activation(layer.name) for layer in log.structure.weighted_layers[:-1])
    return any(activation in RECTIFIERS for activation in hidden)


def _calmer_adam(log: RunLog, finding: Finding) -> Prescription | None:
    """Adam at a sound rate where the first step of an adaptive optimizer alone is many times too large."""
    optimizer, wanted = present_optimizer(log), adam_rate(log)
    rate = optimizer.constant_rate
    if rate is None or rate < _KILLS * LARGEST_RATE:
        return None
    why = f"The first step of {optimizer.name} moves weights by its rate, {rate:.3g}, and may kill units by itself."
    source = "Kingma & Ba 2015, section 2.1"
    effect = Effect("change of a weight by the first step", rate, wanted, "weight", source)
    return adam_instead(log, finding, why, (Evidence("learning rate", rate, "weight", LARGEST_RATE),), effect)
