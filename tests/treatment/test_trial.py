"""A trial proves a cure, convicts nonsense, sees nothing where nothing is, and does the same again."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kgrad.capture.monitor import GradientMonitor
from kgrad.demo.digits import load
from kgrad.demo.stories import STORIES
from kgrad.treatment import TreatmentError, dry_run, trial

from .patients import everything, nested, rate, relu, same, sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
QUICK = {"progress": False, "steps": 12, "seeds": 2}


@pytest.fixture(scope="module")
def vanishing(tmp_path_factory):
    """The story's model, and what kgrad prescribes for it after three epochs."""
    model = STORIES["vanishing"].compiled()
    monitor = GradientMonitor(tmp_path_factory.mktemp("run") / "vanishing", report=False, verbose=0, strict=True)
    model.fit(*load(), epochs=3, verbose=0, callbacks=[monitor])
    return model, monitor.examination.prescriptions


def test_the_first_prescription_of_the_vanishing_story_is_proven(vanishing):
    model, prescriptions = vanishing
    shown = trial(model, prescriptions[0], *load(), progress=False)
    assert shown.verdict == "proven"
    assert shown.difference.high < -1.5
    for pair in shown.pairs:
        assert pair.unchanged.loss > 2.2 > 0.5 > pair.changed.loss
        assert pair.unchanged.accuracy < 0.2 < 0.8 < pair.changed.accuracy
        assert pair.unchanged.health.depth_ratio < 1e-6 < 0.1 < pair.changed.health.depth_ratio
    assert dry_run(model, prescriptions[0], *load()).spread_after < 1
    assert shown.tried == (f"{prescriptions[0].knob}: {prescriptions[0].before} → {prescriptions[0].after}",)


def test_a_rate_of_next_to_nothing_is_harmful():
    shown = trial(STORIES["healthy"].compiled(), rate(1e-9), *load(), steps=60, progress=False)
    assert shown.verdict == "harmful"
    assert shown.difference.low > 0.5
    assert shown.summary.startswith("harmful: loss 0.")
    assert "counting" not in shown.summary
    assert all(abs(pair.changed.loss - pair.changed.first_loss) < 1e-3 for pair in shown.pairs)


@pytest.mark.parametrize("nothing", [[], rate(0.001)])
def test_what_changes_nothing_has_no_effect(nothing):
    shown = trial(sequential(keras.optimizers.Adam(0.001)), nothing, X, Y, **QUICK)
    assert shown.verdict == "no effect"
    assert all(pair.unchanged == pair.changed for pair in shown.pairs)
    assert shown.pairs[0].unchanged != shown.pairs[1].unchanged


def test_one_seed_is_not_enough_evidence():
    shown = trial(sequential(), rate(0.1), X, Y, steps=30, seeds=1, progress=False)
    assert shown.verdict == "not enough evidence"
    assert shown.difference is None
    assert shown.pairs[0].changed.loss < shown.pairs[0].unchanged.loss
    assert "1 seed, 30 steps" in shown.summary


def test_the_same_again_and_nothing_of_the_model_or_of_the_users_randomness_moves():
    model = nested()
    data = {"left": X, "right": -X}, np.ones((200, 3))
    before = everything(model)
    keras.utils.set_random_seed(3)
    first = trial(model, relu("shared"), *data, **QUICK)
    drawn = np.random.random()
    again = trial(model, relu("shared"), *data, **QUICK)
    keras.utils.set_random_seed(3)
    assert drawn == np.random.random()
    assert first == again
    assert same(before, everything(model))


def test_it_is_plain_data():
    shown = trial(sequential(), rate(0.1), X, Y, **QUICK)
    data = json.loads(json.dumps(shown.to_dict()))
    assert data["verdict"] == shown.verdict
    assert data["summary"] == shown.summary
    assert data["difference"]["mean"] == shown.difference.mean
    assert len(data["pairs"][0]["changed"]["batch_losses"]) == 12
    assert "\n" not in shown.summary


