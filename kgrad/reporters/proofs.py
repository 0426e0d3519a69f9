"""What was tried of the prescriptions, ready to print: the dry run of a batch and the trial of a short training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray
from kgrad.prescription.prescription import Prescription
from kgrad.reporters.pictures import Lines, lines
from kgrad.reporters.wording import Names, clip, counted, measured, number

# Points of a trial's curve: its box on the page is a third of the screen.
_MOST_POINTS = 200
# How the page marks a verdict, in the words of the gauges.
_STATES = {"proven": "pass", "harmful": "fail", "no effect": "warn"}
_WIDE = 1e3
_SIDES = ("unchanged", "changed")
# How the gradients were at the end: heading of the column -> its name in a trial.
_HEALTH = {"Gradient, first over last layer": "depth_ratio", "Largest gradient": "largest_gradient"}


@dataclass(frozen=True)
class Contrast:
    """Two curves, of the unchanged model and of the changed one.

    Attributes:
        unchanged: its values, NaN where not finite, shape `(points,)`.
        changed: the same of the changed model.
        across: what the points are: step numbers, or the names of layers.
        wide: whether they are better drawn over logarithms.
        picture: the same as a static picture.
    """

    unchanged: FloatArray
    changed: FloatArray
    across: tuple[Any, ...]
    wide: bool
    picture: Lines

    def to_dict(self) -> dict[str, Any]:
        """What the script draws, in plain JSON types."""
        return {
            "unchanged": _plain(self.unchanged),
            "changed": _plain(self.changed),
            "across": list(self.across),
            "wide": self.wide,
        }


@dataclass(frozen=True)
class TrialCard:
    """A trial: what short trainings with and without the change showed.

    Attributes:
        verdict: in one or two words.
        state: `"pass"`, `"warn"`, `"fail"` or `"none"`.
        tried: each prescription in a few words.
        result: what the change did to loss and accuracy.
        says: how it was measured.
        headings: of the columns of the table by seed.
        rows: seed, steps, loss of the unchanged and of the changed model, and of both what else was measured.
        contrast: the losses over the steps, means of the seeds; `None` where they were not kept.
        accuracy: of the changed model, the mean of the seeds; NaN where it was not measured.
    """

    verdict: str
    state: str
    tried: tuple[str, ...]
    result: str
    says: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    contrast: Contrast | None
    accuracy: float


@dataclass(frozen=True)
class DryRunCard:
    """A dry run: the gradients through depth of one batch before any training, with and without the change.

    Attributes:
        says: what it showed.
        rows: layer, gradient before and after, deviation of the output before and after.
        contrast: the gradient norms through depth.
    """

    says: str
    rows: tuple[tuple[str, ...], ...]
    contrast: Contrast


@dataclass(frozen=True)
class Proofs:
    """What was tried, by the prescription that it tried.

    Attributes:
        dry_runs: cards of dry runs.
        trials: cards of trials.
        others: cards of trials of several prescriptions, or of one that is not shown.
    """

    dry_runs: Mapping[tuple[str, ...], DryRunCard | None]
    trials: Mapping[tuple[str, ...], TrialCard]
    others: tuple[TrialCard, ...]

    @classmethod
    def of(
        cls, prescriptions: Sequence[Prescription], dry_runs: Sequence[object], trials: Sequence[object], names: Names
    ) -> "Proofs":
        """The cards, sorted; each dry run or trial is given as the object or as its `to_dict()`."""
        shown = {_key(each.to_dict()) for each in prescriptions}
        held, others = {}, []
        for data in map(_told, trials):
            key = _key(data.get("prescription") or {})
            if key in shown and key not in held:
                held[key] = trial_card(data, names)
            else:
                others.append(trial_card(data, names))
        dry = {_key(data.get("prescription") or {}): dry_run_card(data) for data in map(_told, dry_runs)}
        return cls(dry, held, tuple(others))

    def dry_run_of(self, prescription: Prescription) -> DryRunCard | None:
        """The dry run of a prescription, if there was one and it shows something."""
        return self.dry_runs.get(_key(prescription.to_dict()))

    def trial_of(self, prescription: Prescription) -> TrialCard | None:
        """The trial of a prescription, if there was one."""
        return self.trials.get(_key(prescription.to_dict()))


def _key(prescription: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells one prescription from another."""
    return tuple(str(prescription.get(name)) for name in ("knob", "before", "after", "code"))


def _told(each: object) -> Mapping[str, Any]:
    return each if isinstance(each, Mapping) else each.to_dict()  # type: ignore[attr-defined]


def trial_card(data: Mapping[str, Any], names: Names) -> TrialCard:
    """The card of a trial, given as its `to_dict()`."""
    pairs = list(data.get("pairs", ()))
    verdict = clip(str(data["verdict"]))
    headings, rows = _by_seed(pairs)
    return TrialCard(
        verdict,
        _STATES.get(verdict, "none"),
        tuple(names.sentence(str(each), 300) for each in data.get("tried", ())),
        _result(pairs) or names.sentence(str(data.get("summary", ""))),
        _how(data, pairs),
        headings,
        rows,
        _losses(pairs),
        float(np.mean([_float(pair["changed"].get("accuracy")) for pair in pairs])) if pairs else math.nan,
    )


