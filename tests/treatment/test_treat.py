"""`treat` heals what can be healed, tells what it did, and never returns something worse."""

import json
from dataclasses import replace

import keras
import numpy as np
import pandas
import pytest
from keras import layers

import kgrad
from kgrad.errors import DamagedRunError
from kgrad.treatment import TreatmentError, prove
from kgrad.treatment.attempts import Tried, _concluded, attempt, changes_of, ranked
from kgrad.treatment.fitting import of_fit
from kgrad.treatment.given_data import given_data
from kgrad.treatment.measure import Measure, Score, badness, is_better
from kgrad.treatment.rounds import Rounds
from kgrad.treatment.treatment import Attempt
from kgrad.treatment.watch import State

from ..diagnosis.rules.cases import deep
from .patients import nested, prescription, rate, relu, sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 6)).astype("float32")
CLASSES = (X[:, 0] + X[:, 1] > 0).astype("int64")


def network(*middle, rate=0.1, loss="sparse_categorical_crossentropy", out=None):
    model = keras.Sequential([keras.Input((6,)), *middle, out or layers.Dense(2, activation="softmax", name="out")])
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


def blown_up():
    """Weights a hundred times too large."""
    large = keras.initializers.RandomNormal(stddev=40.0, seed=1)
    return network(*(layers.Dense(16, activation="relu", kernel_initializer=large, name=f"h{i}") for i in range(3)))


FIT = {"epochs": 8, "batch_size": 16, "validation_split": 0.25, "progress": False}


@pytest.mark.slow
def test_what_explodes_is_healed_and_the_story_is_told(tmp_path):
    sick = blown_up()
    before = [np.array(weight) for weight in sick.weights]
    healed, story = kgrad.treat(sick, X, CLASSES, **FIT)
    assert all(np.array_equal(a, b) for a, b in zip(before, sick.weights, strict=True))
    assert story.measured_on == "validation data"
    assert story.rounds[0].findings
    assert story.changes
    assert story.steps <= story.budget
    assert story.accuracy > 0.85
    held = healed.evaluate(X[192:], CLASSES[192:], verbose=0, return_dict=True)
    assert held["accuracy"] == pytest.approx(story.accuracy)
    json.dumps(story.to_dict(), allow_nan=False)
    page = story.write_report(tmp_path / "treatment.html").read_text()
    assert story.changes[0].split(":")[0] in page
    assert "http" not in page.split("</style>")[1]


@pytest.mark.slow
def test_what_is_healthy_is_only_trained():
    _, story = kgrad.treat(network(layers.Dense(16, activation="relu")), X, CLASSES, **FIT)
    assert not story.changes
    assert len(story.rounds) == 1
    assert story.steps == 8 * 12
    assert story.loss < story.loss_given


class _Interrupts(keras.callbacks.Callback):
    """Ctrl-C in the training of that number, the first being 1."""

    def __init__(self, training):
        super().__init__()
        self.left = training

    def on_train_begin(self, logs=None):
        self.left -= 1

    def on_train_batch_end(self, batch, logs=None):
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_ctrl_c_ends_it_with_the_best_model_so_far():
    healed, story = kgrad.treat(blown_up(), X, CLASSES, callbacks=_Interrupts(3), **FIT)
    assert len(story.rounds) == 2
    assert story.changes
    assert story.accuracy > 0.85
    assert "Interrupted" in story.rounds[-1].reason
    held = healed.evaluate(X[192:], CLASSES[192:], verbose=0, return_dict=True)
    assert held["accuracy"] == pytest.approx(story.accuracy)
    with pytest.raises(KeyboardInterrupt):
        kgrad.treat(blown_up(), X, CLASSES, callbacks=_Interrupts(1), **FIT)


@pytest.mark.slow
def test_columns_of_several_types_are_taken_as_fit_takes_them():
    columns = {"height": X[:, 0], "old": X[:, 1] > 0, "income": 1000 * X[:, 2]}
    frame = pandas.DataFrame(columns, index=np.arange(len(X))[::-1])
    labels = pandas.Series(CLASSES, index=frame.index)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(8, activation="relu"), layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    _, story = kgrad.treat(model, frame, labels, **FIT)
    assert any("input scaling" in each for each in story.changes)
    assert story.accuracy > 0.8
    with pytest.raises(TreatmentError, match="get_dummies"):
        kgrad.treat(model, frame.assign(old="yes"), labels, **FIT)


@pytest.mark.slow
def test_a_training_too_short_to_show_a_disease_goes_on():
    keras.utils.set_random_seed(0)
    short = network(layers.Dense(16, activation="relu"), rate=0.02)
    _, story = kgrad.treat(short, X, CLASSES, **{**FIT, "epochs": 3, "batch_size": 4})
    first, second, *_ = story.rounds
    assert not first.findings
    assert second.reason.startswith("Little learned, and learning still")
    assert second.adopted
    assert story.accuracy > first.accuracy