def test_both_models_see_the_same_batches_and_every_seed_its_own():
    seen = []

    class Watching(keras.Model):
        def train_step(self, data):
            tf.py_function(lambda x: seen.append(x.numpy().tobytes()), [data[0]], [])
            return super().train_step(data)

    inputs = keras.Input((6,))
    model = Watching(inputs, layers.Dense(3)(inputs))
    model.compile("sgd", "mse", run_eagerly=True, steps_per_execution=4)
    trial(model, rate(0.1), X, np.zeros((200, 3)), steps=8, seeds=2, batch_size=50, progress=False)
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) == 16


def test_a_dataset_is_trained_on_over_and_over_and_the_loss_is_measured_on_validation():
    batches = tf.data.Dataset.from_tensor_slices((X[:60], Y[:60])).batch(20)
    shown = trial(sequential(), rate(0.1), batches, **QUICK, validation=(X[60:], Y[60:]))
    assert (shown.measured_on, shown.pairs[0].steps) == ("validation", 12)
    again = trial(sequential(), rate(0.1), batches, **QUICK)
    assert again.measured_on == "training data"
    assert again.pairs[0].changed.batch_losses == shown.pairs[0].changed.batch_losses
    assert again.pairs[0].changed.loss != shown.pairs[0].changed.loss


def test_the_first_loss_is_the_one_that_evaluate_gives():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    shown = trial(model, [], X, Y, steps=1, seeds=1, batch_size=32, progress=False)
    rows = np.linspace(0, 199, 192).round().astype(int)
    assert shown.pairs[0].unchanged.first_loss == pytest.approx(model.evaluate(X[rows], Y[rows], verbose=0), rel=1e-5)
    assert shown.pairs[0].unchanged.accuracy is None
    assert "accuracy" not in shown.summary


def linear(learning_rate):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


def test_an_explosion_where_there_was_none_is_harmful():
    shown = trial(linear(0.01), rate(1e30), X, RNG.normal(size=(200, 3)), **QUICK)
    assert shown.verdict == "harmful"
    assert not math.isfinite(shown.pairs[0].changed.loss)
    assert shown.pairs[0].changed.health.nonfinite_steps > 0.5
    assert shown.pairs[0].unchanged.health.nonfinite_steps == 0
    assert "→ not finite in 2 of 2" in shown.summary
    assert "counting what is not finite" in shown.summary


def test_the_end_of_an_explosion_is_proven_by_learning_and_not_by_standing_still():
    target = X[:, :3] @ RNG.normal(size=(3, 3)) * 3
    data = {"steps": 40, "seeds": 3, "progress": False}
    assert trial(linear(1e30), rate(0.05), X, target, **data).verdict == "proven"
    assert trial(linear(1e30), rate(1e-12), X, target, **data).verdict == "no effect"


def test_time_is_bounded_and_shared_between_the_seeds(monkeypatch):
    looks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(looks) / 100)  # each look at the clock takes a hundredth
    shown = trial(sequential(), rate(0.1), X, Y, steps=10**6, seeds=2, seconds=3, progress=False)
    monkeypatch.undo()
    assert next(looks) < 320
    assert len(shown.pairs) == 2
    assert all(0 < pair.steps < 10**6 for pair in shown.pairs)
    assert len(shown.pairs[0].changed.batch_losses) == len(shown.pairs[0].unchanged.batch_losses)


def test_no_time_at_all_is_said():
    with pytest.raises(TreatmentError, match="more seconds"):
        trial(sequential(), rate(0.1), X, Y, seconds=1e-9, **QUICK)


def test_the_bar_can_be_turned_off(capsys):
    trial(sequential(), [], X, Y, **QUICK)
    assert capsys.readouterr().out == ""
    trial(sequential(), [], X, Y, **{**QUICK, "progress": True})
    assert capsys.readouterr().out != ""


def test_what_cannot_be_applied_or_compared_is_refused():
    with pytest.raises(TreatmentError, match="no layer 'third'"):
        trial(sequential(), relu("third"), X, Y, **QUICK)
    with pytest.raises(TreatmentError, match=r"validation data are 1 parts; expected \(x, y\)"):
        trial(sequential(), [], X, Y, **QUICK, validation=(X,))

    class Silent(keras.Model):
        def train_step(self, data):
            return {"size": 1.0}

    inputs = keras.Input((6,))
    model = Silent(inputs, layers.Dense(3)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(TreatmentError, match="reports no loss"):
        trial(model, [], X, np.zeros((200, 3)), **QUICK)
