"""What a treatment asks about a training: whether it is healthy, well, still learning, or a step forward."""

import math

from kgrad import workflow
from kgrad.diagnosis.finding import at_least
from kgrad.diagnosis.loss_curve import FALLS, late_fall
from kgrad.diagnosis.skill import learned_most
from kgrad.prescription.sound import LITTLE_LEARNED
from kgrad.treatment.measure import Score

# An accuracy or R² that leaves nothing to look for (own choice).
NEARLY_ALL = 0.99


def is_no_worse(examination: workflow.Examination, than: str) -> bool:
    """Whether no disease is graver than that."""
    return all(at_least(than, each.severity) for each in examination.diagnosis.findings)


def is_progress(before: workflow.Examination, old: Score, after: workflow.Examination, new: Score) -> bool:
    """Whether a better model is a new place to search from: another first cause, or better by more than a trifle."""
    causes = [
        [each.rule for each in seen.diagnosis.findings if each.severity != "info"][:1] for seen in (before, after)
    ]
    if causes[0] != causes[1] or None in (old.loss, new.loss) or math.inf in (old.loss, new.loss):
        return True
    right = (old.accuracy or 0.0) + FALLS < (new.accuracy or 0.0)
    return right or old.loss - new.loss > FALLS * abs(old.loss)  # type: ignore[operator, arg-type]


def is_well(examination: workflow.Examination) -> bool:
    """Whether nothing was found, and it did not come to rest with much left to learn."""
    return is_no_worse(examination, "info") and (falls_still(examination) or not learned_little(examination))


def is_sound(examination: workflow.Examination) -> bool:
    """Whether nothing was found and half was learned: what is left may be the noise of such data."""
    return is_no_worse(examination, "info") and not _is_noted(examination)


def learned_little(examination: workflow.Examination) -> bool:
    """Whether the rule of last resort says so, or not even most was learned."""
    return _is_noted(examination) or not learned_most(examination.log)


def _is_noted(examination: workflow.Examination) -> bool:
    return any(each.rule == LITTLE_LEARNED for each in examination.diagnosis.findings)


def falls_still(examination: workflow.Examination) -> bool:
    """Noise may hide a fall that goes on; going on is measured anyway."""
    return late_fall(examination.log)[0] > FALLS
