"""A dry run tells what a prescription does to the start, by the numbers of the probe, and touches nothing."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.probe import Probe
from kgrad.demo.digits import load
from kgrad.demo.stories import STORIES
from kgrad.treatment import TreatmentError, apply, dry_run

from .patients import everything, nested, prescription, rate, recurrent, relu, same, sequential

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(300, 6)).astype("float32"), RNG.integers(0, 3, 300)


def test_relu_flattens_the_profile_of_the_vanishing_story():
    model = STORIES["vanishing"].compiled()
    run = dry_run(model, relu(*(layer.name for layer in model.layers[:-1])), *load())
    assert run.spread_before > 8
    assert run.spread_after < 0.5
    assert run.layers[0].gradient_before < 1e-8 < 0.1 < run.layers[0].gradient_after
    assert [layer.layer for layer in run.layers] == [layer.name for layer in model.layers]
    assert all(layer.activation_after > 3 * layer.activation_before for layer in run.layers[:-1])


@pytest.mark.parametrize(
    ("make", "x", "y"),
    [
        (sequential, X[:40], Y[:40]),
        (recurrent, RNG.normal(size=(9, 7, 4)).astype("float32"), np.ones((9, 1))),
    ],
)
def test_the_numbers_are_those_of_the_probe(make, x, y):
    model = make()
    run = dry_run(model, [], x, y, seed=2)
    probe = Probe(apply(model, [], seed=2), x, y)
    stds = {row.layer: row.std for row in reversed(probe.activation_statistics()) if row.call == 0}
    norms = list(probe.gradient_profile().values())
    for layer in run.layers:
        assert layer.activation_before == pytest.approx(stds[layer.layer], rel=1e-4)
    squares = sum(layer.gradient_before**2 for layer in run.layers)
    assert squares == pytest.approx(sum(norm**2 for norm in norms), rel=1e-4)
    if make is sequential:  # kernel and bias of each layer
        first = math.hypot(*norms[:2])
        assert run.layers[0].gradient_before == pytest.approx(first, rel=1e-4)


def test_what_shows_in_training_alone_leaves_the_start_as_it_is():
    run = dry_run(nested(), rate(0.5), {"left": X, "right": X}, np.zeros((300, 3)))
    assert not run.changes_the_start
    assert run.spread_before == run.spread_after > 0
    names = [layer.layer for layer in run.layers]
    assert names == ["encoder/dense", "encoder/norm", "shared", "head/dense", "last"]


def test_the_model_is_untouched_and_the_seed_decides():
    model = nested()
    data = {"left": X, "right": X}, np.zeros((300, 3))
    before = everything(model)
    first, again, other = (dry_run(model, relu("shared"), *data, seed=seed) for seed in (1, 1, 2))
    assert same(before, everything(model))
    assert first == again != other
    assert first.changes_the_start


def test_a_dataset_gives_its_first_batch():
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(40)
    assert dry_run(sequential(), [], batches) == dry_run(sequential(), [], X[:40], Y[:40])


def test_a_gradient_of_nothing_is_an_infinite_spread():
    change = prescription("initializer", ["last"], initializers={"last": {"kernel_initializer": '"zeros"'}})
    run = dry_run(sequential(), change, X, Y)
    assert run.layers[0].gradient_after == 0
    assert run.spread_after == math.inf


def test_it_is_plain_data():
    data = dry_run(sequential(), relu("first"), X, Y).to_dict()
    again = json.loads(json.dumps(data))
    assert again["layers"][0]["layer"] == "first"
    assert again["spread_before"] == data["spread_before"]
    assert again["changes_the_start"] is True


def test_data_that_are_none_are_refused():
    with pytest.raises(TreatmentError, match="one common number of rows"):
        dry_run(sequential(), [], X, Y[:3])
    with pytest.raises(TreatmentError, match="one common number of rows"):
        dry_run(sequential(), [], X[:0], Y[:0])
    with pytest.raises(TreatmentError, match="brings its own targets"):
        dry_run(sequential(), [], tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), Y)
    with pytest.raises(TreatmentError, match="no batches"):
        dry_run(sequential(), [], tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).take(0))


def test_dropout_and_normalization_run_as_in_training():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(50), keras.layers.BatchNormalization()])
    model.compile("sgd", "mse")
    run = dry_run(model, [], 100 * X, np.zeros((300, 50)))
    assert run.layers[1].activation_before == pytest.approx(1, rel=1e-3)
