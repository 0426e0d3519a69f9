"""The learning-rate knob: a rate at which the weights move by a sound share of their size."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.overshoot import RATIO
from kgrad.diagnosis.skill import planned_steps
from kgrad.diagnosis.usual_speed import small_batch_factor
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import FloatArray, RunLog
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.optimizer import ADAM_RATE, ADAM_START, LARGEST_RATE, PLAIN_OPTIMIZERS
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled
from kgrad.prescription.usual_rate import calmer_rate

# The middle, on a log scale, of the range 1e-4 ... 1e-1 that TheDeepChecker (Ben Braiek & Khomh 2023) takes for
# sound: an update of this share of the weight's norm per step.
TARGET_RATIO = 3e-3
# Its upper end: steps of this share throw weights away instead of correcting them.
_TOO_FAST = 0.1
# The largest change of a layer that a first step may make: between the middle one (1.6 %) and the upper quarter (5.5 %)
# of 67 healthy trainings by SGD, and the upper quarter (2.8 %) of 123 with Adam (`benchmarks/healthy_trainings.py`).
_FIRST_STEP = 3e-2
# One prescription moves the rate by at most this factor: the ratio is measured on a sick run.
_LARGEST_FACTOR = 10.0
_SMALLEST_FACTOR = 1e-3
# A rate that is nearly the present one is no cure (own choice).
_WORTHWHILE = 2.0
# What is there within so much of a training was there before anything could be learned (own choice).
_AT_ONCE = 0.03
# Steps a ratio is measured over: up to the onset of a disease, or from there on.
_WINDOW = 50


def prescribe_lower_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """A lower learning rate where the weights move by more than a sound share per step."""
    ratio = update_ratio(log, finding.first_step - _WINDOW, finding.first_step)
    if ratio is None or ratio <= TARGET_RATIO:
        return None
    return _change(log, finding, ratio, max(TARGET_RATIO / ratio, _SMALLEST_FACTOR))


def prescribe_gentler_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """A lower rate where a step too large came before the finding, of the median kernel: it did the harm.

    Or many at the very start that add up to one: what was made for other weights is gone before anything is learned.
    """
    ratios = _ratios(log, finding.first_step - _WINDOW, finding.first_step)
    known = ratios[np.isfinite(ratios).any(axis=1)]
    steps = np.nanmedian(known, axis=1) if len(known) else np.zeros(1)
    largest = float(steps.max())
    at_once = finding.first_step <= _AT_ONCE * planned_steps(log) and float(steps.sum()) > RATIO.value
    if largest <= _TOO_FAST and not at_once:
        return None
    usual = float(np.nanmedian(known))
    ratio = usual if usual >= _WORTHWHILE * TARGET_RATIO else largest  # one step alone may have been too large
    # What died later has another cause than the first step.
    of_start = _factor_of_the_start(log) if finding.first_step <= _WINDOW else 0.0
    if of_start > max(TARGET_RATIO / ratio, _SMALLEST_FACTOR):
        return _change(log, finding, _FIRST_STEP / of_start, of_start)
    return _change(log, finding, ratio, max(TARGET_RATIO / ratio, _SMALLEST_FACTOR))


def prescribe_rate_of_a_start(log: RunLog, finding: Finding) -> Prescription | None:
    """A rate with which an adaptive optimizer begins as in healthy trainings, where its first step was far too large.

    Steps of Adam are as large as the rate, whatever the size of the gradient (Kingma & Ba 2015, section 2.1): no bound
    on gradients makes them smaller. Not under its usual rate: what that moves far are weights too small.
    """
    first, optimizer = update_ratio(log, 0, 0), present_optimizer(log)
    rate = optimizer.constant_rate
    if not rate or optimizer.name in PLAIN_OPTIMIZERS or first is None or first <= _TOO_FAST:
        return None
    factor = max(ADAM_START / first, ADAM_RATE / rate)
    return _change(log, finding, first, factor) if _WORTHWHILE * factor <= 1 else None


def prescribe_higher_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """A higher learning rate where the weights hardly move."""
    ratio = update_ratio(log, finding.first_step, finding.first_step + _WINDOW)
    if ratio is None or not 0 < ratio < TARGET_RATIO:
        return None
    return _change(log, finding, ratio, min(TARGET_RATIO / ratio, _LARGEST_FACTOR))


def update_ratio(log: RunLog, first_step: int, last_step: int) -> float | None:
    """`update_norm / weight_norm`, the median over kernels and over the steps from `first_step` to `last_step`.

    Returns:
        The ratio, `None` where the run does not tell.
    """
    ratios = _ratios(log, first_step, last_step)
    known = ratios[np.isfinite(ratios)]
    return float(np.median(known)) if len(known) else None


def _ratios(log: RunLog, first_step: int, last_step: int) -> FloatArray:
    """The ratios of the kernels in these steps, NaN where they are not known; shape `(0, 0)` where none is."""
    kernels = signals.kernels(log)
    if "update_norm" not in log or "weight_norm" not in log or not kernels:
        return np.empty((0, 0))
    return signals.update_ratio(log, kernels)[(log.steps >= first_step) & (log.steps <= last_step)]


def steepest_rate(log: RunLog, last_step: int) -> tuple[float, float] | None:
    """The rate that suits the steepest direction, `(1 + momentum) / largest eigenvalue`, and that eigenvalue.

    Plain descent on a quadratic diverges beyond `2 (1 + momentum) / eigenvalue` (LeCun et al. 1998, "Efficient
    BackProp", section 5; Goh 2017, "Why Momentum Really Works"), with Nesterov's momentum beyond `1 / (1 + 2 momentum)`
    of that (the roots of its recursion); half of it is the best for this direction.

    Args:
        log: a run with the table of curvature.
        last_step: curvature taken later is not looked at.

    Returns:
        `None` for other optimizers than SGD, and where no curvature was taken by then.
    """
    optimizer = present_optimizer(log)
    if not optimizer.is_descent or "curvature" not in log.tables:
        return None
    table = log.table("curvature")
    largest = table["largest"][(table["step"] <= last_step) & np.isfinite(table["largest"]) & (table["largest"] > 0)]
    if not len(largest):
        return None
    steepness = float(np.median(largest))
    momentum = optimizer.momentum
    ahead = 1 + 2 * momentum if optimizer.config.get("nesterov") else 1.0
    return (1 + momentum) / ahead / steepness, steepness


def _within_curvature(log: RunLog, finding: Finding, rate: float) -> tuple[float, tuple[Evidence, ...]]:
    """The rate, no higher than the curvature before the disease allows, and what was measured of it."""
    thrown = finding.details.get("kind") == "overshoot"  # then what comes after is the steepness of another place
    known = steepest_rate(log, finding.last_step - 1 if thrown else max(finding.first_step, _WINDOW))
    if known is None:
        return rate, ()
    bound, steepness = known
    shown = Evidence("largest eigenvalue of the Hessian, median", steepness, "loss/weight²")
    return min(rate, bound), (shown, Evidence("rate that suits the steepest direction", bound))


def _change(log: RunLog, finding: Finding, ratio: float, factor: float) -> Prescription | None:
    present = present_optimizer(log).constant_rate
    if present is None:
        return None  # a schedule is changed by hand
    bound, steepness = _within_curvature(log, finding, present * factor)
    if (factor > 1 and bound <= present) or not bound > 0:
        return None  # the curvature allows no higher rate
    rate, factor = float(number(bound)), bound / present
    verb = "lower" if factor < 1 else "higher"
    move = f"{100 * ratio:.2g} % of their norm at each step"
    return recompiled(
        log,
        finding,
        {"learning_rate": rate},
        knob="learning_rate",
        before=f"{present:.3g}",
        after=number(rate),
        why=f"The weights move by {move}; a {verb} rate brings that to about {100 * ratio * factor:.2g} %.",
        evidence=(Evidence("update norm / weight norm", ratio, "1", TARGET_RATIO), *steepness),
        effect=moved(ratio, factor),
    )


def moved(ratio: float, factor: float) -> Effect:
    """What a rate of so many times the present one does to the change of a layer per step."""
    source = "an update is proportional to the learning rate"
    return Effect("change of a layer per step", ratio, ratio * factor, "weight sizes", source)


def prescribe_suggested_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """The learning rate at which a step moves the weights by a sound share, as the rule worked it out.

    Of descent by batches of a few rows no more than the usual rate for so few: what a step too large shows is its size,
    and not how far the noise of such batches carries the steps that follow (see `small_batch_factor`).
    """
    ratio = finding.details.get("ratio")
    measured = ratio or update_ratio(log, finding.first_step, finding.last_step)
    present, wanted = finding.details.get("learning_rate"), finding.details.get("suggested")
    optimizer = present_optimizer(log)
    if not present or not wanted or optimizer.has_schedule:
        return None
    if ratio and float(ratio) < TARGET_RATIO:  # the rule names the least sound rate; this aims at the middle of them
        # Weights that hardly moved are those of the start, and adaptive steps do not shrink with the gradient as those
        # of plain descent do: they are compared with a start.
        plain = optimizer.name in PLAIN_OPTIMIZERS
        wanted = float(present) * (TARGET_RATIO if plain else ADAM_START) / float(ratio)
        wanted = wanted if plain else min(wanted, max(LARGEST_RATE, float(present)))
    elif finding.details.get("kind") == "overshoot":
        wanted = max(abs(float(wanted)), abs(float(present)) * _factor_of_the_start(log))
    aimed = abs(float(wanted))
    of_few_rows = calmer_rate(log) if small_batch_factor(log) < 1 and aimed < abs(float(present)) else None
    noisy = of_few_rows is not None and of_few_rows <= 1.01 * aimed  # both are rounded
    bound, steepness = _within_curvature(log, finding, min(aimed, of_few_rows or aimed))
    if float(present) < abs(float(wanted)) and bound <= float(present):
        return None  # the curvature allows no higher rate
    rate = float(number(bound))
    verb = "lower" if rate < abs(float(present)) else "higher"
    asks = "update ratio and curvature ask" if steepness else "the update ratio asks"
    if noisy and not steepness:
        asks = f"batches of {'one row' if log.batch_rows == 1 else f'{log.batch_rows} rows'} ask"
    return recompiled(
        log,
        finding,
        {"learning_rate": rate},
        knob="learning_rate",
        before=f"{float(present):.3g}",
        after=number(rate),
        why=f"{finding.summary.rstrip('.')}; {number(rate)} is {verb} by what {asks} for.",
        evidence=(*(finding.evidence if ratio is None else finding.evidence[:2]), *steepness),
        effect=moved(measured, rate / abs(float(present))) if measured else None,
    )


def _factor_of_the_start(log: RunLog) -> float:
    """What brings the rate to where the first step changes no layer by more than 3 %; 0 where that is not known.

    The first gradient is that of sound weights. Those that follow a step too large have grown with what it did, and a
    rate taken from them is too small for the training that it is meant for.
    """
    kernels = signals.kernels(log)
    if not {"update_norm", "weight_norm"} <= set(log.columns) or not kernels or log.steps[0] > 0:
        return 0.0
    ratios = signals.update_ratio(log, kernels)[0]
    largest = float(np.max(ratios, where=np.isfinite(ratios), initial=0.0))  # weights that begin at zero have no ratio
    # Where the first step was hardly too large, it is those after it that threw the weights away.
    return _FIRST_STEP / largest if largest > _WORTHWHILE * _FIRST_STEP else 0.0
