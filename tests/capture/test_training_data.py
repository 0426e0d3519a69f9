"""What is known of the data: all rows where they are arrays, whatever the first batch holds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.capture import training_data
from kgrad.capture.training_data import facts_of_arrays

X = np.sort(np.random.default_rng(0).uniform(-3, 3, (80, 1)), axis=0).astype("float32")


def recorded(place, *data, **settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    monitor = kgrad.GradientMonitor(place, report=False, verbose=0, strict=True, probe=False)
    model.fit(*data, epochs=1, verbose=0, callbacks=[monitor], **settings)
    return kgrad.read_run(monitor.run)


def test_arrays_in_order_are_known_as_a_whole(tmp_path):
    facts = recorded(tmp_path / "run", X, X**2, batch_size=16, shuffle=False).data
    assert (facts.source, facts.rows, facts.weighted) == ("training arrays", 80, False)
    assert facts.inputs[0].mean == pytest.approx(float(X.mean()), abs=1e-6)
    assert facts.targets[0].feature_variance == pytest.approx(float((X**2).var(ddof=1)), rel=1e-5)


def test_rows_kept_for_validation_are_no_part_of_it(tmp_path):
    facts = recorded(tmp_path / "run", X, X, batch_size=16, validation_split=0.25).data
    assert facts.rows == 60
    assert facts.inputs[0].maximum == pytest.approx(float(X[59, 0]))


def test_a_data_set_is_not_read_a_second_time(tmp_path):
    read = []

    def rows():
        for row in X:
            read.append(row)
            yield row, row

    signature = (tf.TensorSpec((1,)), tf.TensorSpec((1,)))
    log = recorded(tmp_path / "run", tf.data.Dataset.from_generator(rows, output_signature=signature).batch(16))
    assert log.data is None
    assert len(read) <= 2 * len(X)  # Keras itself looks at a first batch to build the model


def test_weighted_classes_are_weighted_rows(tmp_path):
    labels = (X > 0).astype("float32")
    assert recorded(tmp_path / "run", X, labels, class_weight={0: 1.0, 1: 5.0}).data.weighted
    assert facts_of_arrays(X, labels, np.linspace(0, 1, 80)).weighted


def test_names_are_those_of_the_batch():
    assert [each.name for each in facts_of_arrays({"a": X, "b": X}, [X, X]).inputs] == ["a", "b"]
    assert [each.name for each in facts_of_arrays([X], {"only": X}).targets] == ["only"]
    assert facts_of_arrays([X], X).inputs[0].name == ""


def test_of_very_many_rows_evenly_spaced_ones_are_looked_at(monkeypatch):
    monkeypatch.setattr(training_data, "MOST_NUMBERS", 20)
    facts = facts_of_arrays(X, X)
    assert (facts.rows, facts.inputs[0].rows) == (80, 20)
    assert (facts.inputs[0].minimum, facts.inputs[0].maximum) == (X.min(), X.max())


@pytest.mark.parametrize("x", [None, [[1.0], [2.0]], object(), np.float32(1.0), np.zeros((0, 3))])
def test_what_is_no_array_is_left_alone(x):
    assert facts_of_arrays(x, X) is None
