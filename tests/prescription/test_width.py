"""Layers of a handful of units get more beside the cure, where nothing else hangs on their number."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer
from kgrad.prescription.sound import sound_changes
from kgrad.prescription.together import joined
from kgrad.prescription.width import hidden_with_units, is_wider
from kgrad.treatment import apply
from kgrad.treatment.fitting import parts_of

from ..diagnosis.rules.cases import deep
from ..log.factory import structure
from .test_knobs import named, runs_as_pasted


def chain(units, layers=4, activation="sigmoid"):
    log = deep(layers=layers, activation=activation)
    return replace(log, structure=structure(layers, units, activation))


def wider(log, rule="vanishing-gradient", **details):
    """What of the first answer makes layers wider, if anything does."""
    first = named(rule, log, **details)[:1]
    return next((part for part in parts_of(first) if is_wider(part)), None)


def with_layers(log, *layers, **changes):
    return replace(log, structure=replace(log.structure, layers=layers, **changes))


def test_hidden_layers_of_a_handful_of_units_get_sixteen_beside_the_cure_and_the_output_stays():
    first = named("vanishing-gradient", chain(4))[0]
    part = wider(chain(4))
    assert part.settings["layers"] == {f"dense_{place}": {"units": 16} for place in range(3)}
    assert part.evidence[0].value == 4
    assert "4 units" in first.why
    assert first.settings["parts"][0]["knob"] == "activation"  # the cure is named first


def test_the_code_of_the_cure_has_the_units_too_and_no_layer_is_made_twice():
    first = named("vanishing-gradient", chain(4))[0]
    assert 'keras.layers.Dense(16, activation="relu"' in first.code
    lines = [line for line in first.code.splitlines() if line.startswith("keras.layers.Dense(")]
    assert all("Dense(16" in line for line in lines)
    owners = [name for line in lines for name in line.split("  # ")[1].split(", ")]
    assert sorted(owners) == ["dense_0", "dense_1", "dense_2"]
    runs_as_pasted(first)


def test_layers_that_no_other_answer_makes_anew_have_lines_of_their_own():
    first = named("learning-rate-too-high", chain(4), suggested=0.001, learning_rate=0.01)[0]
    assert first.code.count('keras.layers.Dense(16, activation="sigmoid")  # dense_') == 3
    runs_as_pasted(first)


def test_answers_that_are_offered_alone_keep_the_width():
    alone = [each for each in named("vanishing-gradient", chain(4)) if each.knob == "activation"]
    assert alone
    assert all("Dense(4" in each.code for each in alone)


def test_sound_practice_has_the_units_too_in_one_code():
    log = replace(
        chain(4), info={**chain(4).info, "optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.1}}}
    )
    outcome = kgrad.diagnosis.Outcome("plateau", "found", finding=Finding("plateau", "high", "it stands."))
    changes = sound_changes(log, replace(kgrad.diagnose(log), outcomes=(outcome,)), ())
    assert all(is_wider(change[0]) for change in changes)
    code = joined(changes[0], "").code
    assert "Dense(4" not in code
    assert code.count("dense_0") == 1


@pytest.mark.parametrize("units", [8, 64])
def test_wider_layers_stay_as_they_are(units):
    assert wider(chain(units)) is None


def autoencoder(log):
    values = np.random.default_rng(0).normal(size=(64, 6))
    return replace(log, info={**log.info, "batch": BatchFacts.of("given", {"": values}, {"": values}).to_dict()})


@pytest.mark.parametrize(
    "bound",
    [
        lambda log: with_layers(log, *log.structure.layers, Layer("sum", "Add", 9, None, 4, ("dense_0", "dense_2"))),
        lambda log: with_layers(log, *log.structure.layers, Layer("own", "MyLayer", 9, None, 4, ("dense_3",))),
        lambda log: with_layers(log, *(replace(each, trainable=False) for each in log.structure.layers)),
        lambda log: with_layers(log, *log.structure.layers, kind="subclassed"),
        autoencoder,
    ],
    ids=["joined", "unknown", "frozen", "subclassed", "autoencoder"],
)
def test_no_width_is_changed_that_something_else_hangs_on(bound):
    assert wider(bound(chain(4))) is None


def test_classes_as_many_as_features_make_no_autoencoder():
    values, classes = np.random.default_rng(0).normal(size=(64, 3)), np.eye(3)[np.arange(64) % 3]
    log = chain(4)
    facts = BatchFacts.of("given", {"": values}, {"": classes}).to_dict()
    assert wider(replace(log, info={**log.info, "batch": facts})) is not None


def test_every_output_of_several_is_left_alone():
    layers = [
        Layer("trunk", "Dense", 0, "relu", 4, (), 20),
        Layer("left", "Dense", 1, "softmax", 3, ("trunk",), 15),
        Layer("right", "Dense", 2, None, 1, ("trunk",), 5),
    ]
    variables = tuple(
        replace(variable, layer=layer.name) for layer, variable in zip(layers, structure(3).variables[::2], strict=True)
    )
    made = replace(structure(3), layers=tuple(layers), variables=variables)
    assert [layer.name for layer in hidden_with_units(made)] == ["trunk"]


def test_a_narrow_recurrent_training_is_widened_as_its_code_says(tmp_path):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(120, 6, 1)).astype("float32")
    y = (x.sum(axis=(1, 2)) > 0).astype("float32")
    model = keras.Sequential([keras.Input((6, 1)), keras.layers.GRU(3), keras.layers.Dense(1, activation="relu")])
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[monitor])
    first = monitor.examination.prescriptions[0]
    name = model.layers[0].name
    assert f'keras.layers.GRU(16, activation="tanh")  # {name}' in first.code
    cured = apply(model, first, seed=0)
    assert (cured.get_layer(name).units, cured.layers[-1].units) == (16, 1)
    assert cured.layers[-1].activation.__name__ == "sigmoid"
    cured.fit(x, y, epochs=1, verbose=0)
