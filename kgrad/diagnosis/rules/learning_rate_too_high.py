"""The rule `learning-rate-too-high`."""

import math

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit, rule
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
TURNS = Limit(
    "share of epochs at which the loss turns",
    0.5,
    "share",
    "a loss that falls turns at none of its epochs; one that wanders at random turns at two of three.",
)
SWING = Limit(
    "swing from epoch to epoch",
    0.02,
    "share",
    "of the loss of a constant answer: the mean of an epoch averages the noise of its batches (own choice).",
)
GAINED = Limit(
    "learned by the best windows", 0.3, "share", "what is to be lost must first be there, beyond noise (own choice)."
)
KEPT = Limit(
    "share of it that is left at the end",
    0.75,
    "share",
    "of 192 healthy runs of benchmarks/corpus one lost more than 3 % of it again (19 %); less than half is grave.",
)
RISEN = Limit(
    "rise of the loss over its start", 0.2, "share", "as the fall that plateau calls one, upward, beyond six errors."
)
_HALF = 0.5
# Means of nothing but noise differ by about one standard error from one to the next, the median one.
_NOISES = 2.0
# As in `skill`: the best of many windows lies some errors low by chance.
_ERRORS = 6.0
# Rows whose losses tell a throw from one row that is far off.
_ROWS = 16
EPOCHS = Limit("epochs", 6, "epochs", "fewer show no pattern of turns.")
LEARNED = Limit("learned", 0.5, "share", "a run that learned half of what there was to learn is not harmed by swings.")


@rule(
    columns=("loss", "learning_rate", "update_norm", "weight_norm"),
    limits=(RATIO, OVERSHOOT, REPLACED, START, TURNS, SWING, GAINED, KEPT, RISEN, EPOCHS, LEARNED),
    symptom_of=("output-loss-mismatch", "unscaled-inputs", "poor-initialization", "over-regularised"),
)
def learning_rate_too_high(log: RunLog) -> Finding | None:
    """The steps are too large: they throw the weights away at the start, or swing the loss up and down for good.

    Measured: the largest update of a kernel relative to its size in the first steps, and how far the loss then rises
    above what a constant answer gets (`overshoot`); a loss that cannot rise far (a bounded output) shows it by steps
    as large as the weights after which nothing is learned. And the means of the epochs: how often they turn and how
    far they swing (`oscillation`); a swing in a run that learns is a note. And whether the run loses most of what it
    had learned (`unlearned`), or ends above where it began and has learned nothing in between (`rising`).

    Blind spot: gradients that grow through depth make large steps at any learning rate; where `exploding-gradient`
    shows growth over depth, it comes first.
    """
    return next(
        (said for look in (_overshoot, _oscillation, _unlearned, _rising) if (said := look(log)) is not None), None
    )


def _overshoot(log: RunLog) -> Finding | None:
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


