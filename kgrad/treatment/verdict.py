"""The verdict of a trial, by the interval of the difference of its losses."""

import math
from collections.abc import Sequence

from kgrad.treatment.interval import Interval, paired_interval
from kgrad.treatment.training import Outcome

# A mean difference below this share of the unchanged model's loss is not worth a change, however certain it is.
# A convention of kgrad, not a calibrated number.
_WORTHWHILE = 0.01


def judge(outcomes: Sequence[tuple[Outcome, Outcome]]) -> tuple[Interval | None, str]:
    """The interval of the difference of final losses, changed minus unchanged, and the verdict.

    A change after which no training ends with a finite loss, where all did before, is harmful whatever the interval.

    Args:
        outcomes: of the unchanged and the changed model, for each seed.
    """
    unchanged, changed = comparable_losses(outcomes)
    difference = paired_interval([after - before for before, after in zip(unchanged, changed, strict=True)])
    finite = [(math.isfinite(before.loss), math.isfinite(after.loss)) for before, after in outcomes]
    if difference is not None and set(finite) == {(True, False)}:
        return difference, "harmful"
    return difference, verdict_of(difference, sum(unchanged) / len(unchanged))


def verdict_of(difference: Interval | None, unchanged_loss: float) -> str:
    """The verdict by the interval of the difference of losses, changed minus unchanged.

    >>> verdict_of(Interval(-0.5, -0.6, -0.4, 0.95), 2.3), verdict_of(Interval(-0.5, -1.1, 0.1, 0.95), 2.3)
    ('proven', 'no effect')
    """
    if difference is None:
        return "not enough evidence"
    if difference.low <= 0 <= difference.high or abs(difference.mean) <= _WORTHWHILE * abs(unchanged_loss):
        return "no effect"
    return "proven" if difference.mean < 0 else "harmful"


def comparable_losses(outcomes: Sequence[tuple[Outcome, Outcome]]) -> tuple[list[float], list[float]]:
    """Final losses of the unchanged and the changed models, all of them finite.

    A training that ended without a finite loss counts as one that ended at the largest finite loss seen in the
    trial, before or after training: it is surely no better than that, so no difference is made larger than it is.

    Args:
        outcomes: of the unchanged and the changed model, for each seed.
    """
    seen = [loss for pair in outcomes for outcome in pair for loss in (outcome.first_loss, outcome.loss)]
    worst = max((loss for loss in seen if math.isfinite(loss)), default=0.0)

    def known(outcome: Outcome) -> float:
        return outcome.loss if math.isfinite(outcome.loss) else worst

    return [known(unchanged) for unchanged, _ in outcomes], [known(changed) for _, changed in outcomes]
