"""`RunSummary`: one run in a few hundred numbers, by one pure function that maps over any number of runs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from kgrad import __version__
from kgrad.comparison.flatten import Setting, facts_of, seed_of, settings_of
from kgrad.diagnosis import Diagnosis, diagnose, windows
from kgrad.diagnosis.loss_curve import LossCurve, loss_curve
from kgrad.diagnosis.rule import all_rules
from kgrad.errors import KgradError
from kgrad.log import schema
from kgrad.log.reader import read_run
from kgrad.log.run_log import FloatArray, RunLog
from kgrad.log.store import Store

# Points of a curve: as many as a small picture has room for.
POINTS = 80
_COLUMNS = ("loss", "global_norm", "gradient_norm")
# What `keras.callbacks.ModelCheckpoint` takes for "more is better", and the other scores that grow.
_GROWS = ("acc", "auc", "precision", "recall", "f1", "fmeasure", "fbeta", "iou", "dice", "r2")
_BOOKKEEPING = frozenset({"epoch", "last_step", "learning_rate", "lr", "loss"})


@dataclass(frozen=True)
class Metric:
    """One number that training made better or worse.

    Attributes:
        last: where it ended; NaN where it was not finite then.
        best: the best it was.
        best_step: the step of the best, -1 where none was finite.
    """

    last: float
    best: float
    best_step: int


@dataclass(frozen=True)
class FoundRule:
    """What a rule found in a run.

    Attributes:
        rule: its id.
        severity: as in `Finding`.
        caused_by: id of the rule whose finding explains this one.
    """

    rule: str
    severity: str
    caused_by: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """What a comparison keeps of one run.

    Attributes:
        name: the run's name.
        path: the folder it was read from.
        status: as `RunLog.status`, or `"unreadable"`.
        problem: what is wrong with the folder or how the training ended; empty where nothing is.
        settings: what was chosen, by name; seeds are not in it.
        seed: the seed, `None` where none is known.
        facts: where and with what it was made.
        steps: how many steps were recorded.
        epochs: how many epochs were logged.
        metrics: `"loss"`, over the steps, and what Keras logged per epoch, by name.
        loss_error: standard error of the last loss, by the noise between batches.
        verdict: the diagnosis in one sentence, empty where there is none.
        severity: the gravest severity, `None` for a healthy run or none judged.
        found: what the rules found.
        phases: name, first and last step of the phases.
        curve_steps: steps of the points of the curves.
        loss: the loss by windows, NaN where it was not finite.
        global_norm: the global gradient norm by windows.
        layers: names of the layers with weights, by depth.
        profile: median gradient norm of each of these layers over the run.
    """

    name: str
    path: str
    status: str
    problem: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    seed: Setting = None
    facts: Mapping[str, Setting] = field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    loss_error: float = float("nan")
    verdict: str = ""
    severity: str | None = None
    found: tuple[FoundRule, ...] = ()
    phases: tuple[tuple[str, int, int], ...] = ()
    curve_steps: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    global_norm: tuple[float, ...] = ()
    layers: tuple[str, ...] = ()
    profile: tuple[float, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether there was a step to judge."""
        return self.steps > 0

    @property
    def is_finished(self) -> bool:
        """Whether it trained to its end, so that its last numbers compare with those of others."""
        return self.is_judged and self.status == "finished"

    @property
    def is_sick(self) -> bool:
        """Whether a disease was found (notes do not count)."""
        return self.severity is not None

    @cached_property
    def fingerprint(self) -> str:
        """The same for two runs that are, number for number, the same training."""
        return repr((self.loss, self.global_norm, self.profile, self.metrics)) if self.loss else self.path or self.name

    @property
    def causes(self) -> tuple[str, ...]:
        """Ids of the rules that found a disease which no other finding explains."""
        return tuple(f.rule for f in self.found if f.severity != "info" and f.caused_by is None)


def grows(metric: str) -> bool:
    """Whether more of a metric is better, told by its name as Keras' callbacks do.

    >>> grows("val_accuracy"), grows("val_loss")
    (True, False)
    """
    words = metric.lower().removeprefix("val_")
    return any(word in words for word in _GROWS) and "loss" not in words


