"""First steps so large that they throw the weights away."""

import math

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit
from kgrad.diagnosis.skill import constant_answer, harm
from kgrad.log.run_log import FloatArray, RunLog

RATIO = Limit(
    "update ratio of the first steps",
    0.3,
    "1",
    "TheDeepChecker (Ben Braiek & Khomh 2023) calls more than 0.1 too fast; a step of a third of the weights' size "
    "replaces what they were rather than corrects it.",
)
OVERSHOOT = Limit(
    "loss after the first steps over the loss to be expected of a constant answer",
    3.0,
    "1",
    "a model that answers three times worse than one that ignores its inputs was thrown there by its own updates "
    "(own choice; the controls of the corpus stay under 1.6 once they have begun under it).",
)
REPLACED = Limit(
    "update ratio of the median kernel in the first steps",
    1.0,
    "1",
    "a step as large as the weights puts other weights in their place; ten times what TheDeepChecker calls too fast. "
    "Runs that learn stay under 0.2, in both corpora.",
)
START = Limit(
    "loss of the first step over that of a constant answer, at most",
    10.0,
    "1",
    "as in unscaled-inputs: what begins further off was not thrown there by its steps.",
)
LEARNED = Limit("learned", 0.5, "share", "a run that learned half of what there was to learn is not harmed by swings.")
# Rows whose losses tell a throw from one row that is far off.
_ROWS = 16


def overshoot(log: RunLog) -> Finding | None:
    """Steps at the start that replaced the weights: the loss is thrown up, or nothing is learned after them."""
    columns, loss = signals.kernels(log), log["loss"]
    early = max(3, len(log) // 10)
    expected = constant_answer(log) or abs(float(loss[0]))
    if not columns or not expected or not loss[0] <= START.value * expected:
        return None
    ratio = signals.update_ratio(log, columns)[:early]
    width = min(math.ceil(_ROWS / (log.batch_rows or _ROWS)), max(len(loss) - 1, 1))
    later = _level(np.where(np.isfinite(loss[1:]), loss[1:], np.inf), width)
    if not len(later) or not np.isfinite(ratio).any():
        return None
    first = int(np.argmax(later > OVERSHOOT.value * expected)) + width  # the step at which it had been seen
    thrown = float(np.max(later)) / expected
    largest = float(np.nanmax(ratio))
    near = loss[0] <= OVERSHOOT.value * expected
    is_thrown = near and thrown > OVERSHOOT.value and first <= early and largest >= RATIO.value
    if not is_thrown and not (_replaced(ratio) >= REPLACED.value and harm(log) == "high"):
        return None
    rate = float(log["learning_rate"][0])
    level = loss_curve(log).level
    reached = 1.0 - float(np.nanmin(np.where(np.isfinite(level), level, np.nan), initial=np.inf)) / expected
    after = f"threw the loss to {power(thrown)} times that of a constant answer" if is_thrown else "nothing was learned"
    return Finding(
        rule="learning-rate-too-high",
        severity="high" if not reached >= LEARNED.value else "medium",
        summary=(
            f"The first steps changed a layer by {power(largest)} times its size and {after}: "
            f"the learning rate of {rate:.3g} is too high."
        ),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[min(first, len(log) - 1)]),
        evidence=(
            Evidence(RATIO.name, largest, "1", RATIO.value),
            Evidence(REPLACED.name, _replaced(ratio), "1", REPLACED.value),
            Evidence(OVERSHOOT.name, thrown, "1", OVERSHOOT.value),
            Evidence("learned", reached, "share", LEARNED.value),
        ),
        confidence=0.9,
        details={"kind": "overshoot", "learning_rate": rate, "suggested": abs(rate) * 1e-2 / largest},
    )


def _level(losses: FloatArray, width: int) -> FloatArray:
    """The median of so many losses, each with those behind it: one of few rows may be far off by itself."""
    return np.median(np.lib.stride_tricks.sliding_window_view(losses, width), axis=1) if len(losses) else losses


def _replaced(ratio: FloatArray) -> float:
    """The median kernel's largest update ratio within the first three of some steps, 0 where none is known."""
    return float(np.median(np.nan_to_num(ratio[:3]).max(axis=0)))
