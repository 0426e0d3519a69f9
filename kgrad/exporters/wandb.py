"""W&B: metrics, histograms, tags and summary with the diagnosis, the report as a page and as an artifact."""

import os
from collections import defaultdict
from typing import Any

import wandb

from kgrad.exporters.record import Record


def write(record: Record, place: str | None = None) -> str:
    """Logs the run: into the active W&B run where there is one, otherwise into a new one of the same name.

    All names begin with `kgrad/` and have a step of their own, `kgrad/step`, so nothing that others log into the
    same run is touched. A new run is written offline, unless `WANDB_MODE` says otherwise: nothing leaves the
    machine until `wandb sync`. It goes to the project that `WANDB_PROJECT` names, `kgrad` by default.

    Args:
        record: the run.
        place: the folder that gets W&B's `wandb/` folder; the present one by default. Where it is given, a new run
            is made whether or not one is active.
    """
    run = wandb.run if place is None else None
    if run is not None:
        _log(run, record)
        return f"run {run.id} of W&B"
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "kgrad"),
        name=record.name,
        dir=place,
        mode=None if "WANDB_MODE" in os.environ else "offline",
        reinit="create_new",
        settings=wandb.Settings(console="off", disable_git=True, silent=True),
    )
    with run:
        _log(run, record)
        folder = run.settings.sync_dir if run.offline else None
    return f"{folder} (wandb sync {folder})" if folder else f"run {run.id} of W&B: {run.url}"


def _log(run: Any, record: Record) -> None:
    run.config.update({f"kgrad/{key}": value for key, value in record.settings.items()}, allow_val_change=True)
    run.define_metric("kgrad/step")
    run.define_metric("kgrad/*", step_metric="kgrad/step")
    for step, values in sorted(_rows(record).items()):
        run.log({"kgrad/step": step, **{f"kgrad/{tag}": value for tag, value in values.items()}})
    diseases = [rule for rule, severity in record.findings.items() if severity != "info"]
    run.tags = tuple(dict.fromkeys((*(run.tags or ()), *(diseases or ["healthy"]))))
    run.summary.update({"kgrad/verdict": record.verdict})
    run.summary.update({f"kgrad/finding/{rule}": severity for rule, severity in record.findings.items()})
    if record.report:
        run.log({"kgrad/report": wandb.Html(record.report, inject=False)})
        _log_artifact(run, record)


def _rows(record: Record) -> dict[int, dict[str, Any]]:
    """All that belongs to a step, by step: W&B takes a step as one row."""
    rows: dict[int, dict[str, Any]] = defaultdict(dict)
    for series in record.series:
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
            rows[step][series.tag] = value
    for histogram in record.histograms:
        bins = (histogram.counts, histogram.edges)
        rows[histogram.step][histogram.tag] = wandb.Histogram(np_histogram=bins)
    return rows


def _log_artifact(run: Any, record: Record) -> None:
    artifact = wandb.Artifact(f"kgrad-{run.id}", type="report", description=record.verdict[:1000])
    with artifact.new_file("report.html", encoding="utf-8") as file:
        file.write(record.report)
    with artifact.new_file("report.txt", encoding="utf-8") as file:
        file.write(record.text)
    run.log_artifact(artifact)
