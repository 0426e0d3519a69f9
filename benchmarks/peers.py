"""Published thresholds of other tools, applied to the same logs: what each would have called a run.

Sources of the numbers: AutoTrainer (Zhang et al., ICSE 2021, and its repository); DeepDiagnosis (Wardat et al.,
ICSE 2022); Amazon SageMaker Debugger's built-in rules (documentation, defaults); TheDeepChecker (Ben Braiek &
Khomh, TOSEM 2023). Where a tool looks at what a log does not hold (every single activation), the nearest
statistic in the log stands for it. Each returns the labels in the order in which the tool would report them.
"""

from collections.abc import Callable

import numpy as np

from kgrad.diagnosis import signals
from kgrad.log.run_log import RunLog


def _mean_magnitude(log: RunLog) -> np.ndarray:
    """Mean magnitude of the kernels' gradients, for normally distributed elements, by step and kernel."""
    columns = signals.kernels(log)
    sizes = np.sqrt([log.structure.variables[column].size for column in columns])
    return 0.8 * log["gradient_norm"][:, columns] / sizes


def _broken(log: RunLog) -> bool:
    return bool((log["nonfinite_count"] > 0).any() or not np.isfinite(log["loss"]).all())


def _accuracy(log: RunLog) -> np.ndarray:
    for name in ("accuracy", "acc", "sparse_categorical_accuracy", "binary_accuracy"):
        if name in log.epochs:
            return np.asarray(log.epochs[name])
    return np.zeros(0)


def _zeros(log: RunLog) -> np.ndarray:
    return log["zero_fraction"][:, signals.kernels(log)]


def autotrainer(log: RunLog) -> list[str]:
    """First over last gradient under 1e-3 and first under 1e-4; over 70; 70 % zeros; swings and gains of accuracy."""
    found, norms = [], log["gradient_norm"][:, signals.kernels(log)]
    if _broken(log):
        found.append("exploding")
    if norms.shape[1] >= 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = norms[:, 0] / norms[:, -1]
        if np.mean((ratio < 1e-3) & (norms[:, 0] < 1e-4)) > 0.5:
            found.append("vanishing")
        if np.mean(ratio > 70) > 0.5:
            found.append("exploding")
    if norms.shape[1] and np.mean((_zeros(log) >= 0.7).any(axis=1)) > 0.5:
        found.append("dying_relu")
    accuracy = _accuracy(log)
    if len(accuracy) >= 4:
        change = np.diff(accuracy)
        if np.mean(np.abs(change) >= 0.03) > 0.5 and np.mean(change < 0) > 0.3:
            found.append("oscillating")
        if accuracy.max() - accuracy[0] < 0.01:
            found.append("plateau")
    return found


def deepdiagnosis(log: RunLog) -> list[str]:
    """Mean gradient under 1e-7; NaN or infinity; updates outside 1e-5 to 1e-1; 70 % zeros; a loss that repeats."""
    found = []
    if _broken(log):
        found.append("exploding")
    columns = signals.kernels(log)
    if columns:
        ratio = np.nanmedian(signals.update_ratio(log, columns))
        spread = log["weight_norm"][0, columns] ** 2 / [log.structure.variables[c].size for c in columns]
        if (np.median(_mean_magnitude(log), axis=0) < 1e-7).any():
            found.append("vanishing")
        if np.mean((_zeros(log) >= 0.7).any(axis=1)) > 0.5:
            found.append("dying_relu")
        if ((spread < 1e-5) | (spread > 10)).any():
            found.append("bad_init")
        if ratio > 1e-1:
            found.append("lr_too_high")
        if ratio < 1e-5:
            found.append("lr_too_low")
    losses = log.epochs.get("loss", np.zeros(0))
    if any(len(set(losses[i : i + 5].tolist())) == 1 for i in range(max(len(losses) - 4, 0))):
        found.append("plateau")
    return found


def sagemaker(log: RunLog) -> list[str]:
    """Mean gradient under 1e-7; NaN or infinity; updates over 10 or under 1e-8; dead units; under 0.1 % in 10 steps."""
    found = []
    if _broken(log):
        found.append("exploding")
    columns = signals.kernels(log)
    if columns:
        if (np.median(_mean_magnitude(log), axis=0) < 1e-7).any():
            found.append("vanishing")
        if np.median(_zeros(log), axis=0).max() > 0.5:
            found.append("dying_relu")
        ratio = np.nanmedian(signals.update_ratio(log, columns))
        if ratio > 10:
            found.append("lr_too_high")
        if ratio < 1e-8:
            found.append("lr_too_low")
    loss = log["loss"]
    if len(loss) > 10 and np.isfinite(loss).all():
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = (loss[:-10] - loss[10:]) / np.abs(loss[:-10])
        if np.mean(gain < 1e-3) > 0.5:
            found.append("plateau")
    return found


def thedeepchecker(log: RunLog) -> list[str]:
    """Mean gradient under 1e-6 or halving per layer; over 1e6 or doubling; updates outside 1e-4 to 1e-1; 5 % in 5."""
    found = []
    if _broken(log):
        found.append("exploding")
    columns = signals.kernels(log)
    if columns:
        middle = np.median(_mean_magnitude(log), axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.median(middle[:-1] / middle[1:]) if len(middle) > 2 else 1.0
        if (middle < 1e-6).any() or step < 0.5:
            found.append("vanishing")
        if (middle > 1e6).any() or step > 2:
            found.append("exploding")
        ratio = np.nanmedian(signals.update_ratio(log, columns))
        if ratio > 1e-1:
            found.append("lr_too_high")
        if ratio < 1e-4:
            found.append("lr_too_low")
        if np.median(_zeros(log), axis=0).max() > 0.5:
            found.append("dying_relu")
    loss = log["loss"]
    if len(loss) > 5 and np.isfinite(loss).all():
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = (loss[:-5] - loss[5:]) / np.abs(loss[:-5])
        if np.mean(gain < 0.05) > 0.8:
            found.append("plateau")
    return found


PEERS: dict[str, Callable[[RunLog], list[str]]] = {
    "AutoTrainer": autotrainer,
    "DeepDiagnosis": deepdiagnosis,
    "SageMaker": sagemaker,
    "TheDeepChecker": thedeepchecker,
}
