"""The rule `exploding-gradient`."""

from itertools import pairwise

import numpy as np

from kgrad.diagnosis import signals, windows
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit, rule
from kgrad.diagnosis.skill import constant_answer, learned
from kgrad.log.run_log import FloatArray, RunLog

GROWTH = Limit(
    "growth of the global norm",
    100.0,
    "1",
    "AutoTrainer (Zhang et al. 2021) takes a ratio above 70 for an explosion; two decades over the run's own calm "
    "steps is the next round number, and noise between batches stays within one.",
)
LOSS_RISE = Limit(
    "rise of the loss over its best before",
    2.0,
    "1",
    "a loss that doubles has left the region it was in (own choice).",
)
NOISE = Limit(
    "noise of the norm from step to step",
    6.0,
    "standard deviations",
    "with batches of one or two examples the norm varies by orders of magnitude by itself; six deviations of its "
    "logarithm from step to step are no chance in any run of usual length.",
)
LEARNED = Limit("learned", 0.5, "share", "a run that learned half of what there was to learn has survived its spikes.")
STEPS = Limit("steps above the growth limit", 3.0, "steps", "fewer are a spike: Pascanu et al. 2013 show single ones.")
DECADES = Limit(
    "decades gained through depth",
    3.0,
    "decades",
    "the mirror image of AutoTrainer's 1e-3 for a vanishing gradient.",
)


@rule(
    columns=("global_norm",),
    optional=("gradient_norm", "loss", "nonfinite_count", "weight_norm"),
    limits=(GROWTH, NOISE, LOSS_RISE, LEARNED, STEPS, DECADES),
    symptom_of=("poor-initialization", "output-loss-mismatch", "unscaled-inputs", "learning-rate-too-high:overshoot"),
    judged="at once",
)
def exploding_gradient(log: RunLog) -> Finding | None:
    """The gradient grows by orders of magnitude, over the steps or on its way back through the layers.

    Measured: the global norm against the smallest it had been until then (the median of five steps, so that one
    calm batch does not count), together with the loss. It explodes where the norm stays a hundred times above for
    some steps (and beyond its own noise), or until it is no longer finite, while the loss rises too (one spike is
    enough where hardly a gradient is left behind it); or where the norm grows steadily by some decades from the last
    layer back to the first and the loss makes no progress. Told apart are `growth` that lasts, `spikes` that pass,
    growth of the weights with it (`weights`), and growth over `depth`. What passes in a run that learns is a note.

    Blind spot: a run that is not finite after its very first step shows no growth: it is `nonfinite-gradient`.
    A large norm at the start that calms down by itself is not called a disease.
    """
    norm = log["global_norm"]
    finite = np.isfinite(norm)
    if not finite.any():
        return None
    growth = _growth(norm, finite)
    above = growth >= GROWTH.value
    dies = bool(above.any() and not finite[int(np.argmax(above)) :].all())
    if not dies:
        above = growth >= max(GROWTH.value, _noise(norm[finite]))
    onset = int(np.argmax(above)) if above.any() else len(norm)
    lasts = above.sum() >= STEPS.value or dies or _is_silenced(norm, growth, onset)
    if onset < len(norm) and lasts and (dies or _loss_rises(log, onset)):
        return _over_steps(log, growth, onset, dies)
    return _over_depth(log)


def _growth(norm: FloatArray, finite: np.ndarray) -> FloatArray:
    """Each finite norm over the calmest five-step median before it (the first steps count as they are)."""
    known = norm[finite]
    padded = np.concatenate([np.full(4, known[0]), known])
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    calm = np.minimum.accumulate(np.concatenate([[known[0]], np.maximum(smooth[:-1], np.finfo(float).tiny)]))
    growth = np.zeros(len(norm))
    with np.errstate(over="ignore"):
        growth[finite] = known / np.maximum(calm, np.finfo(float).tiny)
    return growth


def _is_silenced(norm: FloatArray, growth: FloatArray, onset: int) -> bool:
    """Whether hardly a gradient is left behind the first step above: one spike was enough to throw the run away."""
    after = norm[onset + 1 :]
    if len(after) < STEPS.value:
        return False
    calm = float(norm[onset] / growth[onset])
    return bool(np.median(np.nan_to_num(after, posinf=np.inf)) * GROWTH.value <= calm)


def _noise(norm: FloatArray) -> float:
    """The factor that chance alone explains: some deviations of the logarithm's change from step to step."""
    logs = np.log(norm[norm > 0])
    if len(logs) < 3:
        return 1.0
    deviation = 1.4826 * float(np.median(np.abs(np.diff(logs)))) / np.sqrt(2.0)
    return float(np.exp(min(NOISE.value * deviation, 600.0)))


