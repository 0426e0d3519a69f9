"""Where the run goes: any URL, two processes of one name, and places that fail while training goes on."""

import errno
import os
import subprocess
import sys
import uuid
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.log.store import Store

from .twin import same_weights, train_plain

ROOT = Path(__file__).parents[2]


def build():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit(vectors, monitor):
    keras.utils.set_random_seed(0)
    model = build()
    history = model.fit(*vectors, batch_size=16, epochs=3, verbose=0, shuffle=False, callbacks=[monitor])
    assert len(history.history["loss"]) == 3
    return model


def monitor(run, **settings):
    return kgrad.GradientMonitor(run, report=False, verbose=0, probe=False, **settings)


@pytest.mark.parametrize("url", ["memory://{name}/run", "file://{folder}/run"])
def test_any_url_takes_a_run(url, vectors, tmp_path):
    place = url.format(name=uuid.uuid4().hex, folder=tmp_path)
    for expected in (place, f"{place}-2"):
        watch = monitor(place, strict=True)
        fit(vectors, watch)
        assert watch.run == expected
    logs = [kgrad.read_run(run) for run in (place, f"{place}-2")]
    assert [log.status for log in logs] == ["finished", "finished"]
    assert [len(log) for log in logs] == [12, 12]
    np.testing.assert_array_equal(logs[0]["gradient_norm"], logs[1]["gradient_norm"])


def test_a_program_that_changes_its_folder_keeps_its_run(vectors, tmp_path, monkeypatch):
    class Leaves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            os.chdir(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    watch = monitor("run", strict=True)
    build().fit(*vectors, batch_size=16, epochs=2, verbose=0, callbacks=[Leaves(), watch])
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("finished", 8)
    assert (tmp_path / "run" / "diagnosis.json").exists()


def test_a_url_of_an_unknown_kind_stops_nothing(vectors, caplog):
    fit(vectors, monitor("nosuch://place/run"))
    assert "cannot open 'nosuch://place/run'" in caplog.text


TWO = """
import sys
import numpy as np
from kgrad.log import schema
from kgrad.log.store import claim_free
from kgrad.log.writer import RunWriter
from tests.log.factory import run_log

log = run_log(40, seed=int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()  # both go at once
for _ in range(20):
    writer = RunWriter(claim_free(sys.argv[1]), log.structure, {"tags": {"seed": sys.argv[2]}})
    for block in range(3):
        steps = np.arange(40 * block, 40 * block + 40)
        writer.add_steps(steps, {n: log[n] for n in schema.STEP_SERIES}, {n: log[n] for n in schema.STATISTICS})
        writer.flush()
    writer.close("finished")
    print(writer.store.url, flush=True)
"""


def test_two_processes_of_one_name_do_not_mix(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(tmp_path / "run"), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for seed in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    runs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(set(runs[0]) | set(runs[1])) == 40
    for seed, places in enumerate(runs):
        logs = [kgrad.read_run(place) for place in places]
        assert {log.info["tags"]["seed"] for log in logs} == {str(seed)}
        for log in logs[1:]:
            np.testing.assert_array_equal(log["gradient_norm"], logs[0]["gradient_norm"])
        assert {len(log) for log in logs} == {120}


@pytest.fixture
def full_disk(monkeypatch):
    """Files of the run folder fail as on a full disk once so many bytes were written."""

    def fill(room):
        original = Store.write
        left = [room]

        def write(self, name, content):
            if len(content) > left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= len(content)
            original(self, name, content)

        monkeypatch.setattr(Store, "write", write)

    return fill


def said(caplog):
    return [record.message for record in caplog.records if "kgrad stopped recording" in record.message]


@pytest.mark.parametrize("room", [0, 6_000, 20_000])
def test_a_full_disk_is_said_once_and_stops_nothing(room, vectors, tmp_path, caplog, full_disk):
    full_disk(room)
    model = fit(vectors, monitor(tmp_path / "run"))
    assert len(said(caplog)) == 1
    assert "No space left on device" in caplog.text
    assert same_weights(model, train_plain(build, vectors, epochs=3))
    assert not callable(vars(model.optimizer).get("apply"))


def test_a_full_disk_raises_when_strict(vectors, tmp_path, full_disk):
    full_disk(6_000)
    with pytest.raises(OSError, match="No space left"):
        fit(vectors, monitor(tmp_path / "run", strict=True))


def test_what_could_still_be_written_says_why_the_run_ended(vectors, tmp_path, caplog, monkeypatch):
    """Only tables fail: run.json has room."""
    original = Store.write

    def write(self, name, content):
        if name.endswith(".parquet"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, name, content)

    monkeypatch.setattr(Store, "write", write)
    fit(vectors, monitor(tmp_path / "run"))
    monkeypatch.undo()
    assert len(said(caplog)) == 1
    log = kgrad.read_run(tmp_path / "run")
    assert log.status == "failed"
    assert "No space left on device" in log.info["error"]


LIMITED = """
import logging, resource, signal, sys
import keras
import numpy as np
import kgrad

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails with EFBIG
logging.basicConfig(format="%(message)s")
x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
model = keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(6) for _ in range(20))])
model.compile("sgd", "mse")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
watch = kgrad.GradientMonitor(sys.argv[1], report=False, verbose=0, probe=False)
print(len(model.fit(x, x, verbose=0, epochs=2, callbacks=[watch]).history["loss"]))
"""


def test_an_operating_system_that_refuses_to_write_stops_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["2"]
    assert done.stderr.count("kgrad stopped recording (OSError: [Errno 27]") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_stops_nothing(vectors, tmp_path, caplog):
    tmp_path.chmod(0o500)
    fit(vectors, monitor(tmp_path / "run"))
    tmp_path.chmod(0o700)
    assert "cannot make the run folder" in caplog.text


@pytest.mark.parametrize("name", ["mkdir", "open"])
def test_a_read_only_file_system_stops_nothing(name, vectors, tmp_path, caplog, monkeypatch):
    """As the operating system answers on a read-only mount, for root too."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        if name == "mkdir":
            patched.setattr(Path, "mkdir", refuse)
        else:
            patched.setattr(os, "open", refuse)
        fit(vectors, monitor(tmp_path / "run"))
    assert len(said(caplog)) == 1
    assert "Read-only file system" in caplog.text
