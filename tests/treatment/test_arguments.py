"""What cannot be is said before anything is trained; what `fit` takes is taken, and compared on in whole."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.treatment import TreatmentError, apply, dry_run, prove, trial
from kgrad.treatment.attempts import attempt, changes_of
from kgrad.treatment.batches import some_validation, validation_batches
from kgrad.treatment.given_data import given_data, measured_on
from kgrad.treatment.measure import Measure, Score, is_less_right

from .patients import rate, relu, sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
QUICK = {"progress": False, "steps": 4, "seeds": 2}


class Own(keras.Model):
    """A subclassed model."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(3, activation="softmax")

    def call(self, inputs):
        return self.out(inputs)


def own():
    model = Own()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.build((None, 6))
    return model


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps=0: expected a whole number from 1 on"),
        ({"steps": 1.5}, r"steps=1\.5: expected a whole number"),
        ({"seeds": 0}, "seeds=0: expected a whole number from 1 on"),
        ({"seeds": [1, 1]}, "all different"),
        ({"seeds": ["a"]}, "seeds='a': expected a whole number"),
        ({"seeds": [-1, 2]}, "seeds=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seconds": "3"}, "seconds='3': expected more than 0"),
        ({"validation": (X,)}, "1 parts; expected"),
        ({"validation": "no"}, "validation data are str"),
        ({"validation": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()}, "has no end"),
    ],
)
def test_a_trial_says_what_an_argument_may_be(wrong, said):
    with pytest.raises(TreatmentError, match=said):
        trial(sequential(), rate(0.1), X, Y, **{**QUICK, **wrong})


@pytest.mark.parametrize("wrong", [None, "relu", {"knob": "activation"}, [relu("first"), 3]])
def test_what_is_no_prescription_is_named(wrong):
    for ask in (apply, lambda model, each: trial(model, each, X, Y, **QUICK), lambda *each: dry_run(*each, X, Y)):
        with pytest.raises(TreatmentError, match=r"expected a kgrad Prescription or a list"):
            ask(sequential(), wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0}, "budget=0: expected a whole number from 1 on"),
        ({"budget": "10m"}, "budget='10m'"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"epochs": 0}, "epochs=0"),
        ({"validation_split": -0.2}, r"validation_split=-0\.2: expected a share"),
        ({"validation_data": (X,)}, "1 parts; expected"),
        ({"seed": "a"}, "seed='a'"),
    ],
)
def test_treat_says_what_an_argument_may_be(wrong, said):
    with pytest.raises(TreatmentError, match=said):
        kgrad.treat(sequential(), X, Y, progress=False, **wrong)


@pytest.mark.parametrize("model", ["m", None, layers.Dense(3)])
def test_what_is_no_model_is_named(model):
    for ask in (lambda: apply(model, ()), lambda: trial(model, (), X, Y), lambda: kgrad.treat(model, X, Y)):
        with pytest.raises(TreatmentError, match=r"expected a built and compiled keras\.Model"):
            ask()


def test_missing_targets_and_foreign_data_are_said():
    asks = (
        lambda x: kgrad.treat(sequential(), x, progress=False),
        lambda x: trial(sequential(), rate(0.1), x, **QUICK),
        lambda x: dry_run(sequential(), relu("first"), x),
    )
    for ask in asks:
        with pytest.raises(TreatmentError, match="there are no targets: give y beside x"):
            ask(X)
        with pytest.raises(TreatmentError, match=r"expected arrays or a tf\.data\.Dataset"):
            ask(keras.utils.PyDataset())
        with pytest.raises(
            TreatmentError, match=r"does not take these data\. It expects .*\(rows, 6\).*Keras says ValueError: Input"
        ):
            ask(tf.data.Dataset.from_tensor_slices((X[:, :4], Y)).batch(8))
    with pytest.raises(TreatmentError, match=r"cannot cut a tf\.data\.Dataset"):
        kgrad.treat(sequential(), tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), validation_split=0.2)


