"""MLflow: metrics, parameters, tags with the diagnosis, the report as an artifact."""

import os
import time
from collections.abc import Iterator

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from kgrad.exporters.record import Record, clean_names

_ILLEGAL = r"[^-/\w. ]"
# What one request, and one value, may hold at most: https://mlflow.org/docs/latest/rest-api.html#request-limits
_METRICS, _PARAMS, _LONGEST = 1000, 100, 500
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "running": "RUNNING"}


def write(record: Record, place: str | None = None) -> str:
    """Logs the run: into the active MLflow run where there is one, otherwise into a new one of the same name.

    All names begin with `kgrad/`, so nothing that others log into the same run is touched. A new run goes to the
    experiment that `MLFLOW_EXPERIMENT_NAME` names, `kgrad` by default.

    Args:
        record: the run.
        place: the tracking URI; MLflow's own (`MLFLOW_TRACKING_URI`) by default. Where it is given, a new run is
            made whether or not one is active.
    """
    active = mlflow.active_run() if place is None else None
    client = MlflowClient(tracking_uri=place)
    run_id = active.info.run_id if active else _new_run(client, record)
    _log(client, run_id, record)
    if active is None:
        client.set_terminated(run_id, _STATUS[record.status], end_time=_milliseconds(record, 1))
    return f"run {run_id} at {client.tracking_uri}"


def _new_run(client: MlflowClient, record: Record) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "kgrad")
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    run = client.create_run(experiment, start_time=_milliseconds(record, 0), run_name=record.name)
    return str(run.info.run_id)


def _log(client: MlflowClient, run_id: str, record: Record) -> None:
    metrics, params = list(_metrics(record)), list(_params(record))
    for first in range(0, len(metrics), _METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _METRICS])
    for first in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[first : first + _PARAMS])
    client.log_batch(run_id, tags=list(_tags(record)))
    if record.report:
        client.log_text(run_id, record.report, "kgrad/report.html")
    client.log_text(run_id, record.text, "kgrad/report.txt")


def _metrics(record: Record) -> Iterator[Metric]:
    keys = clean_names((series.tag for series in record.series), _ILLEGAL)
    for series in record.series:
        moments = record.moments(series.steps)
        times = [time.time()] * len(series.steps) if moments is None else moments.tolist()
        for step, value, moment in zip(series.steps.tolist(), series.values.tolist(), times, strict=True):
            yield Metric(f"kgrad/{keys[series.tag]}", value, int(1000 * moment), step)


def _params(record: Record) -> Iterator[Param]:
    keys = clean_names(record.settings, _ILLEGAL)
    for name, value in record.settings.items():
        yield Param(f"kgrad/{keys[name]}", str(value)[:_LONGEST])


def _tags(record: Record) -> Iterator[RunTag]:
    yield RunTag("kgrad.run", record.name)
    yield RunTag("kgrad.verdict", record.verdict[:_LONGEST])
    for rule, severity in record.findings.items():
        yield RunTag(f"kgrad.{rule}", severity)


def _milliseconds(record: Record, end: int) -> int | None:
    return None if record.span is None else int(1000 * record.span[end])
