"""Batches of runs made by hand: summaries for the statistics, run folders for the way through the house."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kgrad.comparison.summary import FoundRule, Metric, RunSummary
from kgrad.log import schema
from kgrad.log.run_log import RunLog
from kgrad.log.store import claim_free
from kgrad.log.structure import Structure
from kgrad.log.writer import RunWriter
from kgrad.workflow import examine, read_run

from ..diagnosis.rules.cases import deep


def summary(name: str, loss: float = 1.0, *, seed: int = 0, disease: str = "", status: str = "finished", **settings):
    """One finished run, by its settings and its last loss."""
    return RunSummary(
        name,
        f"runs/{name}",
        status,
        settings=settings,
        seed=seed,
        steps=100,
        metrics={"loss": Metric(loss, loss, 99)},
        loss_error=0.001,
        severity="high" if disease else None,
        found=(FoundRule(disease, "high"),) if disease else (),
        curve_steps=(0, 99),
        loss=(2.0, loss),
        global_norm=(1.0, 1.0),
        layers=("a", "b"),
        profile=(0.1, 1.0),
    )


def seeds(count: int, mean: float, spread: float, generator: np.random.Generator, **settings) -> list[RunSummary]:
    """A configuration over some seeds, with normal losses."""
    name = "-".join(str(value) for value in settings.values())
    losses = generator.normal(mean, spread, count)
    return [summary(f"{name}-{seed}", float(loss), seed=seed, **settings) for seed, loss in enumerate(losses)]


def with_initializer(model: Structure, initializer: str) -> Structure:
    kind = {"class_name": initializer, "config": {"seed": None}}
    return replace(model, variables=tuple(replace(v, initializer=kind) if v.is_kernel else v for v in model.variables))


def write_run(place: Path | str, log: RunLog, *, diagnose: bool = True, close: str | None = "finished", **info) -> str:
    """A run folder with the log's content, diagnosed as a monitor would have."""
    facts = {"optimizer": log.info["optimizer"], "loss": "mean_squared_error", "tags": {}, **info}
    writer = RunWriter(claim_free(place), log.structure, facts)
    series = {name: log[name] for name in schema.STEP_SERIES if name in log}
    if len(log):
        writer.add_steps(log.steps, series, {name: log[name] for name in schema.STATISTICS if name in log})
    last = len(log) - 1
    for epoch in range(4):
        writer.add_epoch(epoch, last * (epoch + 1) // 4, {"loss": 1.0, "accuracy": 0.2 * (epoch + 1)})
    if close is None:
        writer.flush()
        return writer.store.url
    writer.close(close)
    if diagnose:
        writer.write_diagnosis(examine(read_run(writer.store.url)).to_dict())
    return writer.store.url


def study(place: Path, seeds: int = 4, layers: int = 8, steps: int = 200) -> list[str]:
    """Sigmoid vanishes, ReLU does not, whatever the initializer; the seeds differ a little."""
    made = []
    for activation, decades in (("sigmoid", 8.0), ("relu", 0.2)):
        for initializer in ("GlorotUniform", "HeNormal"):
            for seed in range(seeds):
                generator = np.random.default_rng([seed, len(activation), len(initializer)])
                noise = 1 + 0.02 * generator.standard_normal(steps) + 0.05 * generator.standard_normal()
                falls = 2.3 * np.exp(-np.arange(steps) / 40) + 0.1
                loss = (falls if activation == "relu" else np.full(steps, 2.3)) * noise
                log = deep(layers, steps, decades, activation, loss=loss)
                log = replace(log, structure=with_initializer(log.structure, initializer))
                name = f"{activation}-{initializer}-{seed}"
                made.append(write_run(place / name, log, tags={"seed": seed}))
    return made