@pytest.mark.slow
def test_a_good_model_is_not_made_worse():
    good = network(layers.Dense(16, activation="relu"))
    good.fit(X[:192], CLASSES[:192], epochs=60, verbose=0)
    good.optimizer.learning_rate = 300.0
    healed, story = kgrad.treat(good, X, CLASSES, **{**FIT, "budget": 100})
    assert story.loss <= story.loss_given
    assert healed.evaluate(X[192:], CLASSES[192:], verbose=0)[0] == pytest.approx(story.loss, rel=1e-4)


def test_a_model_of_several_outputs_is_refused():
    inputs = keras.Input((6,))
    two = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    two.compile("sgd", ["mse", "mse"])
    with pytest.raises(TreatmentError, match="outputs"):
        kgrad.treat(two, X, [CLASSES, CLASSES], progress=False)


def test_the_first_answers_to_several_causes_are_tried_together():
    first, second = relu("a"), rate(0.5)
    other = prescription("clipping", clipnorm=1.0)
    object.__setattr__(other, "finding", "another-rule")
    tried = changes_of([first, second, other], 9)
    assert tried == [(first,), (first, other), (first, second), (second,), (other,)]
    assert changes_of([first, second], 9) == [(first,), (first, second), (second,)]
    assert changes_of([], 9) == []
    longer = prescription("epochs", epochs=9)
    object.__setattr__(longer, "target", ("fit",))
    assert of_fit(longer)
    assert changes_of([longer, first], 9) == [(first,)]  # how long to train is nothing to try in a short training


def test_the_most_promising_go_on_and_what_harms_does_not():
    def made(verdict, before, after):
        return Attempt(("a",), "code", "why", ("rule",), verdict, before, after)

    proven, better = made("proven", (1.0,), (0.8,)), made("proven", (1.0,), (0.5,))
    behind, worse = made("behind", (1.0,), (0.9,)), made("no effect", (1.0,), (1.2,))
    harmful, broken = made("harmful", (1.0,), (2.0,)), made("behind", (1.0,), (np.inf,))
    assert ranked([proven, harmful, better, broken])[0] == [2, 0]
    places, reason = ranked([worse, harmful, behind])
    assert places == [2, 0]
    assert "prove none" in reason
    assert ranked([harmful, broken])[0] == []


def test_accuracy_decides_beyond_noise_and_the_loss_within_it():
    old = Score(0.6, 0.75)
    assert is_better(Score(0.9, 0.95), old, True, 300)  # surer of its few errors, but right far more often
    assert not is_better(Score(0.9, 0.76), old, True, 300)
    assert not is_better(Score(0.1, 0.5), old, True, 300)
    assert is_better(Score(0.5, 0.74), old, True, 300)
    assert not is_better(Score(0.5, 0.74), old, False, 300)
    assert is_better(old, Score(np.inf, 0.9), True, 300)
    assert not is_better(Score(np.inf, 0.9), old, True, 300)
    assert not is_better(Score(None, None), Score(0.5, None), False, 300)


def test_values_under_another_loss_are_compared_by_what_is_predicted_of_them():
    assert is_better(Score(9.0, None, 0.8), Score(-7e6, None, -2.0), False, 300)
    assert not is_better(Score(9.0, None, 0.8), Score(8.0, None, 0.7), True, 300)  # the same loss: it decides
    assert not is_better(Score(np.inf, None, -np.inf), Score(1.0, None, 0.0), False, 300)
    one = network(out=layers.Dense(1, name="out"), loss="mse")
    values = X @ np.arange(6.0)[:, None]
    assert Measure(one, [(X, values + 5, None)]).of(one).r_squared == pytest.approx(
        1 - np.mean((one.predict(X, verbose=0) - values - 5) ** 2) / np.var(values)
    )
    assert Measure(one, [(X, CLASSES[:, None], None)]).of(one).r_squared is None


@pytest.mark.slow
def test_classes_and_their_numbers_are_compared_by_how_often_they_are_right():
    """One unit for five classes gives numbers; five units in its place give classes."""
    labels = np.arange(200) % 5
    number = keras.Sequential([keras.Input((5,)), layers.Dense(1, activation="sigmoid")])
    number.compile("sgd", "binary_crossentropy")
    answers = keras.Sequential(
        [keras.Input((5,)), layers.Dense(5, activation="softmax", kernel_initializer="identity")]
    )
    answers.compile("sgd", "sparse_categorical_crossentropy")
    measure = Measure(number, [(np.eye(5, dtype="float32")[labels], labels, None)])
    one, other = measure.of(number), measure.of(answers)
    assert (one.accuracy, other.accuracy) == (None, 1.0)
    assert one.rounded <= 0.4
    assert is_better(other, one, False, 200)
    assert not is_better(one, other, False, 200)


def test_a_loss_that_does_not_fit_the_values_is_no_measure_of_the_cure(tmp_path):
    prices = 2e5 + 5e4 * (X @ np.arange(6.0))[:, None]
    hidden = layers.Dense(16, activation="relu", name="h0")
    sick = network(hidden, out=layers.Dense(1, activation="sigmoid", name="out"), loss="binary_crossentropy")
    healed, story = kgrad.treat(sick, X, prices, **FIT)
    assert "mean_squared_error" in story.changes[0]
    assert story.r_squared > 0.9 > 0 > story.r_squared_given
    assert "R² " in story.summary
    assert "R²" in story.write_report(tmp_path / "treatment.html").read_text()
    assert healed.loss == "mean_squared_error"


