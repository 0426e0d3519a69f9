"""The rule `learning-rate-too-high`."""

import math

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import FALLS, late_fall, loss_curve, still_falls
from kgrad.diagnosis.overshoot import LEARNED, OVERSHOOT, RATIO, REPLACED, START, overshoot
from kgrad.diagnosis.rule import Limit, rule
from kgrad.diagnosis.skill import MOST, constant_answer, harm, learned_most
from kgrad.diagnosis.usual_speed import small_batch_factor, usual_speed
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog

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
EPOCHS = Limit("epochs", 6, "epochs", "fewer show no pattern of turns.")
FAST = Limit(
    "learning rate over the usual one for so few rows",
    10.0,
    "1",
    "the noise of descent goes with the rate over the rows (Smith & Le 2018, section 4); usual is a rate of 0.01 with "
    "a momentum of 0.9 for 16 rows and more. The two healthy programs of the corpora that are faster than 6 times that "
    "have squared errors of sigmoids, and learn more than half.",
)
UNSETTLED = Limit(
    "learned by the mean loss of the last half",
    MOST,
    "share",
    "what is left to learn matters, as in `skill.is_held_back` (own choice). The mean: of the losses of a few rows "
    "most are near 0 while some are far off.",
)


@rule(
    columns=("loss", "learning_rate", "update_norm", "weight_norm"),
    limits=(RATIO, OVERSHOOT, REPLACED, START, TURNS, SWING, GAINED, KEPT, RISEN, EPOCHS, FAST, UNSETTLED, LEARNED),
    symptom_of=("output-loss-mismatch", "unscaled-inputs", "poor-initialization", "over-regularised"),
)
def learning_rate_too_high(log: RunLog) -> Finding | None:
    """The steps are too large: they throw the weights away at the start, or swing the loss up and down for good.

    Measured: the largest update of a kernel relative to its size in the first steps, and how far the loss then rises
    above what a constant answer gets (`overshoot`); a loss that cannot rise far (a bounded output) shows it by steps
    as large as the weights after which nothing is learned. And the means of the epochs: how often they turn and how
    far they swing (`oscillation`); a swing in a run that learns is a note. And whether the run loses most of what it
    had learned (`unlearned`), or ends above where it began and has learned nothing in between (`rising`). And
    whether descent by batches of a few rows is many times as fast as those bear, and stands where less than half is
    learned, or less than most by the mean of its losses (`few-rows`).

    Blind spot: gradients that grow through depth make large steps at any learning rate; where `exploding-gradient`
    shows growth over depth, it comes first.
    """
    looks = (overshoot, _oscillation, _unlearned, _rising, _few_rows)
    return next((said for look in looks if (said := look(log)) is not None), None)


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


def _few_rows(log: RunLog) -> Finding | None:
    speed = present_optimizer(log).speed
    if speed is None or small_batch_factor(log) >= 1 or still_falls(log):
        return None
    severity = harm(log)
    if severity == "info" and not learned_most(log):
        severity = "low"
    if severity == "info":
        return None
    rate, faster = float(np.nanmedian(log["learning_rate"])), speed / usual_speed(log)
    if faster < FAST.value:
        return None
    rows = "one row" if log.batch_rows == 1 else f"{log.batch_rows} rows"
    return Finding(
        rule="learning-rate-too-high",
        severity=severity,
        summary=(
            f"In batches of {rows} the learning rate of {rate:.3g} is {faster:.3g} times what so few bear: the steps "
            "follow the noise of single rows, and the loss does not settle."
        ),
        first_step=int(log.steps[len(log) // 2]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(FAST.name, faster, "1", FAST.value),
            Evidence("fall of the loss over the last half", late_fall(log)[0], "share", FALLS),
        ),
        confidence=0.6,
        details={"kind": "few-rows", "learning_rate": rate, "suggested": rate / faster},
    )
