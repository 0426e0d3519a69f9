"""What MLflow's client finds in its store."""

import math

import pytest

import kgrad
from kgrad.errors import KgradError

from .conftest import NAMES, full_log

REASON = "mlflow-skinny with SQLAlchemy is not installed: uv sync --group exporters"
mlflow = pytest.importorskip("mlflow", reason=REASON)
pytest.importorskip("sqlalchemy", reason=REASON)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/store.db"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Artifacts of a new store go beside the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def exported(log, uri):
    said = kgrad.export(log, "mlflow", uri)
    assert said.endswith(f"at {uri}")
    return mlflow.MlflowClient(uri).get_run(said.split()[1])


def test_metrics_tags_params_and_the_report(log, uri):
    client = mlflow.MlflowClient(uri)
    run = exported(log, uri)
    assert (run.info.run_name, run.info.status) == ("full", "FINISHED")
    assert run.info.end_time - run.info.start_time == 60_000
    loss = client.get_metric_history(run.info.run_id, "kgrad/loss")
    assert [(metric.step, metric.value) for metric in loss] == list(zip(log.steps, log["loss"], strict=True))
    norms = client.get_metric_history(run.info.run_id, f"kgrad/gradient_norm/{NAMES[0]}")
    assert math.isnan(norms[7].value)
    assert sum(key.startswith("kgrad/gradient_norm/") for key in run.data.metrics) == len(NAMES)
    assert run.data.params["kgrad/optimizer.learning_rate"] == "0.01"
    assert run.data.tags["kgrad.verdict"] == kgrad.diagnose(log).verdict
    assert {item.path for item in client.list_artifacts(run.info.run_id, "kgrad")} == {
        "kgrad/report.html",
        "kgrad/report.txt",
    }


def test_a_sick_run_carries_its_diseases_as_tags(sick, uri):
    run = exported(sick, uri)
    assert run.data.tags["kgrad.vanishing-gradient"] == "high"
    assert run.data.tags["kgrad.verdict"].startswith("Vanishing gradient")


@pytest.mark.parametrize(("status", "there"), [("failed", "FAILED"), ("interrupted", "KILLED")])
def test_how_the_run_ended(status, there, uri):
    assert exported(full_log(status=status), uri).info.status == there


def test_an_active_run_is_used_and_left_open(log, uri, monkeypatch):
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("mine")
        with mlflow.start_run() as active:
            mlflow.log_metric("loss", 42.0)
            kgrad.export(log, "mlflow")
            assert mlflow.active_run().info.run_id == active.info.run_id
            mlflow.log_metric("after", 1.0)
        data = mlflow.get_run(active.info.run_id).data
    finally:
        mlflow.set_tracking_uri(None)
    assert (data.metrics["loss"], data.metrics["after"]) == (42.0, 1.0)
    assert data.metrics["kgrad/loss"] == log["loss"][-1]


def test_a_server_that_is_not_there_is_one_clear_line(log, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(KgradError, match="MLflow could not take the run 'full'"):
        kgrad.export(log, "mlflow", "http://127.0.0.1:9")
