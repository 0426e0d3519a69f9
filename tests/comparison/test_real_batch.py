"""A real batch: four trainings of a deep network, each watched by its own monitor, then one comparison."""

import numpy as np
import pytest

import kgrad

keras = pytest.importorskip("keras", reason="needs Keras: pip install 'kgrad[tensorflow]'")


def train(place, activation, initializer, seed):
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = np.random.default_rng(0).normal(size=(256, 16)).astype("float32")
    targets = (inputs[:, 0] * inputs[:, 1] > 0).astype("float32")
    hidden = [
        keras.layers.Dense(16, activation=activation, kernel_initializer=initializer, name=f"hidden_{i}")
        for i in range(10)
    ]
    model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(1, activation="sigmoid", name="out")])
    model.compile(keras.optimizers.SGD(0.1, clipnorm=1.0), "binary_crossentropy", metrics=["accuracy"])
    monitor = kgrad.GradientMonitor(
        place / f"{activation}-{seed}", report=False, verbose=0, strict=True, tags={"seed": seed, "study": "depth"}
    )
    model.fit(inputs, targets, epochs=8, batch_size=32, verbose=0, callbacks=[monitor], shuffle=False)


@pytest.mark.slow
def test_a_batch_trained_here_is_told_apart(tmp_path):
    for activation, initializer in (("sigmoid", "glorot_uniform"), ("tanh", "glorot_normal")):
        for seed in range(2):
            train(tmp_path, activation, initializer, seed)
    comparison = kgrad.compare(tmp_path)
    assert all(run.status == "finished" for run in comparison.runs)
    sick = {run.name for run in comparison.runs if "vanishing-gradient" in run.causes}
    assert sick == {f"sigmoid-{seed}" for seed in range(2)}
    assert comparison.differing[:2] == ("activation", "initializer")
    assert comparison.by == ("activation",)  # the initializer changes with it
    assert comparison.shared["optimizer"] == "SGD"
    assert comparison.shared["clipnorm"] == 1.0
    assert comparison.shared["learning_rate"] == 0.1
    assert {run.seed for run in comparison.runs} == {0, 1}
    assert {len(group.values) for group in comparison.groups} == {2}
    first = next(each for each in comparison.associations if each.disease == "vanishing-gradient")
    assert (first.value, first.sick_with, first.runs_with, first.sick_without) == ("sigmoid", 2, 2, 0)
    assert first.together_with == ("initializer",)
    assert {"accuracy", "loss"} <= set(comparison.runs[0].metrics)
