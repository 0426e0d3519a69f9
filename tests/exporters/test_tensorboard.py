"""What TensorBoard's own reader finds in the event files."""

import subprocess
import sys

import numpy as np
import pytest

import kgrad
from kgrad import workflow
from kgrad.errors import KgradError

from ..log.test_run_folder import write
from .conftest import NAMES

REASON = "tensorboard is not installed: uv sync --group exporters"
pytest.importorskip("tensorboardX", reason=REASON)
accumulation = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=REASON)


def read(folder):
    everything = {"scalars": 0, "tensors": 0, "histograms": 0}
    events = accumulation.EventAccumulator(str(folder), size_guidance=everything)
    events.Reload()
    return events


def text(events, tag):
    return events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()


def test_scalars_come_back_step_by_step(log, tmp_path):
    kgrad.export(log, "tensorboard", tmp_path)
    events = read(tmp_path / "full")
    loss = events.Scalars("loss")
    assert [event.step for event in loss] == log.steps.tolist()
    np.testing.assert_allclose([event.value for event in loss], log["loss"], rtol=1e-6)
    norms = [event.value for event in events.Scalars(f"gradient_norm/{NAMES[0]}")]
    np.testing.assert_allclose(norms, log["gradient_norm"][:, 0], rtol=1e-6)
    assert np.isnan(norms[7])
    assert loss[-1].wall_time - loss[0].wall_time == pytest.approx(60)


def test_names_that_are_alike_in_tensorboards_letters_stay_apart(log, tmp_path):
    kgrad.export(log, "tensorboard", tmp_path)
    tags = [tag for tag in read(tmp_path / "full").Tags()["scalars"] if tag.startswith("gradient_norm/")]
    assert len(tags) == len(NAMES)
    assert "gradient_norm/dense_1/a_2" in tags
    assert "gradient_norm/_b_/kernel" in tags


def test_histograms_hold_the_counts(log, tmp_path):
    kgrad.export(log, "tensorboard", tmp_path)
    first, second = read(tmp_path / "full").Histograms(f"gradient_log2_magnitude/{NAMES[0]}")
    assert (first.step, second.step) == (0, 20)
    value = first.histogram_value
    assert dict(zip(value.bucket_limit, value.bucket, strict=True)) == {-2.0: 4, -1.0: 0, 0.0: 12}
    assert (value.min, value.max, value.num) == (-3, 0, 16)


def test_the_diagnosis_is_a_text(sick, tmp_path):
    kgrad.export(sick, "tensorboard", tmp_path)
    events = read(tmp_path / "made")
    assert "Vanishing gradient" in text(events, "diagnosis")
    assert "Prescription 1" in text(events, "diagnosis")
    assert "optimizer.learning" in text(events, "settings").replace("\\", "")


def test_a_second_export_replaces_the_first_and_touches_no_other_file(log, tmp_path):
    (tmp_path / "full").mkdir()
    other = tmp_path / "full" / "events.out.tfevents.1.host"
    other.touch()
    for _ in range(2):
        kgrad.export(log, "tensorboard", tmp_path)
    assert len(list((tmp_path / "full").iterdir())) == 2
    assert other.exists()
    assert len(read(tmp_path / "full").Scalars("loss")) == len(log)


def test_a_name_cannot_lead_out_of_the_log_directory(log, tmp_path):
    import dataclasses

    kgrad.export(dataclasses.replace(log, name="../../out"), "tensorboard", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "out").is_dir()


def test_a_place_that_cannot_be_written_is_one_clear_line(log, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KgradError, match="TensorBoard could not take the run 'full'"):
        kgrad.export(log, "tensorboard", tmp_path / "file")


def test_the_command_says_where_and_loads_no_tensorflow(tmp_path):
    write(tmp_path / "run")
    words = ["export", str(tmp_path / "run"), "--to", "tensorboard", "-o", str(tmp_path / "logs"), "--every", "10"]
    code = (
        f"import sys; sys.argv = ['kgrad', *{words!r}]\nfrom kgrad.cli import app\napp(standalone_mode=False)\n"
        "assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in done.stdout
    assert [event.step for event in read(tmp_path / "logs" / "run").Scalars("loss")] == [0, 10, 20, 30, 39]


def test_export_when_done_writes_what_was_asked_for(log, tmp_path):
    targets = workflow.targets_of(tensorboard=tmp_path, mlflow=False)
    said = workflow.export_when_done(workflow.examine(log), targets)
    assert said == [f"{tmp_path}/full (tensorboard --logdir {tmp_path})"]
    assert workflow.targets_of(tensorboard=True) == {"tensorboard": None}


def test_a_failed_export_when_done_is_a_warning_with_the_command_and_the_others_go_on(log, tmp_path, caplog):
    (tmp_path / "file").touch()
    targets = {"mlflow": "nonsense://", "tensorboard": str(tmp_path)}
    said = workflow.export_when_done(workflow.examine(log), targets)
    assert said == [f"{tmp_path}/full (tensorboard --logdir {tmp_path})"]
    assert "kgrad export full --to mlflow" in caplog.text
    assert workflow.export_when_done(workflow.examine(log), {"tensorboard": str(tmp_path / "file")}) == []
