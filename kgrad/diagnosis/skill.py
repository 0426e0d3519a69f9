"""How far a run got beyond the best constant answer: a measure of learning that a bad start cannot flatter."""

import math

import numpy as np

from kgrad.diagnosis.loss_curve import LossCurve, loss_curve, still_falls
from kgrad.log.batch import WHOLE, times_log
from kgrad.log.objective import Objective, objectives
from kgrad.log.run_log import RunLog

# As in plateau: fewer steps hold too few windows to tell a slope from noise.
_FEWEST = 50
_MEAN = "sum_over_batch_size"
_CLASSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")
# Soft targets whose own entropy is this share of a constant answer's loss leave too little to measure a share of.
_SOFTEST = 0.95
# The best of sixty windows lies some two standard errors low by chance, and the first one may lie two high.
_ERRORS = 6.0
# With ten rows for each class the entropy of their shares is known to a few hundredths of a nat (Paninski 2003).
_ROWS_PER_CLASS = 10
# Less than this share leaves enough to learn for a fall over the last half to matter (own choice).
MOST = 0.8


def skill(log: RunLog) -> float | None:
    """The share of the way from the loss of a constant answer to the best there is that was gone; `None`: not known.

    The progress of the loss counts from the run's own start. A start that is far above what a constant answer
    gets (inputs or weights too large) makes it look large when nothing has been learned; this does not.

    Args:
        log: a run with the column `loss`.
    """
    return _share(log, loss_curve(log).best)


