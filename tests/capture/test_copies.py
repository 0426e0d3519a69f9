"""Engines of experiments copy and pickle callbacks: every copy is a fresh monitor that makes a run of its own."""

import copy
import inspect
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

import kgrad
from kgrad.capture.monitor import GradientMonitor

COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda monitor: pickle.loads(pickle.dumps(monitor)),
    "deepcopy of the list": lambda monitor: copy.deepcopy([monitor])[0],
}


def train(monitor, data, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3, activation="softmax")], name="small")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*data, batch_size=16, epochs=1, verbose=0, callbacks=[monitor])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_an_unused_monitor_each_make_a_whole_run(way, vectors, tmp_path):
    original = GradientMonitor(tmp_path / "trial", every=2, report=False, tags={"a": 1}, verbose=0, strict=True)
    for _ in range(3):
        train(COPIES[way](original), vectors)
    assert names(tmp_path) == ["trial", "trial-2", "trial-3"]
    for name in names(tmp_path):
        log = kgrad.read_run(tmp_path / name)
        assert (log.status, log.steps.tolist()) == ("finished", [0, 2])
        assert log.info["tags"] == {"a": 1}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_a_used_monitor_starts_anew(way, vectors, tmp_path):
    used = GradientMonitor(tmp_path / "trial", report=False, verbose=0, strict=True)
    train(used, vectors)
    fresh = COPIES[way](used)
    assert fresh.examination is None
    train(fresh, vectors)
    assert names(tmp_path) == ["trial", "trial-2"]
    assert len(used.log) == len(fresh.log) == 4
    assert (used.run, fresh.run) == (str(tmp_path / "trial"), str(tmp_path / "trial-2"))


def test_a_copy_made_while_training_leaves_the_training_alone(vectors, tmp_path):
    class Copying(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            copies.append(copy.deepcopy(monitor))

    copies: list = []
    monitor = GradientMonitor(tmp_path / "trial", report=False, verbose=0, strict=True)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*vectors, batch_size=16, verbose=0, callbacks=[monitor, Copying()])
    train(copies[1], vectors)
    assert names(tmp_path) == ["trial", "trial-2"]
    assert len(monitor.log) == len(copies[1].log) == 4


def test_without_a_name_each_copy_finds_one(vectors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original = GradientMonitor(report=False, verbose=0, strict=True)
    for _ in range(3):
        train(copy.deepcopy(original), vectors)
    assert len(names(tmp_path / "runs")) == 3
    assert all(name.startswith("small-") for name in names(tmp_path / "runs"))
    assert not (tmp_path / "reports").exists()


def test_the_arrays_of_a_reference_batch_are_shared(tmp_path):
    x = np.zeros((4, 12), "float32")
    monitor = GradientMonitor(tmp_path / "trial", probe=(x, np.zeros(4)))
    assert copy.deepcopy(monitor)._made_with[1]["probe"][0] is x


def test_a_subclass_keeps_its_kind_and_its_own_arguments(tmp_path):
    copied = copy.deepcopy(Labelled("mine", run=tmp_path / "trial"))
    assert type(copied) is Labelled
    assert copied.label == "mine"
    assert pickle.loads(pickle.dumps(copied)).label == "mine"


class Labelled(GradientMonitor):
    def __init__(self, label, **settings):
        super().__init__(**settings)
        self.label = label


def test_help_shows_the_arguments():
    assert {"run", "every", "report"} <= set(inspect.signature(GradientMonitor).parameters)
    assert list(inspect.signature(Labelled).parameters) == ["label", "settings"]


def test_a_pickle_makes_a_run_in_another_process(vectors, tmp_path):
    (tmp_path / "monitor.pkl").write_bytes(pickle.dumps(GradientMonitor("trial", report=False, verbose=0)))
    np.savez(tmp_path / "data.npz", x=vectors[0], y=vectors[1])
    code = (
        "import pickle, keras, numpy as np\n"
        "data = np.load('data.npz')\n"
        "model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3, activation='softmax')])\n"
        "model.compile('sgd', 'sparse_categorical_crossentropy')\n"
        "monitor = pickle.load(open('monitor.pkl', 'rb'))\n"
        "model.fit(data['x'], data['y'], verbose=0, batch_size=16, callbacks=[monitor])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert len(kgrad.read_run(tmp_path / "trial")) == 4
