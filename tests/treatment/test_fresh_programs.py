"""Programs that neither corpus holds, as people write them: what is prescribed first is applied and cures."""

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.prescription.initializer import _is
from kgrad.prescription.residual import prescribe_scaled_branches
from kgrad.prescription.together import parts_of
from kgrad.treatment import apply

RANDOM = np.random.default_rng(0)


def recorded(model, x, y, folder, **arguments):
    monitor = kgrad.GradientMonitor(folder, report=False, verbose=0, strict=True, curvature="never")
    model.fit(x, y, verbose=0, callbacks=[monitor], **arguments)
    return monitor.examination


def residual(normalized=False, depth=16):
    tensor = inputs = keras.Input((12,))
    tensor = layers.Dense(32, name="stem")(tensor)
    for place in range(depth):
        branch = layers.LayerNormalization()(tensor) if normalized else tensor
        branch = layers.Dense(32, activation="relu", kernel_initializer="he_normal")(branch)
        tensor = layers.Add()([tensor, layers.Dense(32, name=f"end_{place}")(branch)])
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(tensor))
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def clusters(rows=600):
    centres = 2 * np.random.default_rng(1).normal(size=(3, 12))
    y = RANDOM.integers(0, 3, rows)
    return (centres[y] + RANDOM.normal(size=(rows, 12))).astype("float32"), y


def test_residual_branches_that_add_up_are_normalized_or_begin_small(tmp_path):
    x, y = clusters()
    model = residual()
    sick = recorded(apply(model, (), seed=0), x, y, tmp_path / "sick", epochs=2)
    first, *others = parts_of(sick.prescriptions)
    small = next(each for each in others if "VarianceScaling(0.062" in each.code)
    assert first.knob == "normalization"
    cured = apply(model, first, seed=0)
    well = recorded(cured, x, y, tmp_path / "well", epochs=2)
    assert "nonfinite-gradient" not in {each.rule for each in well.diagnosis.findings}
    assert cured.evaluate(x, y, verbose=0)[1] > 0.75  # a third by chance; moving means are behind after 38 steps
    assert small.target == tuple(f"end_{place}" for place in range(16))
    before, after = (
        float(np.mean(_tops(each).predict(x, verbose=0) ** 2))
        for each in (apply(model, (), seed=0), apply(model, small, seed=0))
    )
    begin = float(np.mean(_tops(apply(model, (), seed=0), "stem").predict(x, verbose=0) ** 2))
    assert small.effect.before == pytest.approx(before / begin, rel=2)
    assert after / begin == pytest.approx(small.effect.after, rel=0.5)


def _tops(model, name=None):
    """What the last join, or the named layer, puts out."""
    found = [layer.name for layer in model.layers if isinstance(layer, layers.Add)][-1] if name is None else name
    return keras.Model(model.inputs, model.get_layer(found).output)


def test_normalized_branches_are_left_alone(tmp_path):
    x, y = clusters(64)
    log = recorded(residual(normalized=True), x, y, tmp_path / "run").log
    assert prescribe_scaled_branches(log, kgrad.diagnosis.Finding("exploding-gradient", "high", "")) is None


def two_inputs():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    hidden = layers.Concatenate()([layers.Dense(16, activation="relu")(each) for each in (left, right)])
    model = keras.Model([left, right], layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    return model


@pytest.fixture
def columns():
    left = (RANDOM.normal(size=(400, 3)) * [1, 50, 1e4]).astype("float32")
    right = RANDOM.normal(size=(400, 2)).astype("float32")
    return [left, right], (left[:, 0] + left[:, 1] / 50 + right[:, 0] > 0).astype("float32")


def test_of_several_inputs_those_off_scale_are_scaled(tmp_path, columns):
    x, y = columns
    model = two_inputs()
    sick = recorded(apply(model, (), seed=0), x, y, tmp_path / "run", epochs=3)
    scaling = next(each for each in parts_of(sick.prescriptions) if each.knob == "input_scaling")
    assert scaling.settings["inputs"] == [0]
    cured = apply(model, scaling, seed=0, x=x)
    space = {"keras": keras, "model": apply(model, (), seed=0), "x": x}
    exec(scaling.code, space)
    theirs, mine = (each.predict(x, verbose=0) for each in (space["model"], cured))
    assert np.allclose(theirs, mine, atol=1e-3)


def test_what_is_prescribed_is_a_change():
    """A layer whose initializer is the right one already is left alone, however far its fans are apart."""
    kernel = {"class_name": "GlorotUniform", "config": {}}
    variable = kgrad.log.structure.Variable("first/kernel", "first", "kernel", (4, 64), initializer=kernel)
    assert _is(variable, '"glorot_uniform"')
    assert not _is(variable, '"he_normal"')
    assert not _is(variable, 'keras.initializers.VarianceScaling(16.0, mode="fan_in")')