def late_skill(log: RunLog) -> float | None:
    """The same by the mean of the losses of the last half: where it stands, the rare bad batches counted in.

    Args:
        log: a run with the column `loss`.
    """
    return _share(log, float(np.mean(log["loss"][len(log) // 2 :])))


def learned_most(log: RunLog) -> bool:
    """Whether little is left to learn, by `late_skill`; `True` too where that is not known."""
    reached = late_skill(log) if "loss" in log else None
    return reached is None or reached >= MOST


def _share(log: RunLog, loss: float) -> float | None:
    """How far a loss is on the way from a constant answer's to the best there is; `None` where that is not known."""
    constant = constant_answer(log)
    if not constant or not math.isfinite(loss):
        return None
    floor = math.fsum(each.weight * least_loss(each) for each in objectives(log))
    return float((constant - loss) / (constant - floor)) if floor < _SOFTEST * constant else None


def constant_answer(log: RunLog) -> float | None:
    """The loss of the best constant answer, over all outputs; `None` where one is not known, or rows are weighted."""
    outputs = objectives(log)
    known = [each.weight * part for each in outputs if (part := constant_loss(each))]
    weighted = any(each is not None and each.weighted for each in (log.batch, log.data))
    return math.fsum(known) if known and len(known) == len(outputs) and not weighted else None


def constant_loss(objective: Objective) -> float | None:
    """The loss of the best answer that does not look at the input, `None` where it cannot be told.

    For classes it is the entropy of their shares where the batch has rows enough to tell those, else that of equal
    shares, `log(classes)`; for squared errors the variance of the targets, for absolute ones the mean distance from
    their median. Smoothed labels are a mixture, whose entropy is at most the sum of its parts' (Cover & Thomas 2006,
    section 2.5).
    """
    if objective.loss is None or objective.loss.config.get("reduction", _MEAN) != _MEAN:
        return None
    name, target = objective.loss.name, objective.target
    smooth = least_loss(objective) if objective.loss.config.get("label_smoothing") else 0.0
    if name in _CLASSES:
        return _of_classes(objective, smooth)
    if name == "binary_crossentropy":
        if target is not None and target.feature_entropy is None:
            return None
        return math.log(2) if target is None else min(math.log(2), (target.feature_entropy or 0.0) + smooth)
    if target is None:
        return None
    left = {"mean_squared_error": target.feature_variance, "mean_absolute_error": target.absolute_deviation}
    return left.get(name) or None


def _of_classes(objective: Objective, smooth: float) -> float | None:
    if not objective.units or objective.units < 2:
        return None
    equal, target = math.log(objective.units), objective.target
    if target is None or not target.label_entropy or target.rows < _ROWS_PER_CLASS * objective.units:
        return equal
    return min(equal, target.label_entropy + smooth)


def least_loss(objective: Objective) -> float:
    """The loss of a perfect answer: 0, but for a cross-entropy of soft targets, which cost their own entropy."""
    name, target = objective.loss.name if objective.loss else "", objective.target
    smoothing = float(objective.loss.config.get("label_smoothing") or 0.0) if objective.loss else 0.0
    if name in _CLASSES and objective.units:
        rest = smoothing / objective.units
        smoothed = float(-times_log(1 - smoothing + rest) - (objective.units - 1) * times_log(rest))
        return max(smoothed, (target.row_entropy or 0.0) if target else 0.0)
    if name == "binary_crossentropy":
        smoothed = float(-times_log(1 - smoothing / 2) - times_log(smoothing / 2))
        return max(smoothed, (target.element_entropy or 0.0) if target else 0.0)
    return 0.0


def learned(log: RunLog) -> float:
    """The share of the loss that was learned: `skill` where it is known, else the progress since the start."""
    reached = skill(log)
    return loss_curve(log).progress if reached is None else reached


def is_certain(log: RunLog) -> bool:
    """Whether little learned is shown, by a known constant answer or by a loss that never fell beyond its noise.

    Where nobody knows how far a loss can fall (a contrastive loss, an ELBO, a loss of one's own), a small fall may be
    all that there is.
    """
    return skill(log) is not None or not _fell(loss_curve(log))


def harm(log: RunLog) -> str:
    """How grave a flaw is by what was learned in spite of it: `"high"`, `"medium"` or `"info"`.

    Half of a constant answer's loss is learned enough (`"info"`); under a tenth is nothing, unless the run is shown to
    have learned a little, which may be all that such data hold (`"medium"`). Where the constant
    answer is not known the progress of the loss takes its place, with three tenths for nothing, as in `plateau`, and
    `"high"` only where the loss never fell beyond its noise. Before a fifth of the planned steps (and 50 of them)
    nothing learned is `"medium"` only: it may yet come.
    """
    reached, curve = skill(log), loss_curve(log)
    if reached is None:
        nothing, little = curve.progress < 0.3 and not _fell(curve), curve.progress < 0.5
    else:
        nothing, little = reached < 0.1 and not _beats_constant(log), reached < 0.5
    return "high" if nothing and not _is_early(log) else "medium" if little else "info"


def is_held_back(log: RunLog) -> bool:
    """Whether a run learned half or more, but not most of it, and falls still at its planned end: it was slowed.

    Before that end every run that learns passes such a state.
    """
    reached = skill(log)
    return is_over(log) and reached is not None and 0.5 <= reached < MOST and still_falls(log)


def _beats_constant(log: RunLog) -> bool:
    """Whether the last half of the run lies under a constant answer by more than noise and by 2 % of it.

    The mean of its losses is compared, since the median of skewed losses lies under any mean. A constant answer that
    is known from one batch is not known to a few percent: there the loss must also be seen to fall.
    """
    constant, late = constant_answer(log), log["loss"][len(log) // 2 :]
    if not constant or len(late) < 2 or not np.isfinite(late).all():
        return False
    if (log.data is None or log.data.source != WHOLE) and not _fell(loss_curve(log)):
        return False
    error = float(late.std()) / math.sqrt(len(late))
    return constant - float(late.mean()) > max(_ERRORS * error, 0.02 * constant)


def _fell(curve: LossCurve) -> bool:
    """Whether the loss fell by more than noise and by 2 % of it, once the first tenth of the run was over.

    What falls sooner and then stands is what a network learns of the targets' means alone.
    """
    level = curve.level[len(curve.level) // 10 :]
    known = np.isfinite(level)
    if known.sum() < 2:
        return False
    first, noise = float(level[known][0]), _ERRORS * float(np.nanmedian(curve.error))
    return first - curve.best > max(noise, 0.02 * abs(first))


def planned_steps(log: RunLog) -> int:
    """Steps of the whole training as `fit` planned them, or those that were made where that is not known."""
    fit = log.info.get("fit") or {}
    return max((fit.get("epochs") or 0) * (fit.get("steps_per_epoch") or 0), int(log.steps[-1]) + 1)


def is_over(log: RunLog) -> bool:
    """Whether a run has come to its planned end."""
    return int(log.steps[-1]) + 1 >= planned_steps(log)


def _is_early(log: RunLog) -> bool:
    return bool(int(log.steps[-1]) + 1 < max(_FEWEST, planned_steps(log) / 5))