def test_models_with_other_losses_are_compared_by_their_errors():
    one = network(out=layers.Dense(1, name="out"), loss="mse")
    measure = Measure(one, [(X, CLASSES.astype("float32")[:, None], None)])
    plain, classes = measure.of(one), measure.of(network())
    assert plain.loss == pytest.approx(float(np.mean((one.predict(X, verbose=0)[:, 0] - CLASSES) ** 2)), rel=1e-4)
    assert classes.loss is None
    assert badness(classes, False) == 1 - classes.accuracy
    values = Measure(one, [(X, X[:, :1], None)])
    assert values.of(one).accuracy is None
    assert badness(values.of(network()), False) is None


def test_a_penalty_is_not_part_of_what_is_compared():
    model = network(layers.Dense(4, kernel_regularizer=keras.regularizers.L2(100.0)))
    score = Measure(model, [(X, CLASSES, None)]).of(model)
    assert score.loss < 10 < model.evaluate(X, CLASSES, verbose=0)[0]


def test_nested_models_have_a_measure():
    model = nested()
    batch = ({"left": X, "right": X}, np.zeros((256, 3), "float32"), None)
    assert Measure(model, [batch]).of(model).loss > 0


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([(np.inf, 1.0)] * 3, "proven"),
        ([(1.0, np.inf)] * 3, "harmful"),
        ([(np.inf, np.inf)] * 3, "no effect"),
        ([(1.0, 0.5), (1.1, 0.6), (0.9, 0.4)], "proven"),
        ([(1.0, 0.5)], "behind"),
    ],
)
def test_verdicts_of_attempts(pairs, verdict):
    assert _concluded(Tried((relu("first"),), pairs=pairs)).verdict == verdict


def test_a_change_that_cannot_be_trained_spoils_no_other():
    wrong = prescription("output", ["out"], loss="categorical_crossentropy")  # of integer targets
    model = network(layers.Dense(8, activation="sigmoid", name="hidden"))
    measure, steps = Measure(model, [(X, CLASSES, None)]), []
    data = given_data(X, CLASSES, {"batch_size": 16})
    tried = attempt(model, [(wrong,), (rate(0.5),)], data, measure, 4, 0, steps.append)
    assert [each.verdict == "not applied" for each in tried] == [True, False]
    assert "Error" in tried[0].note
    assert sum(steps) == 28


def test_what_was_tried_stays_with_the_run(tmp_path):
    model = sequential()
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True)
    sequential().fit(X, CLASSES, epochs=2, verbose=0, callbacks=[monitor])
    offered = (prescription("epochs", epochs=9), relu("first"), rate(0.5))
    whole = monitor.examination
    assert "trials" not in whole.to_dict()
    proven = prove(replace(whole, prescriptions=offered), model, X, CLASSES, most=1, steps=2, seeds=1, progress=False)
    told = proven.to_dict()
    assert [each["prescription"]["knob"] for each in told["trials"]] == ["activation"]
    assert [each["layer"] for each in told["dry_runs"][0]["layers"]] == ["first", "second", "last"]
    assert proven.trials[0]["verdict"] in kgrad.render(proven)
    json.dumps(told, allow_nan=False)
    again = kgrad.examine(tmp_path / "run")  # what `kgrad report` shows
    assert json.loads(json.dumps((proven.trials, proven.dry_runs))) == [list(again.trials), list(again.dry_runs)]
    assert again.trials[0]["verdict"] in kgrad.render(again)
    (tmp_path / "run" / "proofs.json").write_text("{}")
    with pytest.raises(DamagedRunError, match=r"proofs\.json should hold"):
        kgrad.examine(tmp_path / "run")


def test_a_folder_that_takes_no_file_costs_no_proof(tmp_path, caplog):
    log = replace(deep(), path=str(tmp_path / "file" / "run"))
    (tmp_path / "file").write_text("in the way")
    whole = replace(kgrad.examine(deep()), log=log, prescriptions=(rate(0.5),))
    proven = prove(whole, sequential(), X, CLASSES, steps=2, seeds=1, progress=False)
    assert len(proven.trials) == 1
    assert "could not keep what was tried" in caplog.text


def test_two_models_of_one_other_loss_are_compared_by_it():
    """Accuracies within noise; the loss that was given says the same of all."""
    given = network(layers.Dense(8), loss="mse")
    state = State(given_data(X, CLASSES, {}), 10, network(layers.Dense(8)), Score(0.0, 0.90, own_loss=0.3))
    state.rounds.append(None)
    measure = Measure(given, [])
    measure.rows = 100
    rounds = Rounds(given, measure, state, 0, lambda: None)
    assert not rounds._is_best(network(layers.Dense(8)), Score(0.0, 0.92, own_loss=0.5), False)
    assert rounds._is_best(network(layers.Dense(8)), Score(0.0, 0.89, own_loss=0.2), False)
    assert rounds._is_best(network(layers.Dense(8), loss="poisson"), Score(0.0, 0.92, own_loss=0.5), False)