def _loss_rises(log: RunLog, onset: int) -> bool:
    if "loss" not in log:
        return True
    loss, edges = log["loss"], windows.edges_of(len(log))
    if not np.isfinite(loss[onset:]).all():
        return True
    size = int(edges[1] - edges[0])
    before = loss[max(0, onset - size) : max(onset, 1)]
    known = before[np.isfinite(before)]
    level = abs(float(np.mean(known))) if len(known) else 0.0
    if len(known) < windows.SMALLEST_WINDOW:  # the loss of a step or two may be small by chance
        level = max(level, constant_answer(log) or 0.0)
    # Means of windows: they see a spike of a few steps, and not the ups and downs of single examples.
    after = [np.mean(loss[max(a, onset) : b]) for a, b in pairwise(edges) if b > onset]
    return bool(len(known) and max(after) > LOSS_RISE.value * level)


def _over_steps(log: RunLog, growth: FloatArray, onset: int, dies: bool) -> Finding:
    norm = log["global_norm"]
    finite = np.flatnonzero(np.isfinite(norm))
    begin = int(log.steps[max(0, onset - 1)])
    peak = float(growth.max())
    lost = int(len(norm) - len(finite))
    last = int(log.steps[-1] if dies else log.steps[np.flatnonzero(growth >= GROWTH.value)[-1]])
    kind = _kind(log, growth, onset, dies)
    reached = learned(log) if "loss" in log else 0.0
    harmless = not dies and reached >= LEARNED.value
    end = f", until it was no longer finite at step {int(log.steps[~np.isfinite(norm)][0])}" if dies else ""
    evidence = [
        Evidence("growth of the global norm over its calmest earlier steps", peak, "1", GROWTH.value),
        Evidence("largest finite global norm", float(norm[finite].max()), "loss/weight"),
        Evidence("steps above the growth limit", float((growth >= GROWTH.value).sum()), "steps", STEPS.value),
    ]
    if lost:
        evidence.append(Evidence("steps whose norm is not finite", lost / len(norm), "share"))
    return Finding(
        rule="exploding-gradient",
        severity="info" if harmless else "high",
        summary=f"The global gradient norm {_SAID[kind]} by a factor of {power(peak)} from step {begin} on{end}.",
        first_step=begin,
        last_step=last,
        evidence=tuple(evidence),
        confidence=0.95 if dies else 0.85,
        details={"kind": kind, "growth": peak, "onset_step": int(log.steps[onset])},
    )


_SAID = {"growth": "grew", "weights": "grew, and the weights with it,", "spikes": "spiked"}


def _kind(log: RunLog, growth: FloatArray, onset: int, dies: bool) -> str:
    """`weights` where they more than doubled since the last calm step; `spikes` where most steps after it are calm.

    Calm is a norm within a factor of two of its smallest: at the onset, a hundred times above, the weights that
    drive the growth are large already.
    """
    if "weight_norm" in log:
        calm = int(np.flatnonzero(np.append(True, growth[1 : onset + 1] <= 2.0))[-1])
        before, after = log["weight_norm"][calm], log["weight_norm"][onset:]
        known = np.where(np.isfinite(after), after, 0.0).max(axis=0, initial=0.0)
        kernels = signals.kernels(log)
        if kernels and (known[kernels] > 2.0 * before[kernels]).any():
            return "weights"
    lasting = float((growth[onset:] >= GROWTH.value).mean())
    return "growth" if dies or lasting >= 0.5 else "spikes"


def _over_depth(log: RunLog) -> Finding | None:
    if "gradient_norm" not in log or len(signals.kernels(log)) < 4:
        return None
    trend = signals.depth_trend(log)
    sick = (-trend.decades >= DECADES.value) & (trend.agreement <= -0.8)
    if sick.mean() < 0.2 or ("loss" in log and loss_curve(log).progress > 0.3):
        return None
    first, end = windows.longest_run(sick)
    begin, last = windows.span(log, trend.edges, first, end)
    decades = float(-np.median(trend.decades[sick]))
    return Finding(
        rule="exploding-gradient",
        severity="high",
        summary=f"The gradient grows by a factor of {power(10**decades)} from the last hidden layer back to the first.",
        first_step=begin,
        last_step=last,
        evidence=(
            Evidence("decades gained from the last hidden kernel to the first", decades, "decades", DECADES.value),
        ),
        confidence=0.85,
        details={"kind": "depth", "total_decades": -decades},
    )
