"""The rule `noisy-gradient`."""

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import windows
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.noise import noise_over_signal, products
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import RunLog

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
    inner = products(log)
    if not np.isfinite(inner).any():
        raise NotApplicable("no two recorded gradients that follow each other are finite")
    ratio = noise_over_signal(log, inner, _edges(log), errors=2.0)
    noisy = ratio >= NOISE.value
    share = float(noisy[np.isfinite(ratio)].mean()) if np.isfinite(ratio).any() else 0.0
    if harm(log) != "high" or share < SHARE.value:
        return None
    begin, last = windows.span(log, _edges(log), *windows.longest_run(noisy))
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


def _edges(log: RunLog) -> NDArray[np.int64]:
    return np.linspace(0, len(log), _WINDOWS + 1).astype(np.int64)
