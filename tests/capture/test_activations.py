"""Activation statistics: equal to those of the layers' outputs, for every kind of model."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.activations import ActivationStatistics
from kgrad.capture.probe import Probe

from .probe_rows import Subclassed, rows_of

LAYERS = keras.layers


@pytest.fixture(autouse=True)
def seeds() -> None:
    keras.utils.set_random_seed(0)


def by_layer(rows: list[ActivationStatistics]) -> dict[str, ActivationStatistics]:
    return {row.layer: row for row in rows}


def test_activation_statistics_are_those_of_the_layers_outputs() -> None:
    x = 3 * rows_of(40)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            LAYERS.Dense(5, "tanh", name="t"),
            LAYERS.Dense(5, "sigmoid", name="s", kernel_initializer=keras.initializers.RandomNormal(stddev=5)),
            LAYERS.Dense(4, "softmax", name="p"),
            LAYERS.Dense(3, name="l"),
        ]
    )
    rows = by_layer(Probe(model, x).activation_statistics())
    assert list(rows) == ["t", "s", "p", "l"]
    outputs, value = {}, x
    for layer in model.layers:
        kernel, bias = layer.get_weights()
        before = value @ kernel + bias
        value = np.asarray(layer.activation(before))
        outputs[layer.name] = (before, value)
    for name, (before, after) in outputs.items():
        assert rows[name].mean == pytest.approx(after.mean(), abs=1e-5)
        assert rows[name].std == pytest.approx(after.std(), abs=1e-5)
        assert rows[name].dead_fraction is None
        if name != "l":
            assert rows[name].pre_mean == pytest.approx(before.mean(), abs=1e-5)
            assert rows[name].pre_std == pytest.approx(before.std(), rel=1e-5)
    tanh, sigmoid = outputs["t"][1], outputs["s"][1]
    assert rows["t"].saturated_fraction == pytest.approx((np.abs(tanh) > 0.99).mean())
    assert rows["s"].saturated_fraction == pytest.approx(((sigmoid < 0.01) | (sigmoid > 0.99)).mean())
    assert min(rows["t"].saturated_fraction, rows["s"].saturated_fraction) > 0.05
    assert rows["p"].saturated_fraction is None
    assert (rows["l"].activation, rows["l"].pre_mean) == ("linear", None)


def test_dead_units_are_those_that_are_zero_for_every_row_and_position() -> None:
    inputs = keras.Input((8, 8, 2))
    dense_like = LAYERS.Conv2D(4, 3, activation="relu", name="own")(inputs)
    model = keras.Model(inputs, LAYERS.ReLU(name="layer")(LAYERS.Conv2D(5, 3, name="linear")(dense_like)))
    own, linear = model.get_layer("own"), model.get_layer("linear")
    own.bias.assign([0.0, -100.0, -100.0, 0.0])
    linear.bias.assign([-100.0, 0.0, 0.0, 0.0, 0.0])
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32)
    rows = by_layer(Probe(model, x).activation_statistics())
    assert rows["own"].dead_fraction == 0.5
    assert rows["layer"].dead_fraction == pytest.approx(0.2)
    assert rows["linear"].dead_fraction is None
    # One row in which a unit is alive is enough.
    own.bias.assign([0.0, -100.0, -100.0, 0.0])
    own.kernel.assign(tf.tensor_scatter_nd_update(own.kernel.value, [[0, 0, 0, 1]], [1000.0]))
    assert by_layer(Probe(model, x).activation_statistics())["own"].dead_fraction == 0.25


def test_nested_and_shared_layers_have_their_names_and_calls() -> None:
    inner = keras.Sequential([keras.Input((4,)), LAYERS.Dense(4, "relu", name="d")], name="encoder")
    inputs = keras.Input((4,))
    shared = LAYERS.Dense(4, "tanh", name="shared")
    model = keras.Model(inputs, shared(inner(shared(inputs))))
    rows = Probe(model, rows_of(8, 4)).activation_statistics()
    assert [(row.layer, row.call) for row in rows] == [("shared", 0), ("encoder/d", 0), ("shared", 1)]
    assert rows[0].mean != rows[2].mean
    names = {id(shared): "mine"}
    assert Probe(model, rows_of(8, 4), layer_names=names).activation_statistics()[0].layer == "mine"


def test_subclassed_model_shows_its_layers() -> None:
    model = Subclassed()
    model(rows_of(8))
    rows = Probe(model, rows_of(8)).activation_statistics()
    assert [row.layer for row in rows] == ["same", "same#2"]


def test_recurrent_layers_show_their_output_and_not_what_is_inside_the_loop() -> None:
    model = keras.Sequential([keras.Input((5, 3)), LAYERS.LSTM(4, name="lstm"), LAYERS.Dense(1, name="d")])
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    rows = by_layer(Probe(model, x).activation_statistics())
    assert list(rows) == ["lstm", "d"]
    # Its output is a product of a sigmoid and a tanh: no activation's range to saturate.
    assert (rows["lstm"].activation, rows["lstm"].saturated_fraction) == (None, None)
    assert rows["lstm"].std == pytest.approx(np.asarray(model.layers[0](x)).std(), rel=1e-5)


def test_layer_inside_a_loop_is_left_out() -> None:
    class Mapped(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.outside = (
                LAYERS.Dense(2, "tanh", name="inside"),
                LAYERS.Dense(1, name="outside"),
            )

        def call(self, inputs: Any) -> Any:
            return self.outside(tf.map_fn(lambda row: self.inside(row[None])[0], inputs))

    model = Mapped()
    model.inside.build((None, 6))
    model(rows_of(4))
    assert list(by_layer(Probe(model, rows_of(4)).activation_statistics())) == ["outside"]


def test_training_mode_is_what_the_training_step_sees() -> None:
    model = keras.Sequential([keras.Input((6,)), LAYERS.BatchNormalization(name="b"), LAYERS.Dense(2)])
    probe = Probe(model, 5 + 3 * rows_of(64))
    assert probe.activation_statistics(training=True)[0].mean == pytest.approx(0, abs=1e-5)
    assert probe.activation_statistics(training=False)[0].mean == pytest.approx(5, abs=0.5)