def dry_run_card(data: Mapping[str, Any]) -> DryRunCard | None:
    """The card of a dry run, `None` where the change does not show before training."""
    layers = list(data.get("layers", ()))
    if not data.get("changes_the_start") or len(layers) < 2:
        return None
    before, after = (
        np.array([_float(each[side]) for each in layers]) for side in ("gradient_before", "gradient_after")
    )
    unchanged, changed = (_decades(_float(data.get(side))) for side in ("spread_before", "spread_after"))
    across = tuple(clip(str(each["layer"]), 40) for each in layers)
    columns = ("gradient_before", "gradient_after", "activation_before", "activation_after")
    rows = tuple(
        (name, *(number(_float(each[column])) for column in columns)) for name, each in zip(across, layers, strict=True)
    )
    contrast = Contrast(before, after, across, True, lines((before, after), logarithmic=True))
    return DryRunCard(
        "One batch through both models before any training: from the smallest to the largest gradient of a layer "
        f"it is {unchanged} in the unchanged model, {changed} in the changed one.",
        rows,
        contrast,
    )


def _decades(spread: float) -> str:
    return f"{spread:.1f} decades" if math.isfinite(spread) else "without end, since a gradient is 0,"


def _result(pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return ""
    parts = [f"loss {_mean_loss(pairs, 'unchanged')} → {_mean_loss(pairs, 'changed')}"]
    accuracies = [[pair[side].get("accuracy") for pair in pairs] for side in _SIDES]
    if all(value is not None for values in accuracies for value in values):
        parts.append("accuracy " + " → ".join(f"{100 * float(np.mean(values)):.1f} %" for values in accuracies))
    return ", ".join(parts)


def _mean_loss(pairs: Sequence[Mapping[str, Any]], side: str) -> str:
    losses = [_float(pair[side]["loss"]) for pair in pairs]
    broken = sum(not math.isfinite(loss) for loss in losses)
    return number(float(np.mean(losses))) if not broken else f"not finite in {broken} of {len(losses)}"


def _how(data: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return ""
    steps = sorted({int(pair["steps"]) for pair in pairs})
    length = counted(steps[0], "step") if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,} steps"
    said = f"Trained beside the unchanged model from {counted(len(pairs), 'seed')} for {length}"
    said += f", measured on {clip(str(data.get('measured_on', 'training data')))}"
    gap = data.get("difference")
    if gap:
        low, high = (f"{_float(gap[end]):+.3g}".replace("-", "−") for end in ("low", "high"))
        said += f"; difference of the losses {low} to {high} ({100 * gap['confidence']:g} % interval)"
        if not all(math.isfinite(_float(pair[side]["loss"])) for pair in pairs for side in _SIDES):
            said += ", a loss that is not finite counting as the largest seen"
    gap = data.get("accuracy_difference")
    if gap:
        low, high = (f"{100 * _float(gap[end]):+.1f}".replace("-", "−") for end in ("low", "high"))
        said += f"; difference of the accuracies {low} to {high} points"
    return f"{said}."


def _by_seed(pairs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Headings and rows of the table by seed; what no seed has gets no column."""
    columns = {
        "Seed": [clip(str(pair["seed"])) for pair in pairs],
        "Steps": [f"{pair['steps']:,}" for pair in pairs],
        "Loss unchanged": [measured(_float(pair["unchanged"]["loss"]), "1") for pair in pairs],
        "Loss changed": [measured(_float(pair["changed"]["loss"]), "1") for pair in pairs],
    }
    if all(pair[side].get("accuracy") is not None for pair in pairs for side in _SIDES):
        columns["Accuracy"] = [
            " → ".join(f"{100 * _float(pair[side]['accuracy']):.1f} %" for side in _SIDES) for pair in pairs
        ]
    if all(pair[side].get("health") for pair in pairs for side in _SIDES):
        health = [[pair[side]["health"] for side in _SIDES] for pair in pairs]
        for heading, name in _HEALTH.items():
            columns[heading] = [" → ".join(number(_float(each.get(name))) for each in both) for both in health]
    return tuple(columns), tuple(zip(*columns.values(), strict=True))


def _losses(pairs: Sequence[Mapping[str, Any]]) -> Contrast | None:
    """The batches' losses over the steps, means of the seeds and of a few steps each."""
    curves = [[pair[side].get("batch_losses") or () for pair in pairs] for side in _SIDES]
    length = min((len(losses) for side in curves for losses in side), default=0)
    if length < 2:
        return None
    edges = np.linspace(0, length, min(length, _MOST_POINTS) + 1).astype(int)
    both = [_thinned(np.array([[_float(v) for v in losses[:length]] for losses in side]), edges) for side in curves]
    known = np.concatenate([side[np.isfinite(side)] for side in both])
    wide = bool(len(known) and known.min() > 0 and known.max() / known.min() > _WIDE)
    across = tuple(int(step) for step in edges[1:])
    return Contrast(both[0], both[1], across, wide, lines(both, logarithmic=wide))


def _thinned(losses: FloatArray, edges: NDArray[np.int64]) -> FloatArray:
    """Means over the seeds and the steps of each piece; NaN where a seed's loss is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        means = losses.mean(axis=0)
        pieces = np.add.reduceat(means, edges[:-1]) / np.diff(edges)
    return np.where(np.isfinite(pieces), pieces, np.nan)


def _float(value: Any) -> float:
    """A number; JSON has `null` for what is not finite."""
    return math.nan if value is None else float(value)


def _plain(values: FloatArray) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
