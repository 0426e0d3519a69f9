"""The rule `noisy-gradient`."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import FloatArray, RunLog

NOISE = Limit(
    "noise over signal",
    100.0,
    "1",
    "McCandlish et al. (2018), eq. 2.7: a step makes 1 / (1 + noise/signal) of the progress that the noiseless "
    "gradient would; under a hundredth, a batch ten times as large pays nearly tenfold. "
    "Sound runs of the corpus, their ends included, stay under 60.",
)
SHARE = Limit("share of the run", 0.5, "share", "as in dead-units: half the run is no passing state.")
FEWEST = Limit("steps", 50, "steps", "as in plateau: fewer hold too few windows.")
# The signal is small beside its error, so the windows are as long as a change over the run allows.
_WINDOWS = 4


@rule(
    columns=("cosine", "gradient_norm", "loss"),
    limits=(NOISE, SHARE, FEWEST),
    symptom_of=(
        "nonfinite-gradient",
        "exploding-gradient",
        "vanishing-gradient",
        "dead-units",
        "saturated-activation",
        "poor-initialization",
        "output-loss-mismatch",
        "unscaled-inputs",
        "disconnected-weights",
        "loss-scale-trouble",
        "clipping-too-tight",
        "plateau",
    ),
)
def noisy_gradient(log: RunLog) -> Finding | None:
    """The gradient of a batch is nearly all noise: successive batches point anywhere, and little is learned.

    Measured: the inner product of successive recorded gradients, from their cosines and norms, summed over the
    variables. Its mean in a window estimates the square of the true gradient, what is left of the mean square the
    noise; their ratio is the gradient noise scale of McCandlish et al. (2018) over the batch size. The upper end of
    the signal's error (two standard errors) is taken, so that few steps do not look like noise. The batches of one
    epoch share no rows, which turns their gradients apart; that is allowed for (Cochran 1977, section 2.9). Every
    sound run ends in noise, so it is named only where next to nothing was learned.

    Blind spot: the gradient must not turn much between two recorded steps; a run that oscillates has negative
    products, and is no matter of noise.
    """
    if len(log) < FEWEST.value:
        raise NotApplicable(f"{len(log)} steps are too few to tell noise from signal; {FEWEST.value:.0f} are needed")
    products, squares = _products(log)
    if not np.isfinite(products).any():
        raise NotApplicable("no two recorded gradients that follow each other are finite")
    ratio = _ratio(log, products, squares)
    noisy = ratio >= NOISE.value
    share = float(noisy[np.isfinite(ratio)].mean()) if np.isfinite(ratio).any() else 0.0
    if harm(log) != "high" or share < SHARE.value:
        return None
    begin, last = signals.span(log, _edges(log), *signals.longest_run(noisy))
    middle = float(np.median(ratio[noisy]))
    rows = log.batch.rows if log.batch and log.batch.rows < 256 else None  # 256 are kept at most
    known = () if rows is None else (Evidence("gradient noise scale, at least", middle * rows, "rows"),)
    return Finding(
        rule="noisy-gradient",
        severity="medium",
        summary=f"The noise in the gradient is at least {power(middle)} times its signal (squared) in "
        f"{100 * share:.0f} % of the run: the batch is too small to show the way.",
        first_step=begin,
        last_step=last,
        evidence=(
            Evidence("noise over signal, at least (median)", middle, "1", NOISE.value),
            Evidence("share of the run", share, "share", SHARE.value),
            *known,
        ),
        confidence=0.6,
        details={"ratio": middle, "batch": rows},
    )


def _products(log: RunLog) -> tuple[FloatArray, FloatArray]:
    """Inner product of each gradient with the one before, and the product of their norms; NaN for the first."""
    norm, cosine = log["gradient_norm"], log["cosine"]
    with np.errstate(over="ignore", invalid="ignore"):
        before = np.vstack([np.full((1, norm.shape[1]), np.nan), norm[:-1]])
        parts = np.where(norm * before == 0, 0.0, cosine * norm * before)
        products = np.where(np.isfinite(parts).any(axis=1), np.nansum(parts, axis=1), np.nan)
        squares = np.nansum(norm**2, axis=1)
    return products, squares


def _edges(log: RunLog) -> NDArray[np.int64]:
    return np.linspace(0, len(log), _WINDOWS + 1).astype(np.int64)


def _ratio(log: RunLog, products: FloatArray, squares: FloatArray) -> FloatArray:
    """Noise over signal of each window, at least; NaN where a window has too little or oscillates."""
    batches = (log.info.get("fit") or {}).get("steps_per_epoch") or np.inf
    ratio = np.full(_WINDOWS, np.nan)
    for i, (first, end) in enumerate(pairwise(_edges(log))):
        part, total = products[first:end], squares[first:end]
        known = np.isfinite(part) & np.isfinite(total)
        count = int(known.sum())
        if count < signals.SMALLEST_WINDOW:
            continue
        error = float(part[known].std(ddof=1)) / np.sqrt(count)
        square = float(total[known].mean())
        # Two of N batches without common rows have a product of -noise / (N - 1) on average, the last of one epoch
        # and the first of the next of none: -noise / N over all successive pairs.
        signal = float(part[known].mean()) + (square - float(part[known].mean())) / (batches + 1) + 2 * error
        if 0 < signal < np.inf:
            ratio[i] = max(square - signal, 0.0) / signal
    return ratio
