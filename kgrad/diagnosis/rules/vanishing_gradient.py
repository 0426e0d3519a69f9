"""The rule `vanishing-gradient`."""

import numpy as np

from kgrad.diagnosis import signals, windows
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, is_certain, is_over, learned
from kgrad.log.run_log import RunLog

DECADES = Limit(
    "decades lost through depth",
    3.0,
    "decades",
    "AutoTrainer (Zhang et al. 2021) calls a gradient vanishing when the first layer's norm is under 1e-3 of the "
    "last one's; here it is the trend over all layers, not two of them.",
)
AGREEMENT = Limit(
    "agreement of depth and norm",
    0.8,
    "1",
    "rank correlation: a steady fall over five layers or more has at least this in all but 1 of 20 shuffled orders.",
)
SHARE = Limit(
    "share of the run", 0.2, "share", "a state that lasts a fifth of the run is no accident of a few batches."
)
STARVED = Limit(
    "update ratio of the first kernel over the last",
    0.01,
    "1",
    "TheDeepChecker (Ben Braiek & Khomh 2023) takes update ratios from 1e-4 to 1e-1 for sound: two layers in one "
    "network that differ by more than two thirds of that range do not learn at comparable speed.",
)
NOT_LEARNED = Limit(
    "progress of the loss",
    0.3,
    "share",
    "the loss of a network whose early layers learn nothing still falls a little, as the last layer learns the means "
    "of the targets; less than this share is little.",
)


@rule(
    columns=("gradient_norm",),
    optional=("update_norm", "weight_norm", "loss"),
    limits=(DECADES, AGREEMENT, SHARE, STARVED, NOT_LEARNED),
    symptom_of=("saturated-activation", "poor-initialization", "dead-units", "over-regularised:penalty"),
)
def vanishing_gradient(log: RunLog) -> Finding | None:
    """The gradient shrinks from layer to layer on its way back, until the first layers learn nothing.

    Measured: the medians of the kernels' gradient norms in windows, against depth, the output layer aside. The
    gradient vanishes where the logarithms fall steadily by some decades from the last hidden layer to the first.
    It is a disease only where it does harm: the first kernels move far less, relative to their size, than the
    last, or next to nothing is learned. Otherwise (Adam rescales small gradients) it is a note.

    Blind spot: fewer than three hidden kernels show no trend; a recurrent network's gradient through time is
    one number per kernel here, so its vanishing shows only as slow learning.
    """
    columns = signals.kernels(log)[:-1]
    if len(columns) < 3:
        raise NotApplicable(f"a trend over depth needs three hidden kernels, the model has {len(columns)}")
    trend = signals.depth_trend(log)
    sick = (trend.decades >= DECADES.value) & (trend.agreement >= AGREEMENT.value)
    if sick.mean() < SHARE.value:
        return None
    first, end = windows.longest_run(sick)
    decades = float(np.median(trend.decades[sick]))
    ratio, progress = _starvation(log, columns), _progress(log)
    stuck = progress is None or harm(log) == "high"
    # A small fall that may be all there is is no excuse here: the gradients themselves show what holds it back.
    most = NOT_LEARNED.value if is_over(log) else 0.1  # at its end no more will come
    little = progress is not None and progress < NOT_LEARNED.value and (not is_certain(log) or learned(log) < most)
    harmed = (ratio is not None and ratio < STARVED.value) or (progress is not None and (stuck or little))
    names = [log.structure.variables[column].layer for column in columns]
    starved = tuple(dict.fromkeys(names[: _starved_count(decades, len(names))]))
    evidence = [Evidence("decades lost from the last hidden kernel to the first", decades, "decades", DECADES.value)]
    if ratio is not None:
        evidence.append(Evidence("update ratio, first kernel / last hidden kernel", ratio, "1", STARVED.value))
    if progress is not None:
        evidence.append(Evidence("progress of the loss", progress, "share", NOT_LEARNED.value))
    begin, last = windows.span(log, trend.edges, first, end)
    return Finding(
        rule="vanishing-gradient",
        severity="info" if not harmed else "high" if stuck else "medium",
        summary=(
            f"The gradient shrinks by a factor of {power(10**decades)} from the last hidden layer back to the first "
            f"({decades / (len(columns) - 1):.1f} decades per layer)"
            + (f", so {', '.join(starved[:2])} and their like learn nothing." if harmed else ", without harm so far.")
        ),
        layers=starved,
        first_step=begin,
        last_step=last,
        evidence=tuple(evidence),
        confidence=float(min(0.99, 0.5 + 0.5 * sick.mean())),
        details={
            "total_decades": decades,
            "decades_per_layer": decades / (len(columns) - 1),
            # Enough by themselves, whatever the weights: the finding is then nobody's symptom.
            "root": _flat_decades(log, columns) >= DECADES.value,
        },
    )


def _flat_decades(log: RunLog, columns: list[int]) -> float:
    """Decades that the activations alone take: a sigmoid's slope is at most 1/4."""
    names = (log.structure.effective_activation(log.structure.variables[column].layer) for column in columns)
    return float(sum(np.log10(4.0) for name in names if name in ("sigmoid", "hard_sigmoid")))


def _starvation(log: RunLog, columns: list[int]) -> float | None:
    if "update_norm" not in log or "weight_norm" not in log:
        return None
    ratio = windows.medians(signals.update_ratio(log, [columns[0], columns[-1]]), np.array([0, len(log)]))[0]
    return float(ratio[0] / ratio[1]) if ratio[1] > 0 else None


def _progress(log: RunLog) -> float | None:
    return loss_curve(log).progress if "loss" in log else None


def _starved_count(decades: float, kernels: int) -> int:
    """How many of the first kernels get less than a hundredth of what the last hidden one gets."""
    per_layer = decades / max(kernels - 1, 1)
    return max(1, min(kernels - 1, round(kernels - 1 - 2.0 / per_layer) + 1))
