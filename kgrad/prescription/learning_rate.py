"""The learning-rate knob: a rate at which the weights move by a sound share of their size."""

from collections.abc import Mapping

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import compiled_code, inner_optimizer, number, optimizer_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# The middle, on a log scale, of the range 1e-4 ... 1e-1 that TheDeepChecker (Ben Braiek & Khomh 2023) takes for
# sound: an update of this share of the weight's norm per step.
TARGET_RATIO = 3e-3
# Its upper end: steps of this share throw weights away instead of correcting them.
_TOO_FAST = 0.1
# One prescription moves the rate by at most this factor: the ratio is measured on a sick run.
_LARGEST_FACTOR = 10.0
_SMALLEST_FACTOR = 1e-3
# Steps a ratio is measured over: up to the onset of a disease, or from there on.
_WINDOW = 50


def prescribe_lower_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """A lower learning rate where the weights move by more than a sound share per step."""
    ratio = update_ratio(log, finding.first_step - _WINDOW, finding.first_step)
    if ratio is None or ratio <= TARGET_RATIO:
        return None
    return _change(log, finding, ratio, max(TARGET_RATIO / ratio, _SMALLEST_FACTOR))


def prescribe_gentler_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """A lower rate where steps too large came before the finding: it is they that did the harm."""
    ratio = update_ratio(log, finding.first_step - _WINDOW, finding.first_step)
    return prescribe_lower_rate(log, finding) if ratio is not None and ratio > _TOO_FAST else None


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
    kernels = [i for i, variable in enumerate(log.structure.variables) if variable.is_kernel]
    if "update_norm" not in log or "weight_norm" not in log or not kernels:
        return None
    window = (log.steps >= first_step) & (log.steps <= last_step)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = log["update_norm"][window][:, kernels] / log["weight_norm"][window][:, kernels]
    ratios = ratios[np.isfinite(ratios)]
    return float(np.median(ratios)) if len(ratios) else None


def steepest_rate(log: RunLog, last_step: int) -> tuple[float, float] | None:
    """The rate that suits the steepest direction, `(1 + momentum) / largest eigenvalue`, and that eigenvalue.

    Plain descent on a quadratic diverges beyond `2 (1 + momentum) / eigenvalue` (LeCun et al. 1998, "Efficient
    BackProp", section 5; Goh 2017, "Why Momentum Really Works"); half of that is the best for this direction.

    Args:
        log: a run with the table of curvature.
        last_step: curvature taken later is not looked at.

    Returns:
        `None` for other optimizers than SGD, and where no curvature was taken by then.
    """
    optimizer = inner_optimizer(log.info)
    if optimizer["class_name"] != "SGD" or "curvature" not in log.tables:
        return None
    table = log.table("curvature")
    largest = table["largest"][(table["step"] <= last_step) & np.isfinite(table["largest"]) & (table["largest"] > 0)]
    if not len(largest):
        return None
    steepness = float(np.median(largest))
    return (1 + float(optimizer["config"].get("momentum") or 0.0)) / steepness, steepness


def _within_curvature(log: RunLog, finding: Finding, rate: float) -> tuple[float, tuple[Evidence, ...]]:
    """The rate, no higher than the curvature before the disease allows, and what was measured of it."""
    known = steepest_rate(log, max(finding.first_step, _WINDOW))
    if known is None:
        return rate, ()
    bound, steepness = known
    shown = Evidence("largest eigenvalue of the Hessian, median", steepness, "loss/weight²")
    return min(rate, bound), (shown, Evidence("rate that suits the steepest direction", bound))


def _change(log: RunLog, finding: Finding, ratio: float, factor: float) -> Prescription | None:
    present = inner_optimizer(log.info)["config"].get("learning_rate")
    if present is None or isinstance(present, Mapping) or not present > 0:
        return None  # a schedule is changed by hand
    bound, steepness = _within_curvature(log, finding, present * factor)
    if (factor > 1 and bound <= present) or not bound > 0:
        return None  # the curvature allows no higher rate
    rate, factor = float(number(bound)), bound / present
    verb = "lower" if factor < 1 else "higher"
    move = f"{100 * ratio:.2g} % of their norm at each step"
    return Prescription(
        knob="learning_rate",
        target=("optimizer",),
        before=f"{present:.3g}",
        after=number(rate),
        why=f"The weights move by {move}; a {verb} rate brings that to about {100 * ratio * factor:.2g} %.",
        code=compiled_code(optimizer_code(log.info, learning_rate=rate)),
        finding=finding.rule,
        evidence=(Evidence("update norm / weight norm", ratio, "1", TARGET_RATIO), *steepness),
        settings={"learning_rate": rate},
        effect=_moved(ratio, factor),
    )