def summarise(run: RunLog | str | os.PathLike[str]) -> RunSummary:
    """The summary of one run; a run that cannot be read gives one that says so.

    Reads the loss, the global norm and the layers' gradient norms, and the rest only where `diagnosis.json` is
    missing or was made by other rules.

    Args:
        run: a run, or the folder that holds one.
    """
    if isinstance(run, RunLog):
        return _summary(run, diagnose(run, layers=False))
    path = os.fspath(run)
    try:
        log = read_run(path, _COLUMNS)
        kept = _kept_diagnosis(log)
        return _summary(log, kept) if kept else _summary(log, diagnose(read_run(path), layers=False))
    except KgradError as error:
        return RunSummary(Store(path).name, path, "unreadable", str(error))
    except Exception as error:  # one run that nobody foresaw must not stop a thousand
        name = path.rstrip("/").rsplit("/", 1)[-1]
        return RunSummary(name, path, "unreadable", f"{type(error).__name__}: {error}")


def _kept_diagnosis(log: RunLog) -> Diagnosis | None:
    """What `diagnosis.json` says, where this kgrad made it of the whole run, by the rules there are now."""
    is_closed = log.info.get("ended") is not None
    if not is_closed or log.info.get("kgrad_version", __version__) != __version__:
        return None
    try:
        kept = Diagnosis.from_dict(json.loads(Store(log.path).read(schema.DIAGNOSIS_FILE))["diagnosis"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if {outcome.rule for outcome in kept.outcomes} == {rule.id for rule in all_rules()} else None


def _summary(log: RunLog, diagnosis: Diagnosis) -> RunSummary:
    edges = np.linspace(0, len(log), min(POINTS, len(log)) + 1).astype(np.int64)
    curve = loss_curve(log) if "loss" in log and len(log) else None
    return RunSummary(
        name=log.name,
        path=log.path,
        status=log.status,
        problem=_problem(log),
        settings=settings_of(log.info, log.structure),
        seed=seed_of(log.info),
        facts=facts_of(log.info),
        steps=len(log),
        epochs=len(next(iter(log.epochs.values()), ())),
        metrics=_loss_metric(log, curve) | _epoch_metrics(log),
        loss_error=float(curve.error[-1]) if curve else float("nan"),
        verdict=diagnosis.verdict,
        severity=diagnosis.severity,
        found=tuple(FoundRule(f.rule, f.severity, f.caused_by) for f in diagnosis.findings),
        phases=tuple((phase.name, phase.first_step, phase.last_step) for phase in diagnosis.phases),
        curve_steps=tuple(int(step) for step in log.steps[(edges[:-1] + edges[1:]) // 2]),
        loss=_curve(log, "loss", edges),
        global_norm=_curve(log, "global_norm", edges),
        layers=tuple(layer.name for layer in log.structure.weighted_layers),
        profile=_profile(log),
    )


def _problem(log: RunLog) -> str:
    if not len(log):
        return "no training step was recorded"
    if log.status == "finished":
        return ""
    error = log.info.get("error")
    return f"{log.status} after step {int(log.steps[-1])}" + (f": {error}" if error else "")


def _loss_metric(log: RunLog, curve: LossCurve | None) -> dict[str, Metric]:
    """The loss over the steps: the median of the last window, and of the best."""
    if curve is None:
        return {}
    last = float(curve.level[-1]) if np.isfinite(log["loss"][-1]) else float("nan")
    if not np.isfinite(curve.level).any():
        return {"loss": Metric(last, float("nan"), -1)}
    best = int(np.nanargmin(curve.level))
    return {"loss": Metric(last, float(curve.level[best]), int(log.steps[curve.edges[best + 1] - 1]))}


def _epoch_metrics(log: RunLog) -> dict[str, Metric]:
    found = {}
    steps = log.epochs.get("last_step", np.zeros(0))
    for name, values in log.epochs.items():
        if name in _BOOKKEEPING or not len(values):
            continue
        known = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(known).all():
            found[name] = Metric(float("nan"), float("nan"), -1)
            continue
        best = int(np.nanargmax(known) if grows(name) else np.nanargmin(known))
        found[name] = Metric(float(known[-1]), float(known[best]), int(steps[best]) if len(steps) else -1)
    return found


def _curve(log: RunLog, column: str, edges: Any) -> tuple[float, ...]:
    if column not in log or not len(log):
        return ()
    return tuple(_short(value) for value in windows.medians(log[column], edges))


def _profile(log: RunLog) -> tuple[float, ...]:
    if "gradient_norm" not in log or not len(log):
        return ()
    norms: FloatArray = log.layer_norms()
    return tuple(_short(value) for value in windows.medians(norms, np.array([0, len(log)]))[0])


def _short(value: float) -> float:
    """Four digits: what a picture shows, and a thousandth of the ink."""
    return float(f"{value:.4g}")
