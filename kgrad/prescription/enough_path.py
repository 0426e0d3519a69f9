"""The learning-rate knob for a training to come: a rate at which the planned steps of Adam can arrive."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import number
from kgrad.prescription.epochs import planned_updates
from kgrad.prescription.learning_rate import moved
from kgrad.prescription.optimizer import adam_rate, usual_weight
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled

# Optimizers whose first step changes every weight by the rate (Kingma & Ba 2015, section 2.1).
ADAPTIVE = ("Adam", "AdamW", "Nadam")
# The change by the first step, times the updates, after which three in four of 206 healthy trainings with Adam had made
# 95 % of their way; half of them had after 1.9 (`benchmarks/healthy_trainings.py` on both corpora).
_ENOUGH_PATH = 4.6
# A rate that is nearly the one that it would become is left as it is (own choice).
_WORTHWHILE = 2.0


def prescribe_enough_path(log: RunLog, finding: Finding) -> Prescription | None:
    """A higher rate where the planned steps of Adam are too small and too few to arrive, whatever else is wrong.

    A run whose cause is mended begins anew. Steps of Adam do not grow with the gradient: what they can travel is the
    rate times their number, little of the large weights of narrow layers. Where that is less than three in four
    healthy trainings took (`_ENOUGH_PATH`), the rate becomes the one whose first step changes the weights as theirs do.
    """
    optimizer, planned = present_optimizer(log), planned_updates(log)
    present, wanted, weight = optimizer.constant_rate, adam_rate(log), usual_weight(log)
    if optimizer.name not in ADAPTIVE or present is None or weight is None or not planned:
        return None
    if wanted < _WORTHWHILE * present:
        return None
    first = present / weight
    path = planned * first
    if path >= _ENOUGH_PATH:
        return None
    why = (
        f"{planned} steps of {100 * first:.2g} % of the weights' size add up to {path:.2g} of it; three in four "
        f"healthy trainings with Adam went {_ENOUGH_PATH:g} at most."
    )
    return recompiled(
        log,
        finding,
        {"learning_rate": wanted},
        knob="learning_rate",
        before=f"{present:.3g}",
        after=number(wanted),
        why=why,
        evidence=(Evidence("first step times the planned steps", path, "weight sizes", _ENOUGH_PATH),),
        effect=moved(first, wanted / present),
    )
