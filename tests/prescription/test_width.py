"""Layers of a handful of units get more beside the cure, where nothing else hangs on their number."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.diagnosis.widths import hidden_with_units
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer
from kgrad.prescription.architecture import prescribe_residual
from kgrad.prescription.regularization import prescribe_regularization
from kgrad.prescription.sound import sound_changes
from kgrad.prescription.together import joined, parts_of, together
from kgrad.prescription.width import is_wider, prescribe_ample_width, prescribe_wider
from kgrad.treatment import apply

from ..diagnosis.rules.cases import deep
from ..log.factory import structure
from .test_knobs import named, runs_as_pasted

ROWS = np.random.default_rng(0).normal(size=(64, 6))
CLASSES = np.eye(3)[np.arange(64) % 3]


def seen(log, inputs, *targets):
    """The run with these data."""
    facts = BatchFacts.of("given", {"": inputs}, {str(place): each for place, each in enumerate(targets)})
    return replace(log, info={**log.info, "batch": facts.to_dict()})


def chain(units, layers=4, activation="sigmoid"):
    log = deep(layers=layers, activation=activation)
    return seen(replace(log, structure=structure(layers, units, activation)), ROWS, CLASSES)


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
    log = chain(4)
    outcome = kgrad.diagnosis.Outcome("plateau", "found", finding=Finding("plateau", "high", "it stands."))
    changes = sound_changes(log, replace(kgrad.diagnose(log), outcomes=(outcome,)), ())
    assert all(is_wider(change[0]) for change in changes)
    code = joined(changes[0], "").code
    assert "Dense(4" not in code
    assert code.count("dense_0") == 1
    assert all(any(f"Dense({units}" in each.code for change in changes for each in change) for units in (16, 64))


def test_ample_units_are_tried_in_layers_that_are_not_narrow():
    log, finding = chain(32), Finding("plateau", "high", "it stands.")
    outcome = kgrad.diagnosis.Outcome("plateau", "found", finding=finding)
    changes = sound_changes(log, replace(kgrad.diagnose(log), outcomes=(outcome,)), ())
    ample = [change for change in changes if is_wider(change[0])]
    assert ample
    assert all(change[0].settings["layers"]["dense_0"] == {"units": 64} for change in ample)
    assert prescribe_wider(log, finding) is None
    assert prescribe_ample_width(chain(64), finding) is None


@pytest.mark.parametrize("units", [8, 64])
def test_wider_layers_stay_as_they_are(units):
    assert wider(chain(units)) is None


def with_first(log, **changes):
    first, *others = log.structure.layers
    return with_layers(log, replace(first, **changes), *others)


@pytest.mark.parametrize(
    "bound",
    [
        lambda log: with_layers(log, *log.structure.layers, Layer("sum", "Add", 9, None, 4, ("dense_3", "dense_2"))),
        lambda log: with_layers(log, *log.structure.layers, Layer("own", "MyLayer", 9, None, 4, ("dense_3",))),
        lambda log: with_layers(log, *log.structure.layers, Layer("beside", "Dense", 9, None, 4, ("dense_1",))),
        lambda log: with_layers(log, *log.structure.layers, Layer("behind_an_operation", "Dense", 9, None, 4)),
        lambda log: with_layers(log, *(replace(each, trainable=False) for each in log.structure.layers)),
        lambda log: with_layers(log, *log.structure.layers, kind="subclassed"),
        lambda log: with_first(log, class_name="LSTM", config={"return_state": True}),
        lambda log: seen(log, ROWS, ROWS),
        lambda log: seen(log, CLASSES, CLASSES),
        lambda log: seen(log, ROWS.reshape(64, 2, 3), ROWS),
        lambda log: seen(log, ROWS, CLASSES, ROWS),
        lambda log: replace(log, info={**log.info, "batch": None}),
    ],
    ids=[
        "joined",
        "unknown",
        "branch",
        "operation",
        "frozen",
        "subclassed",
        "state",
        "autoencoder",
        "autoencoder of classes",
        "autoencoder of images",
        "autoencoder and classes",
        "no data seen",
    ],
)
def test_no_width_is_changed_that_something_else_hangs_on(bound):
    assert wider(chain(4)) is not None
    assert wider(bound(chain(4))) is None


def test_classes_as_many_as_features_make_no_autoencoder():
    assert wider(seen(chain(4), ROWS[:, :3], CLASSES)) is not None


@pytest.mark.parametrize("kind", [("BatchNormalization", None), ("PReLU", "prelu"), ("Activation", "softmax")])
def test_the_output_is_the_last_layer_that_sets_a_width_whatever_follows_it(kind):
    log = chain(4)
    behind = Layer("behind", kind[0], 4, kind[1], 4, ("dense_3",), 8)
    alpha = replace(log.structure.variables[0], layer="behind", role="alpha")
    made = replace(log.structure, layers=(*log.structure.layers, behind), variables=(*log.structure.variables, alpha))
    assert [layer.name for layer in hidden_with_units(made)] == ["dense_0", "dense_1", "dense_2"]


def test_layers_of_several_widths_are_said_so():
    log = chain(4)
    first, second, *others = log.structure.layers
    part = wider(with_layers(log, replace(first, units=1), replace(second, units=30), *others))
    assert part.before == "hidden layers of 1 to 4 units"
    assert set(part.settings["layers"]) == {"dense_0", "dense_2"}


def test_layers_that_another_answer_counts_on_stay_as_they_are():
    log = replace(chain(4), structure=structure(12, 4, "tanh"))
    log = replace(log, columns=deep(layers=12).columns)
    finding = Finding("vanishing-gradient", "high", "it vanishes.")
    residual = prescribe_residual(log, finding)
    outcome = kgrad.diagnosis.Outcome("vanishing-gradient", "found", finding=finding)
    diagnosis = replace(kgrad.diagnose(log), outcomes=(outcome,))
    assert together([residual], diagnosis, [prescribe_wider(log, finding)]) is None


def test_code_has_the_present_units_where_the_answer_leaves_them():
    log = chain(4, layers=12, activation="elu")
    log = replace(log, info={**log.info, "fit": {"epochs": 3, "steps_per_epoch": 20}})
    first = named("vanishing-gradient", log)[0]
    assert first.after == "a residual connection around each; up to 30 epochs"
    assert wider(log) is None
    assert "Dense(4" in first.code
    assert "Dense(16" not in first.code


def test_penalties_of_narrow_layers_keep_their_width_in_sound_practice():
    log = chain(4)
    penalty = {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 10.0}}}
    log = with_layers(log, *(replace(layer, config=penalty) for layer in log.structure.layers))
    finding = Finding(
        "over-regularised", "high", "too much.", layers=("dense_0",), details={"kind": "penalty", "factor": 0.01}
    )
    outcome = kgrad.diagnosis.Outcome("over-regularised", "found", finding=finding)
    diagnosis = replace(kgrad.diagnose(log), outcomes=(outcome,))
    lighter = prescribe_regularization(log, finding)
    assert not any(is_wider(part) for change in sound_changes(log, diagnosis, [lighter]) for part in change)


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