def test_a_subclassed_model_is_told_what_to_change_by_hand():
    with pytest.raises(TreatmentError, match="by hand:\nthe code to paste"):
        trial(own(), rate(0.1), X, Y, **QUICK)
    with pytest.raises(TreatmentError, match="by hand:\nthe code to paste"):
        dry_run(own(), rate(0.1), X, Y)
    with pytest.raises(TreatmentError, match=r"GradientMonitor: the report says what to change"):
        kgrad.treat(own(), X, Y, progress=False)


def test_prove_says_why_nothing_can_be_proven(sick_examination):
    with pytest.raises(TreatmentError, match="subclassed"):
        prove(sick_examination, own(), X, Y)


@pytest.fixture
def sick_examination(tmp_path):
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0)
    sequential(keras.optimizers.SGD(1e-6)).fit(X, Y, epochs=8, verbose=0, callbacks=[monitor])
    return monitor.examination


def test_all_validation_data_are_measured_however_they_are_sorted():
    order = np.argsort(Y)
    rows = tf.data.Dataset.from_tensor_slices((X[order], Y[order])).batch(2)  # 100 batches, sorted by class
    for validation in (rows, (X[order], Y[order])):
        model = sequential()
        measure = Measure(model, measured_on(given_data(X, Y, {"validation_data": validation, "batch_size": 48})))
        held = model.evaluate(X, Y, verbose=0, return_dict=True)
        score = measure.of(model)
        assert measure.rows == len(X)
        assert score.loss == pytest.approx(held["loss"], rel=1e-5)
        assert score.accuracy == pytest.approx(held["accuracy"])
    weights = RNG.uniform(size=len(X))
    weighted = Measure(model, validation_batches((X, Y, weights), 64)).of(model)
    held = model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
    assert weighted.loss == pytest.approx(held["loss"], rel=1e-5)


def by_length():
    """Sequences of five, seven and nine steps, a class for each step."""
    for length in (5, 7, 9, 5, 7, 9):
        x = RNG.integers(0, 20, (8, length))
        yield x, x % 5


def test_batches_of_several_lengths_are_tried_and_measured():
    model = keras.Sequential([keras.Input((None,)), layers.Embedding(20, 8), layers.Dense(5, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    spec = (tf.TensorSpec((None, None), "int64"),) * 2
    rows = tf.data.Dataset.from_generator(by_length, output_signature=spec)
    shown = trial(model, rate(0.1), rows, steps=20, seeds=2, progress=False)
    assert shown.pairs[0].changed.accuracy > shown.pairs[0].unchanged.accuracy - 1e-9
    assert shown.accuracy_difference is not None
    assert Measure(model, validation_batches(rows, 8)).of(model).accuracy < 0.5


def test_time_is_for_training_not_for_measuring():
    many = np.repeat(X, 100, axis=0)
    validation = (many, np.repeat(Y, 100))
    shown = trial(sequential(), rate(0.1), X, Y, steps=3, seeds=1, seconds=30, validation=validation, progress=False)
    assert shown.pairs[0].steps == 3
    assert sum(len(x) for x, _, _ in some_validation(validation, 32)) == 1024


def test_one_that_cannot_be_tried_costs_no_other(sick_examination, monkeypatch):
    module = sys.modules["kgrad.treatment.prove"]
    tried = module.trial

    def failing(model, each, *data, **settings):
        if each is sick_examination.prescriptions[0]:
            raise TreatmentError("The time was up.")
        return tried(model, each, *data, **settings)

    monkeypatch.setattr(module, "trial", failing)
    assert len(sick_examination.prescriptions) > 1
    shown = prove(sick_examination, sequential(), X, Y, steps=2, seeds=1, progress=False)
    assert len(shown.trials) >= 1
    assert len(shown.dry_runs) > len(shown.trials)


def test_weights_in_a_list_are_taken_as_fit_takes_them():
    _, story = kgrad.treat(sequential(), X, [Y], sample_weight=[np.ones(200)], epochs=1, budget=8, progress=False)
    assert story.steps > 0


def test_numbers_without_a_fraction_are_whole():
    _, story = kgrad.treat(sequential(), X, Y, epochs=2.0, batch_size=50.0, budget=8.0, progress=False)
    assert story.steps == 8


def test_steps_are_batches_under_gradient_accumulation_too():
    model = sequential(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))
    _, story = kgrad.treat(model, X, Y, epochs=2, batch_size=20, budget=20, progress=False)
    assert story.steps == 20


def test_a_loss_that_is_surely_wrong_is_that_of_evaluate():
    model = sequential()
    model.layers[-1].set_weights([1000 * np.eye(8, 3), np.zeros(3)])
    wrong = (Y + 1) % 3
    held = model.evaluate(X, wrong, verbose=0, return_dict=True)
    assert held["loss"] > 50  # where probabilities are clipped at 1e-7 it is 16 at most
    assert Measure(model, validation_batches((X, wrong), 50)).of(model).loss == pytest.approx(held["loss"], rel=1e-5)


def test_a_model_that_runs_eagerly_alone_is_measured():
    class Numpy(layers.Layer):
        def call(self, inputs):
            return keras.ops.convert_to_tensor(inputs.numpy())

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape)

    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="softmax"), Numpy()])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(Measure(model, [(X, Y, None)]).of(model).loss)


