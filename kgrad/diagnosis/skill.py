"""How far a run got beyond the best constant answer: a measure of learning that a bad start cannot flatter."""

import math

import numpy as np

from kgrad.diagnosis import signals
from kgrad.log.objective import Objective, objectives
from kgrad.log.run_log import RunLog

# As in plateau: fewer steps hold too few windows to tell a slope from noise.
_FEWEST = 50
_MEAN = "sum_over_batch_size"
# With ten rows for each class the entropy of their shares is known to a few hundredths of a nat (Paninski 2003).
_ROWS_PER_CLASS = 10


def skill(log: RunLog) -> float | None:
    """Share of the loss of a constant answer by which the best window lies under it; `None` where not known.

    The progress of the loss counts from the run's own start. A start that is far above what a constant answer
    gets (inputs or weights too large) makes it look large when nothing has been learned; this does not.

    Args:
        log: a run with the column `loss`.
    """
    constant, level = constant_answer(log), signals.loss_curve(log).level
    known = level[np.isfinite(level)]
    return float(1 - known.min() / constant) if constant and len(known) else None


def constant_answer(log: RunLog) -> float | None:
    """The loss of the best constant answer, over all outputs; `None` where one is not known."""
    outputs = objectives(log)
    known = [each.weight * part for each in outputs if (part := constant_loss(each))]
    return math.fsum(known) if known and len(known) == len(outputs) else None


def constant_loss(objective: Objective) -> float | None:
    """The loss of the best answer that does not look at the input, `None` where it cannot be told.

    For classes it is the entropy of their shares where the batch has rows enough to tell those, else that of equal
    shares, `log(classes)`; for squared errors the variance of the targets, for absolute ones the mean distance from
    their median.
    """
    if objective.loss is None or objective.loss.config.get("reduction", _MEAN) != _MEAN:
        return None
    name, target = objective.loss.name, objective.target
    if name in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        return _of_classes(objective)
    if name == "binary_crossentropy":
        return math.log(2) if target is None else target.feature_entropy
    if target is None:
        return None
    left = {"mean_squared_error": target.feature_variance, "mean_absolute_error": target.absolute_deviation}
    return left.get(name) or None


def _of_classes(objective: Objective) -> float | None:
    if not objective.units or objective.units < 2:
        return None
    equal, target = math.log(objective.units), objective.target
    if target is None or not target.label_entropy or target.rows < _ROWS_PER_CLASS * objective.units:
        return equal
    return min(equal, target.label_entropy)


def learned(log: RunLog) -> float:
    """The share of the loss that was learned: `skill` where it is known, else the progress since the start."""
    reached = skill(log)
    return signals.loss_curve(log).progress if reached is None else reached


def harm(log: RunLog) -> str:
    """How grave a flaw is by what was learned in spite of it: `"high"`, `"medium"` or `"info"`.

    Half of a constant answer's loss is learned enough (`"info"`); under a tenth is nothing. Where the constant
    answer is not known the progress of the loss takes its place, with three tenths for nothing, as in `plateau`.
    Before a fifth of the planned steps (and 50 of them) nothing learned is `"medium"` only: it may yet come.
    """
    reached, progress = skill(log), signals.loss_curve(log).progress
    nothing, little = (progress < 0.3, progress < 0.5) if reached is None else (reached < 0.1, reached < 0.5)
    return "high" if nothing and not _is_early(log) else "medium" if little else "info"


def _is_early(log: RunLog) -> bool:
    fit = log.info.get("fit") or {}
    planned = (fit.get("epochs") or 0) * (fit.get("steps_per_epoch") or 0)
    return bool(int(log.steps[-1]) + 1 < max(_FEWEST, planned / 5))