def _oscillation(log: RunLog) -> Finding | None:
    means = log.epochs.get("loss")
    if means is None or len(means) < EPOCHS.value:
        return None
    half = means[len(means) // 2 :]
    expected = constant_answer(log) or abs(float(log["loss"][0]))
    if not np.isfinite(half).all() or not expected or np.min(means) < 0:  # under zero there is no share of it
        return None
    change = np.diff(half) / expected
    turns = float(np.mean(np.sign(change[1:]) != np.sign(change[:-1]))) if len(change) > 1 else 0.0
    swing = float(np.median(np.abs(change)))
    if turns < TURNS.value or swing < max(SWING.value, _NOISES * _noise_of_epochs(log) / expected):
        return None
    reached = 1.0 - float(np.min(means)) / expected
    rate = float(np.nanmedian(log["learning_rate"]))
    begin = int(log.steps[len(log) // 2])
    return Finding(
        rule="learning-rate-too-high",
        severity="medium" if reached < LEARNED.value else "info",
        summary=(
            f"The loss swings up and down from epoch to epoch, by {100 * swing:.0f} % of a constant answer's, instead "
            f"of falling: steps at the learning rate of {rate:.3g} are too large to settle."
        ),
        first_step=begin,
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(TURNS.name, turns, "share", TURNS.value),
            Evidence(SWING.name, swing, "share", SWING.value),
            Evidence("learned by the best epoch", reached, "share", LEARNED.value),
        ),
        confidence=0.75,
        details={"kind": "oscillation", "learning_rate": rate, "suggested": rate / 10},
    )


def _noise_of_epochs(log: RunLog) -> float:
    """The standard error of the mean loss of an epoch, by how batches differ within one; 0 where it is not known."""
    ends = np.asarray(log.epochs.get("last_step", ()), dtype=float)
    places = np.searchsorted(log.steps, ends, side="right")
    parts = [part for part in np.split(log["loss"], places[:-1]) if len(part) > 1] if len(places) > 1 else []
    batches = float(np.median(np.diff(ends))) if parts else 0.0
    if not batches > 0:
        return 0.0
    return math.sqrt(float(np.median([part.var(ddof=1) for part in parts])) / batches)


def _unlearned(log: RunLog) -> Finding | None:
    curve = loss_curve(log)
    expected = constant_answer(log) or abs(curve.start)
    tail = curve.level[-max(2, len(curve.level) // 10) :]
    if (
        not expected
        or not np.isfinite(curve.best)
        or curve.best < 0
        or not np.isfinite(tail).any()
        or len(curve.level) < EPOCHS.value
    ):
        return None
    gained = 1.0 - curve.best / expected
    kept = (1.0 - float(np.nanmedian(tail)) / expected) / gained if gained > 0 else 1.0
    averaged = math.hypot(1 / math.sqrt(3), 1 / math.sqrt(len(tail)))  # the best is a mean of three windows at least
    noise = _ERRORS * float(np.nanmedian(curve.error)) * averaged
    if gained < GAINED.value or kept >= KEPT.value or float(np.nanmedian(tail)) - curve.best <= noise:
        return None
    rate = float(np.nanmedian(log["learning_rate"]))
    place = int(np.nanargmin(curve.level))
    return Finding(
        rule="learning-rate-too-high",
        severity="high" if kept <= 0 else "medium" if kept < _HALF else "low",
        summary=(
            f"The run had learned {100 * gained:.0f} % by step {int(log.steps[curve.edges[place]])} and lost "
            f"{100 * min(1.0 - kept, 1.0):.0f} % of that again: at the learning rate of {rate:.3g} it does not stay."
        ),
        first_step=int(log.steps[curve.edges[place]]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(GAINED.name, gained, "share", GAINED.value),
            Evidence(KEPT.name, kept, "share", KEPT.value),
        ),
        confidence=0.75,
        details={"kind": "unlearned", "learning_rate": rate, "suggested": rate / 10},
    )


def _rising(log: RunLog) -> Finding | None:
    curve = loss_curve(log)
    known = curve.level[np.isfinite(curve.level)]
    if len(known) < 2 * EPOCHS.value or not np.isfinite(curve.start):
        return None
    beyond = max(RISEN.value * abs(curve.start), _ERRORS * float(np.nanmedian(curve.error)))
    end = float(np.median(known[-max(2, len(known) // 10) :]))
    if end - curve.start <= beyond or curve.start - curve.best > beyond / 4:
        return None
    rate = float(np.nanmedian(log["learning_rate"]))
    hint = " or has the wrong sign" if rate <= 0 else ", or the sign of the loss is wrong"
    return Finding(
        rule="learning-rate-too-high",
        severity="high" if harm(log) == "high" and constant_answer(log) else "low",
        summary=(
            f"The loss rose from {curve.start:.3g} to {end:.3g} and was never much lower: the steps lead uphill. "
            f"The learning rate of {rate:.3g} is too high{hint}."
        ),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(Evidence(RISEN.name, (end - curve.start) / (abs(curve.start) or 1.0), "share", RISEN.value),),
        confidence=0.6,
        details={"kind": "rising", "learning_rate": rate, "suggested": abs(rate) / 10},
    )
