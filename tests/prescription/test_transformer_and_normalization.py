"""GELU where a transformer's branch is sick, and normalization on the side of the activation where it helps."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.prescription.activation import prescribe_leaky, prescribe_non_saturating
from kgrad.prescription.feed_forward import is_feed_forward
from kgrad.treatment import apply

from ..diagnosis.rules.cases import deep
from .test_knobs import named, runs_as_pasted


def blocks(activation, pre_norm):
    """Two residual blocks as in a transformer, attention left out, over rows of 16 numbers."""
    tensor = inputs = keras.Input((16,))
    tensor = layers.Dense(16, name="embed")(tensor)
    for place in range(2):
        branch = layers.LayerNormalization()(tensor) if pre_norm else tensor
        if not pre_norm:
            branch = tensor = layers.LayerNormalization()(tensor)
        branch = layers.Dense(32, activation=activation, name=f"wide_{place}")(branch)
        branch = layers.Dropout(0.1)(branch)
        branch = layers.Dense(16, name=f"narrow_{place}")(branch)
        tensor = layers.Add()([tensor, branch])
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="out")(tensor))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.fixture
def recorded(tmp_path):
    def run(model):
        monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True)
        random = np.random.default_rng(0)
        model.fit(random.normal(size=(64, 16)), random.integers(0, 2, 64), verbose=0, callbacks=[monitor])
        return monitor.examination.log

    return run


@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre-norm", "post-norm"])
def test_a_feed_forward_branch_gets_gelu(recorded, pre_norm):
    model = blocks("sigmoid", pre_norm)
    log = recorded(model)
    found = [layer.name for layer in log.structure.layers if is_feed_forward(log.structure, layer.name)]
    assert found == ["wide_0", "wide_1"]
    offered = prescribe_non_saturating(log, named_finding("vanishing-gradient"))
    assert offered.settings["activation"] == "gelu"
    assert offered.target == ("wide_0", "wide_1")
    runs_as_pasted(offered)
    cured = apply(model, offered, seed=0)
    assert cured.get_layer("wide_0").activation.__name__ == "gelu"
    dead = prescribe_leaky(recorded(blocks("relu", pre_norm)), named_finding("dead-units", ("wide_1",)))
    assert dead.settings["activation"] == "gelu"


def test_a_plain_chain_gets_no_gelu():
    wide = deep(layers=4, activation="sigmoid")
    assert named("vanishing-gradient", wide)[0].settings["activation"] != "gelu"


def named_finding(rule, layers=()):
    return kgrad.diagnosis.Finding(rule, "high", "it is sick.", layers=layers)


def normalized(mean, rows=32):
    """What is offered where every layer puts out values of this mean and unit spread."""
    log = deep(layers=6, activation="sigmoid")
    names = np.array([layer.name for layer in log.structure.weighted_layers])
    ones = np.ones(len(names))
    table = {"step": np.zeros(len(names), int), "layer": names, "mean": mean * ones, "std": ones}
    batch = kgrad.log.batch.BatchFacts.of("given", {"": np.zeros((rows, 3))}, {"": np.zeros(rows)}).to_dict()
    log = replace(log, tables={"activations": table}, info={**log.info, "batch": batch})
    return next(each for each in named("vanishing-gradient", log) if each.knob == "normalization")


def test_normalization_goes_behind_activations_whose_outputs_are_mostly_offset():
    centred, shifted = normalized(0.5), normalized(2.4)
    assert centred.after == "BatchNormalization before each activation"
    assert shifted.after == "BatchNormalization after each activation"
    assert (shifted.effect.before, shifted.effect.after) == (pytest.approx(2.4), 0)
    assert 'activation="sigmoid"' in shifted.code
    runs_as_pasted(shifted)
    runs_as_pasted(centred)


def test_few_rows_make_no_statistics_of_a_batch():
    few = normalized(0.5, rows=2)
    assert few.after == "LayerNormalization before each activation"
    assert "use_bias" not in few.code
    runs_as_pasted(few)


def test_apply_puts_it_where_the_code_does():
    model = keras.Sequential([keras.Input((4,))])
    for place in range(5):
        model.add(layers.Dense(4, activation="sigmoid", name=f"dense_{place}"))
    model.add(layers.Dense(1, name="dense_5"))
    model.compile("sgd", "mse")
    kinds = [type(layer).__name__ for layer in apply(model, normalized(2.4), seed=0).layers]
    assert kinds[:2] == ["Dense", "BatchNormalization"]
    assert "Activation" not in kinds
    assert apply(model, normalized(2.4), seed=0).get_layer("dense_0").use_bias