def _moved(ratio: float, factor: float) -> Effect:
    source = "an update is proportional to the learning rate"
    return Effect("change of a layer per step", ratio, ratio * factor, "weight sizes", source)


def prescribe_suggested_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """The learning rate at which a step moves the weights by a sound share, as the rule worked it out."""
    ratio = finding.details.get("ratio")
    measured = ratio or update_ratio(log, finding.first_step, finding.last_step)
    present, wanted = finding.details.get("learning_rate"), finding.details.get("suggested")
    config = inner_optimizer(log.info)["config"].get("learning_rate")
    if not present or not wanted or isinstance(config, Mapping):
        return None
    bound, steepness = _within_curvature(log, finding, abs(float(wanted)))
    if float(present) < abs(float(wanted)) and bound <= float(present):
        return None  # the curvature allows no higher rate
    rate = float(number(bound))
    verb = "lower" if rate < abs(float(present)) else "higher"
    asks = "update ratio and curvature ask" if steepness else "the update ratio asks"
    return Prescription(
        knob="learning_rate",
        target=("optimizer",),
        before=f"{float(present):.3g}",
        after=number(rate),
        why=f"{finding.summary.rstrip('.')}; {number(rate)} is {verb} by what {asks} for.",
        code=compiled_code(optimizer_code(log.info, learning_rate=rate)),
        finding=finding.rule,
        evidence=(*(finding.evidence if ratio is None else finding.evidence[:2]), *steepness),
        settings={"learning_rate": rate},
        effect=_moved(measured, rate / abs(float(present))) if measured else None,
    )


def prescribe_decay(log: RunLog, finding: Finding) -> Prescription | None:
    """A rate that is halved whenever the loss stops falling: large steps first, small ones to settle."""
    epochs = (log.info.get("fit") or {}).get("epochs") or 10
    patience = max(2, epochs // 10)
    return Prescription(
        knob="learning_rate_schedule",
        target=("fit",),
        before="one learning rate for the whole run",
        after=f"halved after {patience} epochs without progress",
        why="Steps that swing around the valley settle once they are smaller.",
        code=(
            "callbacks=[keras.callbacks.ReduceLROnPlateau("
            f'monitor="loss", factor=0.5, patience={patience}, min_lr=1e-6)]'
        ),
        finding=finding.rule,
        evidence=finding.evidence[:2],
    )


def prescribe_warm_up(log: RunLog, finding: Finding) -> Prescription | None:
    """A rate that rises from zero over the first tenth of the run and falls along a cosine, where it was thrown early.

    The first gradients are the largest and Adam's averages know least then (Goyal et al. 2017, section 2.2; Liu et
    al. 2020, "On the Variance of the Adaptive Learning Rate"); Loshchilov & Hutter 2017 for the cosine.
    """
    fit = log.info.get("fit") or {}
    present = inner_optimizer(log.info)["config"].get("learning_rate")
    steps = int(fit.get("epochs") or 0) * int(fit.get("steps_per_epoch") or 0)
    if finding.details.get("kind") != "overshoot" or not steps or not isinstance(present, (int, float)) or present <= 0:
        return None
    warm = max(steps // 10, 1)
    return Prescription(
        knob="learning_rate_schedule",
        target=("optimizer",),
        before=f"{present:.3g} from the first step on",
        after=f"up to {present:.3g} over {warm} steps, then down along a cosine",
        why="The first steps were the ones that threw the weights away; they begin small and grow.",
        code=(
            f"schedule = keras.optimizers.schedules.CosineDecay(0.0, {max(steps - warm, 1)}, "
            f"warmup_target={present:.6g}, warmup_steps={warm})\n"
            f"optimizer = {optimizer_code(log.info, learning_rate=float(present))}\n"
            "optimizer.learning_rate = schedule\n"
            "model.compile(optimizer=optimizer, loss=loss)"
        ),
        finding=finding.rule,
        evidence=finding.evidence[:2],
    )