@pytest.mark.parametrize("execution", [1, 3])
def test_the_budget_bounds_the_first_training_too(execution):
    model = sequential()
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=execution)
    _, story = kgrad.treat(model, X, Y, epochs=20, budget=9, progress=False)
    assert 9 <= story.steps < 9 + execution


def test_rows_keep_their_weights_when_some_are_cut_off_for_validation():
    weights = np.arange(200.0)
    data = given_data(X, Y, {"validation_split": 0.2, "sample_weight": weights, "batch_size": 16})
    assert np.array_equal(data.arguments["sample_weight"], weights[:160])
    assert np.array_equal(data.validation[2], weights[160:])
    x, _, taken = next(data.batches(0))
    places = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in x]
    assert np.array_equal(taken, weights[places])


@pytest.mark.parametrize("one", [keras.callbacks.TerminateOnNaN(), keras.callbacks.CallbackList([])])
def test_one_callback_is_taken_as_fit_takes_it(one):
    assert len(given_data(X, Y, {"callbacks": one}).arguments["callbacks"]) <= 1


def test_short_trainings_weigh_rows_and_classes_as_fit_does(monkeypatch):
    seen = []
    plain = keras.Sequential.train_on_batch

    def spy(self, x, y=None, sample_weight=None, class_weight=None, **rest):
        seen.append((sample_weight is not None, class_weight))
        return plain(self, x, y, sample_weight=sample_weight, class_weight=class_weight, **rest)

    monkeypatch.setattr(keras.Sequential, "train_on_batch", spy)
    model = sequential()
    for given in ({"sample_weight": np.ones(200)}, {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}}):
        data = given_data(X, Y, given)
        attempt(model, [(rate(0.1),)], data, Measure(model, measured_on(data)), 2, 0, lambda steps: None)
    assert {each for each, _ in seen} == {True, False}
    assert {str(each) for weighted, each in seen if not weighted} == {"{0: 1.0, 1: 2.0, 2: 1.0}"}


def test_one_change_for_two_causes_is_tried_once():
    import dataclasses

    one = rate(0.1)
    assert changes_of([one, dataclasses.replace(one, finding="another-rule")], 6) == [(one,)]


def test_many_small_falls_of_accuracy_are_no_noise_together():
    scores = [Score(1.0 - 0.1 * i, 0.95 - 0.02 * i) for i in range(5)]
    assert not is_less_right(scores[1], scores[0], 320)
    assert is_less_right(scores[4], scores[0], 320)
    assert not is_less_right(Score(0.1, None), scores[0], 320)


def test_names_that_keras_counted_on_are_explained():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="softmax", name="dense_7")])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(TreatmentError, match=r"no layer 'dense'.*clear_session"):
        apply(model, relu("dense"))
    with pytest.raises(TreatmentError, match=r"no layer 'conv'.*It has: dense_7\.$"):
        apply(model, relu("conv"))
