"""Trains an unchanged and a changed model side by side on the same batches."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np

from kgrad.treatment.arguments import fitting_data
from kgrad.treatment.batches import Batch
from kgrad.treatment.depth_profile import depth_profile
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.measure import right_share


@dataclass(frozen=True)
class Health:
    """How the gradients are at the end of a short training, on one batch.

    Attributes:
        depth_ratio: gradient norm of the first layer with trainable weights, divided by that of the last one; far
            below 1 it vanishes on the way to the input, far above 1 it explodes.
        largest_gradient: the largest gradient norm of a layer.
        nonfinite_steps: share of the training steps whose loss was infinite or not a number.
    """

    depth_ratio: float
    largest_gradient: float
    nonfinite_steps: float


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        first_loss: the compiled loss before training.
        loss: the same after it, on the same rows.
        accuracy: after training: the compiled one, or the share of right classes; `None` where there are none.
        health: of its gradients.
        batch_losses: the loss of each training step.
    """

    first_loss: float
    loss: float
    accuracy: float | None
    health: Health
    batch_losses: tuple[float, ...]


def train_side_by_side(
    models: Sequence[keras.Model],
    batches: Iterable[Batch],
    measured: Iterable[Batch],
    steps: int,
    seconds: float,
    advance: Callable[[], None],
) -> tuple[Outcome, ...]:
    """Trains all models for the same number of steps, each step on one batch for all.

    Args:
        models: compiled models.
        batches: what they are trained on; at least `steps`.
        measured: what loss and accuracy are measured on.
        steps: how many steps at most.
        seconds: after how long no step is begun any more, from the first one on.
        advance: called after each step.
    """
    for model in models:
        model.steps_per_execution = 1  # batches come one by one
    with fitting_data(models[0]):
        first = [_loss_and_accuracy(model, measured)[0] for model in models]
    until = time.monotonic() + seconds
    losses: list[list[float]] = [[] for _ in models]
    for batch in islice(batches, steps):
        if time.monotonic() > until:
            break
        for model, past in zip(models, losses, strict=True):
            past.append(_number(model.train_on_batch(*batch, return_dict=True), "loss"))
        advance()
    return tuple(_outcome(*each, measured) for each in zip(models, first, losses, strict=True))


def _outcome(model: keras.Model, first_loss: float, losses: list[float], measured: Iterable[Batch]) -> Outcome:
    loss, accuracy = _loss_and_accuracy(model, measured)
    if accuracy is None and len(model.outputs) == 1:
        accuracy = right_share(model, measured)
    norms = [state.gradient_norm for state in depth_profile(model, next(iter(measured))).values()]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.float64(norms[0]) / norms[-1]) if norms else math.nan
    broken = float(np.mean(~np.isfinite(losses))) if losses else 0.0
    return Outcome(first_loss, loss, accuracy, Health(ratio, max(norms, default=math.nan), broken), tuple(losses))


def _loss_and_accuracy(model: keras.Model, batches: Iterable[Batch]) -> tuple[float, float | None]:
    """The mean over batches by their rows; no accuracy where none was compiled."""
    logs, rows = [], []
    for batch in batches:
        logs.append(model.test_on_batch(*batch, return_dict=True))
        rows.append(len(keras.tree.flatten(batch[0])[0]))
    accuracy = next((name for name in logs[0] if "accuracy" in name or name == "acc"), None)
    return _mean(logs, "loss", rows), None if accuracy is None else _mean(logs, accuracy, rows)


def _mean(logs: Sequence[dict[str, Any]], name: str, rows: Sequence[int]) -> float:
    return float(np.average([_number(entry, name) for entry in logs], weights=rows))


def _number(logs: dict[str, Any], name: str) -> float:
    if name not in logs:
        raise TreatmentError(f"The model reports no {name} to compare by, only: {', '.join(logs) or 'nothing'}.")
    return float(logs[name])
