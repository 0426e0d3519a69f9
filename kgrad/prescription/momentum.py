"""The optimizer knob's momentum: enough of it for plain descent to arrive, and no more than weights can stand."""

import math
from typing import Any

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.skill import constant_answer
from kgrad.diagnosis.usual_speed import USUAL_MOMENTUM, USUAL_RATE
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.epochs import planned_updates
from kgrad.prescription.input_scaling import are_off_scale
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled

# Above this a push lasts more than twice as many steps as with the usual momentum, and the rate counts as much more.
LASTING = 0.95
# Sum of the learning rates over the steps, momentum counted in: how far plain descent gets on a loss of unit scale. Of
# 64 healthy trainings by SGD half had made 95 % of their way to the lowest loss after 13 of it, three in four after 27
# (`benchmarks/healthy_trainings.py` on both corpora).
_USUAL_DESCENT, _ENOUGH_DESCENT = 13.0, 27.0
# What goes no further than so many times as far is not worth a change (own choice).
_WORTHWHILE = 2.0
# A constant answer's loss above this is no loss of unit scale; that of 20,000 classes is still under it.
_UNIT_LOSS = 10.0
_PUSHES = 1 / (1 - USUAL_MOMENTUM)
_SOURCE = "Sutskever et al. 2013: 1 / (1 - momentum)"


def prescribe_momentum(log: RunLog, finding: Finding) -> Prescription | None:
    """Momentum for SGD without it: the gradients' common direction adds up to ten times over.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """
    if not _is_plain(log):
        return None
    why = "Momentum adds up the gradients' common direction, up to 1 / (1 - 0.9) = 10 times."
    effect = Effect("factor on a steady direction", 1.0, _PUSHES, "1", _SOURCE)
    return _with_momentum(log, finding, why, Evidence("factor of a steady direction", 10.0, "1"), effect)


def prescribe_enough_descent(log: RunLog, finding: Finding) -> Prescription | None:
    """The same where the planned steps of descent are too small and too few to arrive, whatever else is wrong.

    A run whose cause is mended begins anew. Small steps of descent follow the gradient's flow, whose time is the sum of
    the learning rates; where that is less than what three in four healthy trainings took (`_ENOUGH_DESCENT`), the
    usual momentum makes it up to ten times as much. Where that would not do, or is there, the rate becomes the usual
    one too; one above it comes down to it, for momentum bears no more. Inputs or a loss of another scale flow at
    another pace: nothing is said of those.
    """
    optimizer, planned, constant = present_optimizer(log), planned_updates(log), constant_answer(log)
    rate, momentum = optimizer.constant_rate, optimizer.momentum
    if optimizer.speed is None or rate is None or not planned or not constant or constant > _UNIT_LOSS:
        return None
    if momentum > LASTING:
        return None
    if finding.rule != "unscaled-inputs" and are_off_scale(log):
        return None
    per_rate = planned / (1 - max(momentum, USUAL_MOMENTUM))
    then = USUAL_RATE if rate * per_rate < _USUAL_DESCENT else min(rate, USUAL_RATE)
    flow, pushed = optimizer.speed * planned, then * per_rate
    if flow >= _ENOUGH_DESCENT or pushed < _WORTHWHILE * flow:
        return None
    made = f"a rate of {rate:.3g}" + (f" with a momentum of {momentum:.3g}" if momentum else "")
    why = (
        f"{planned} steps at {made} add up to {flow:.2g}; half of the healthy trainings by descent "
        f"needed {_USUAL_DESCENT:g}, three in four {_ENOUGH_DESCENT:g}."
    )
    seen = Evidence("sum of the learning rates", flow, "1", _ENOUGH_DESCENT)
    effect = Effect(seen.label, flow, pushed, "1", "the usual momentum and rate, over the planned steps")
    return _with_momentum(log, finding, why, seen, effect, then if then != rate else None)


def prescribe_usual_momentum(log: RunLog, finding: Finding) -> Prescription | None:
    """The usual momentum in place of one so close to 1 that pushes add up for a hundred steps and more.

    Descent with momentum goes `rate / (1 - momentum)` per step along a steady gradient (Goh 2017, "Why Momentum Really
    Works"): 0.99 is ten times as fast as 0.9, and what was pushed too far is pushed on for as long.
    """
    momentum = present_optimizer(log).momentum
    if momentum <= LASTING:
        return None
    pushes = 1 / (1 - momentum) if momentum < 1 else math.inf
    usual = f"with the usual {USUAL_MOMENTUM} for ten"
    why = f"With a momentum of {momentum:.3g} a push goes on for {pushes:.3g} steps, {usual}."
    return recompiled(
        log,
        finding,
        {"momentum": USUAL_MOMENTUM},
        knob="optimizer",
        before=f"momentum {momentum:.3g}",
        after=f"momentum {USUAL_MOMENTUM}",
        why=why,
        evidence=(Evidence("momentum", momentum, "1", USUAL_MOMENTUM),),
        effect=Effect("factor on a steady direction", pushes, _PUSHES, "1", _SOURCE) if momentum < 1 else None,
    )


def _is_plain(log: RunLog) -> bool:
    """Whether the run is known to be made with SGD without momentum; its rate may be a schedule."""
    optimizer = present_optimizer(log)
    return optimizer.is_descent and "learning_rate" in optimizer.config and not optimizer.momentum


def _with_momentum(
    log: RunLog, finding: Finding, why: str, seen: Evidence, effect: Effect, rate: float | None = None
) -> Prescription:
    present = present_optimizer(log).momentum
    momentum = max(present, USUAL_MOMENTUM)
    changes: dict[str, Any] = {"momentum": momentum, "nesterov": True}
    if rate is not None:
        changes["learning_rate"] = rate
    return recompiled(
        log,
        finding,
        changes,
        knob="optimizer",
        before=f"SGD with momentum {present:.3g}" if present else "SGD without momentum",
        after=f"SGD with Nesterov momentum {momentum:.3g}" + ("" if rate is None else f", learning rate {rate}"),
        why=why,
        evidence=(seen,),
        effect=effect,
    )
