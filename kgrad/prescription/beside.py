"""What a cured training needs besides its cure, to get far enough: it begins anew and has learned nothing yet."""

from collections.abc import Sequence

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.enough_path import prescribe_enough_path
from kgrad.prescription.epochs import prescribe_enough_updates, prescribe_more_epochs
from kgrad.prescription.hidden_sigmoids import prescribe_rectified_sigmoids
from kgrad.prescription.input_scaling import prescribe_target_scaling
from kgrad.prescription.momentum import prescribe_enough_descent
from kgrad.prescription.optimizer import prescribe_optimizer
from kgrad.prescription.output_bias import prescribe_output_bias
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.usual_rate import prescribe_calmer_rate
from kgrad.prescription.width import prescribe_wider


def beside(log: RunLog, diagnosis: Diagnosis, offered: list[Prescription]) -> tuple[Prescription, ...]:
    """What the cured training needs to get far enough: units, updates, momentum, a rate; for the first cause."""
    first = _answered(diagnosis, offered)
    if first is None:
        return ()
    mismatch = next((each for each in diagnosis.findings if each.rule == "output-loss-mismatch"), first)
    needs = [
        *(prescribe_output_bias(log, first), prescribe_wider(log, first)),
        *(prescribe_enough_updates(log, first), prescribe_calmer_rate(log, first)),
    ]
    if first.rule == "plateau" and mismatch.details.get("kind") == "classes-by-distance":
        # The slope of the output's own sigmoid or softmax is a factor of each gradient: plain descent stays slow.
        needs.append(prescribe_optimizer(log, first))
    if not _slows(log, first, offered):
        needs += [prescribe_enough_descent(log, first), prescribe_enough_path(log, first)]
    return tuple(each for each in (prescribe_target_scaling(log, mismatch), *needs) if each is not None)


def units_beside(
    log: RunLog, diagnosis: Diagnosis, offered: Sequence[Prescription], cure: Sequence[Prescription]
) -> Prescription | None:
    """What the hidden units of the cured training answer, beside all the rest of the cure."""
    first = _answered(diagnosis, offered)
    return None if first is None else prescribe_rectified_sigmoids(log, first, cure)


def at_their_pace(
    log: RunLog, diagnosis: Diagnosis, offered: list[Prescription], further: Sequence[Prescription]
) -> list[Prescription]:
    """The answers, with fewer epochs in the first where larger steps come beside it."""
    faster = next((each.effect for each in further if each.knob in ("optimizer", "learning_rate")), None)
    first = _answered(diagnosis, offered)
    if first is None or offered[0].knob != "epochs" or faster is None or not faster.before:
        return offered
    fewer = prescribe_more_epochs(log, first, faster.after / faster.before)
    return [fewer, *offered[1:]] if fewer is not None else offered


def _answered(diagnosis: Diagnosis, offered: Sequence[Prescription]) -> Finding | None:
    """The finding that the first answer is for; `None` where there is none."""
    return next((each for each in diagnosis.findings if offered and each.rule == offered[0].finding), None)


def _slows(log: RunLog, first: Finding, offered: list[Prescription]) -> bool:
    """Whether one of the answers to the first cause makes smaller steps: nothing beside it makes larger ones."""
    present = present_optimizer(log).constant_rate
    rates = [each.settings.get("learning_rate") for each in offered if each.finding == first.rule]
    return present is not None and any(rate is not None and rate < present for rate in rates)
