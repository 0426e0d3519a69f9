"""What lies in W&B's offline folder: the records that `wandb sync` would send."""

import dataclasses
import json
import math
import struct
import time
from collections.abc import Iterator

import pytest

import kgrad
from kgrad.exporters.gather import gather
from kgrad.exporters.targets import write

from .conftest import NAMES, full_log

REASON = "wandb is not installed: uv sync --group exporters"
wandb = pytest.importorskip("wandb", reason=REASON)
_BLOCK = 32768  # a .wandb file is a LevelDB log: blocks of pieces, each with checksum, length and kind


def records(folder) -> list:
    """All records of the run; W&B's own process may still be writing the last ones when `finish` returns."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = list(_records(folder))
        if found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError("W&B never ended the run")


def _records(folder) -> Iterator:
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, place, gathered = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if _BLOCK - place % _BLOCK < 7:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        gathered += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(gathered)
            gathered = b""
            yield record


def rows(folder):
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            yield {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_metrics_come_back_step_by_step(log, tmp_path):
    said = kgrad.export(log, "wandb", tmp_path)
    assert "wandb sync" in said
    history = [row for row in rows(tmp_path) if "kgrad/loss" in row]
    assert [(row["kgrad/step"], row["kgrad/loss"]) for row in history] == list(zip(log.steps, log["loss"], strict=True))
    assert math.isnan(history[7][f"kgrad/gradient_norm/{NAMES[0]}"])
    histogram = f"kgrad/gradient_log2_magnitude/{NAMES[0]}"
    assert [history[20][f"{histogram}/{part}"] for part in ("_type", "values", "bins")] == ["histogram", [16], [-2, -1]]


def test_the_diagnosis_is_tags_and_summary_and_the_report_a_page_and_an_artifact(sick, tmp_path):
    kgrad.export(sick, "wandb", tmp_path)
    found = records(tmp_path)
    runs = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert runs[0].display_name == "made"
    assert "vanishing-gradient" in runs[-1].tags
    summary = {"/".join(i.nested_key) or i.key: i.value_json for r in found for i in r.summary.update}
    assert summary["kgrad/verdict"].startswith('"Vanishing gradient')
    (page,) = tmp_path.glob("wandb/offline-run-*/files/media/html/kgrad/*.html")
    assert "Vanishing gradient" in page.read_text()
    assert any(r.artifact.type == "report" or r.request.log_artifact.artifact.type == "report" for r in found)


def test_an_active_run_is_used_and_left_open(log, tmp_path):
    settings = wandb.Settings(console="off", silent=True, disable_git=True)
    with wandb.init(mode="offline", dir=tmp_path, settings=settings) as active:
        active.log({"loss": 42.0}, step=1000)
        kgrad.export(log, "wandb")
        active.log({"after": 1.0})
    history = list(rows(tmp_path))
    assert [row["loss"] for row in history if "loss" in row] == [42.0]
    assert [row["kgrad/step"] for row in history if "kgrad/loss" in row] == log.steps.tolist()
    assert any("after" in row for row in history)


def test_a_run_with_nothing_but_notes_is_tagged_healthy(tmp_path):
    record = dataclasses.replace(gather(full_log(), kgrad.diagnose(full_log())), findings={"dead-units": "info"})
    write(record, "wandb", str(tmp_path))
    runs = [record.run for record in records(tmp_path) if record.WhichOneof("record_type") == "run"]
    assert list(runs[-1].tags) == ["healthy"]
