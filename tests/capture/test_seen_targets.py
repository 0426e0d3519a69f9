"""Of data sets and generators the targets of several batches are known, not of the first one alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kgrad
from kgrad.capture.seen_targets import BATCHES, SeenTargets
from kgrad.diagnosis.skill import constant_answer

ROWS, CLASSES = 640, 4
X = np.random.default_rng(0).normal(size=(ROWS, 5)).astype("float32")
SORTED = np.repeat(np.arange(CLASSES), ROWS // CLASSES).astype("int32")
RAMP = np.linspace(-3, 3, ROWS).astype("float32")


def model(units, loss, activation=None, **compiled):
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((5,)), keras.layers.Dense(units, activation)])
    made.compile(keras.optimizers.SGD(1e-3), loss, **compiled)
    return made


def watched(path, made, data, epochs=8, **fit):
    made.fit(data, epochs=epochs, verbose=0, callbacks=[kgrad.GradientMonitor(path, report=False, verbose=0)], **fit)
    return kgrad.read_run(path)


def in_order(y, batch=30):
    return tf.data.Dataset.from_tensor_slices((X, y)).batch(batch)  # the last batch is a short one


@pytest.mark.parametrize(
    "compiled", [{}, {"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}], ids=str
)
def test_classes_in_order_are_all_seen(tmp_path, compiled):
    made = model(CLASSES, "sparse_categorical_crossentropy", "softmax", **compiled)
    log = watched(tmp_path / "run", made, in_order(SORTED), epochs=16)
    assert log.batch.targets[0].distinct == 1
    assert log.data.source == "training batches"
    assert log.data.targets[0].distinct == CLASSES
    assert log.data.inputs == log.batch.inputs
    assert constant_answer(log) == pytest.approx(np.log(CLASSES), rel=0.15)


def test_the_variance_of_targets_in_order_is_that_of_the_whole(tmp_path):
    log = watched(tmp_path / "run", model(1, "mse"), in_order(RAMP))
    assert log.batch.targets[0].feature_variance < 0.01
    assert constant_answer(log) == pytest.approx(RAMP.var(), rel=0.35)


def test_a_generator_is_never_read_twice(tmp_path):
    drawn = []

    def batches():
        for place in range(0, ROWS, 32):
            drawn.append(place)
            yield X[place : place + 32], RAMP[place : place + 32]

    log = watched(tmp_path / "run", model(1, "mse"), batches(), epochs=1)
    assert len(drawn) == ROWS // 32
    assert log.data.source == "training batches"


def test_arrays_are_known_as_a_whole_and_nothing_is_kept(tmp_path):
    made = model(1, "mse")
    made.fit(X, RAMP, verbose=0, callbacks=[kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0)])
    assert kgrad.read_run(tmp_path / "run").data.source == "training arrays"


def test_targets_by_name_stay_with_their_names(tmp_path):
    inputs = keras.Input((5,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("zeta", "alpha")}
    made = keras.Model(inputs, outputs)
    made.compile("adam", {"zeta": "mse", "alpha": "mse"})
    data = tf.data.Dataset.from_tensor_slices((X, {"zeta": RAMP + 100, "alpha": RAMP})).batch(32)
    facts = {each.name: each.mean for each in watched(tmp_path / "run", made, data).data.targets}
    assert facts["zeta"] == pytest.approx(100, abs=2)
    assert facts["alpha"] == pytest.approx(0, abs=2)


def test_weights_of_a_data_set_are_noticed_wherever_they_are(tmp_path):
    weights = {0: 1.0, 1: 1.0, 2: 1.0, 3: 10.0}  # the first batch holds class 0 alone
    made = model(CLASSES, "sparse_categorical_crossentropy", "softmax")
    log = watched(tmp_path / "run", made, in_order(SORTED), class_weight=weights)
    assert (log.batch.weighted, log.data.weighted) == (False, True)
    assert constant_answer(log) is None


def test_the_oldest_batch_goes_first_and_short_batches_count_what_they_hold():
    seen = SeenTargets()
    seen.add(tf.zeros([3]))
    assert seen.read() is None
    for value in range(1, BATCHES + 2):
        seen.add(tf.fill([1 if value == 5 else 3], float(value)))
    rows, is_weighted = seen.read()
    assert set(rows.tolist()) == set(map(float, range(2, BATCHES + 2)))
    assert (rows == 5).sum() == 1
    assert len(rows) == 3 * BATCHES - 2
    assert not is_weighted


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "float64"])
def test_numbers_of_every_type_come_back_as_they_were(dtype):
    seen = SeenTargets()
    for value in (0, 1):
        seen.add({"b": tf.cast(tf.fill([2], value), dtype), "a": None})
    rows, _ = seen.read()
    assert rows["a"] is None
    assert rows["b"].dtype == dtype
    assert rows["b"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("targets", [None, tf.constant(["a", "b"]), tf.ragged.constant([[1], [2, 3]])], ids=str)
def test_what_is_no_number_is_left_alone(targets):
    seen = SeenTargets()
    seen.add(targets)
    seen.add(targets)
    assert seen.read() is None


def test_memory_is_bounded():
    small, large = SeenTargets(), SeenTargets()
    for _ in range(2):
        small.add(tf.zeros([64, 32, 32, 1]))
        large.add(tf.zeros([2, 1024, 1024, 3]))
    rows, _ = small.read()
    assert rows.size <= 1_000_000
    assert large.read() is None
