"""Runs that their own first steps threw away, and what takes too much away: answers that go to the root of it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer
from kgrad.prescription import prescribe
from kgrad.prescription.optimizer import prescribe_without_ftrl
from kgrad.prescription.usual_rate import calmer_rate, prescribe_calmer_rate
from kgrad.treatment import apply

from ..diagnosis.rules.cases import deep
from ..diagnosis.rules.test_learning_rate_too_high import thrown
from .test_knobs import VALUES, named, runs_as_pasted


def grown(optimizer, rate=0.5, first=1.0):
    """A run of which the first steps changed the kernels by this share of their size."""
    log = deep(layers=4)
    updates = np.full_like(log["weight_norm"], 2.0 * first)
    info = {**log.info, "optimizer": {"class_name": optimizer, "config": {"learning_rate": rate}}}
    return replace(log, info=info, columns={**log.columns, "update_norm": updates})


@pytest.mark.parametrize("rule", ["exploding-gradient", "nonfinite-gradient"])
def test_what_exploded_by_the_steps_of_adam_begins_at_the_rate_of_healthy_starts(rule):
    first = named(rule, grown("Adam"))[0]
    assert first.knob == "learning_rate"
    assert first.settings["learning_rate"] == pytest.approx(0.5 * 0.01)
    runs_as_pasted(first)


@pytest.mark.parametrize(("optimizer", "rate", "first"), [("SGD", 0.5, 1.0), ("Adam", 0.5, 0.05), ("Adam", 1e-3, 9.0)])
def test_descent_and_small_first_steps_and_usual_rates_are_bounded_first(optimizer, rate, first):
    assert named("exploding-gradient", grown(optimizer, rate, first))[0].knob != "learning_rate"


def test_a_rate_of_a_start_is_no_lower_than_the_usual_one():
    assert named("exploding-gradient", grown("Adam", 0.5, 100.0))[0].settings["learning_rate"] == 0.001


def test_a_rate_that_the_first_step_hardly_blames_comes_down_by_what_the_later_ones_ask():
    log = thrown(ratio=50.0)
    log.columns["update_norm"][0] = 2.0 * 0.031  # of the weights' size 2: a little over the 3 % that are sound
    found = kgrad.examine(log)
    (finding,) = [each for each in found.diagnosis.findings if each.rule == "learning-rate-too-high"]
    rate = next(each for each in found.prescriptions if each.knob == "learning_rate")
    assert rate.settings["learning_rate"] == pytest.approx(finding.details["suggested"], rel=0.05)


@pytest.mark.parametrize(("first", "knob"), [(0.5, "learning_rate"), (0.02, "activation")])
def test_one_step_too_large_is_enough_to_kill_units(first, knob):
    log = deep(layers=4)
    log.columns["update_norm"][:] = 0.01
    log.columns["update_norm"][3] = 2.0 * first
    offered = dead(log, first_step=20)[0]
    assert offered.knob == knob
    if knob == "learning_rate":
        assert offered.settings["learning_rate"] < 0.01 / 2


def test_units_killed_at_once_take_the_rate_that_their_first_step_bears():
    """Those after it follow gradients that had grown with what it did."""
    log = deep(layers=4)
    log.columns["update_norm"][:60] = 2.0 * 5.0
    log.columns["update_norm"][0] = 2.0 * 0.3
    rate = dead(log)[0].settings["learning_rate"]
    assert rate == pytest.approx(0.01 * 0.03 / 0.3, rel=0.05)


def dead(log, first_step=4):
    """The prescriptions for units that are dead from this step on."""
    finding = Finding("dead-units", "high", "they are dead.", layers=("dense_1",), first_step=first_step, last_step=199)
    outcome = kgrad.diagnosis.Outcome("dead-units", "found", finding=finding)
    return prescribe(log, replace(kgrad.diagnose(log), outcomes=(outcome,)))


def regression(mean, loss="mse", output="Dense"):
    """Units die in the first steps; the output has one unit, and the targets this mean at a spread of about 1."""
    log = deep(layers=3)
    log.columns["update_norm"][:] = 2.0 * 0.3
    last = replace(log.structure.layers[-1], class_name=output, activation="linear", units=1)
    zeros = {"class_name": "Zeros", "config": {}}
    roles = {"kernel": "recurrent_kernel"} if output == "LSTM" else {}
    variables = tuple(
        replace(v, initializer=zeros if v.role == "bias" else v.initializer, role=roles.get(v.role, v.role))
        for v in log.structure.variables
    )
    structure = replace(log.structure, layers=(*log.structure.layers[:-1], last), variables=variables)
    facts = BatchFacts.of("given", {"": VALUES}, {"": mean + VALUES[:, :1]}).to_dict()
    return replace(log, structure=structure, info={**log.info, "loss": loss, "batch": facts})


def test_an_output_begins_at_the_mean_of_targets_far_from_zero():
    log = regression(1949.0)
    first = dead(log)[0]
    bias = first.settings["parts"][-1]
    mean = float(np.mean(1949.0 + VALUES[:, :1]))
    start = f"keras.initializers.Constant({mean:.6g})"
    assert bias["settings"] == {"initializers": {"dense_2": {"bias_initializer": start}}}
    assert bias["effect"]["before"] / bias["effect"]["after"] == pytest.approx(1 + (mean / VALUES[:, 0].std()) ** 2)
    runs_as_pasted(first)

    layers = [keras.layers.Dense(4, activation="relu", name=name) for name in ("dense_0", "dense_1")]
    model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(1, name="dense_2")])
    model.compile("sgd", "mse")
    assert apply(model, first).layers[-1].bias.numpy() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize(
    ("mean", "loss", "output"), [(1.5, "mse", "Dense"), (14.0, "mae", "Dense"), (14.0, "mse", "LSTM")]
)
def test_means_within_the_spread_and_bounded_gradients_and_states_leave_the_output_at_zero(mean, loss, output):
    assert not any("bias_initializer" in str(each.settings) for each in dead(regression(mean, loss, output)))


def test_dropout_takes_no_inputs_and_leaves_units_enough():
    log = deep(layers=3)
    first, *others = log.structure.layers
    layers = (
        Layer("of_inputs", "Dropout", 0, config={"rate": 0.8}),
        replace(first, inbound=("of_inputs",)),
        Layer("of_units", "Dropout", 1, inbound=(first.name,), config={"rate": 0.8}),
        replace(others[0], inbound=("of_units",)),
        *others[1:],
    )
    log = replace(log, structure=replace(log.structure, layers=layers))
    (offered,) = named("over-regularised", log, kind="dropout", layers=("of_inputs", "of_units"))
    assert offered.settings["layers"] == {"of_inputs": {"rate": 0.0}, "of_units": {"rate": 0.2}}
    assert offered.after == "0.2; no dropout of the inputs"
    runs_as_pasted(offered)


def test_a_push_of_trained_weights_is_part_of_no_joint_answer():
    log = deep(layers=3)
    layers = (*log.structure.layers[:2], Layer("drop", "Dropout", 2, inbound=("dense_1",), config={"rate": 0.9}))
    log = replace(log, structure=replace(log.structure, layers=(*layers, log.structure.layers[2])))
    adam = {"class_name": "Adam", "config": {"learning_rate": 0.001}}
    log = replace(log, info={**log.info, "optimizer": adam})
    findings = (
        Finding("over-regularised", "high", "too much.", layers=("drop",), details={"kind": "dropout"}),
        Finding("saddle-point", "high", "a saddle."),
    )
    outcomes = tuple(kgrad.diagnosis.Outcome(each.rule, "found", finding=each) for each in findings)
    offered = prescribe(log, replace(kgrad.diagnose(log), outcomes=outcomes))
    assert any("perturbation" in each.settings for each in offered)
    assert "perturbation" not in str(offered[0].settings)


def test_ftrl_takes_the_first_weights_and_gives_way_to_adam():
    log = deep(update_norm=np.full((200, 16), 2.0), weight_norm=np.full((200, 16), 2.0))
    log = replace(log, info={**log.info, "optimizer": {"class_name": "Ftrl", "config": {"learning_rate": 0.001}}})
    for rule in ("dead-units", "plateau"):
        first = named(rule, log)[0]
        assert first.settings["optimizer"] == "Adam"
        assert first.evidence[0].value == pytest.approx(1.0)
    assert prescribe_without_ftrl(deep(), Finding("plateau", "high", "it stands.")) is None


def test_what_ftrl_does_is_so():
    """Its first step takes nearly all of the weights, as no other optimizer's does."""
    left = {}
    for optimizer in (keras.optimizers.Ftrl(0.001), keras.optimizers.SGD(0.001)):
        weights = keras.Variable(np.full((4, 4), 0.3, dtype="float32"))
        optimizer.apply([np.full((4, 4), 0.01, dtype="float32")], [weights])
        left[type(optimizer).__name__] = float(np.abs(np.array(weights)).max())
    assert left["Ftrl"] < 0.01 < 0.29 < left["SGD"]


@pytest.mark.parametrize(
    ("name", "rate", "calmer"), [("Adagrad", 1.0, True), ("Adagrad", 0.05, False), ("Adam", 0.2, True)]
)
def test_inputs_off_scale_under_a_huge_rate_of_an_adaptive_optimizer(name, rate, calmer):
    log = deep(activation="relu")
    log = replace(log, info={**log.info, "optimizer": {"class_name": name, "config": {"learning_rate": rate}}})
    large = Finding("unscaled-inputs", "high", "large.", details={"kind": "large-inputs"})
    offered = prescribe_calmer_rate(log, large)
    assert prescribe_calmer_rate(replace(log, structure=deep(activation="tanh").structure), large) is None  # none dies
    assert (offered is not None) is calmer
    if calmer:
        assert offered.settings["optimizer"] == "Adam"
        assert offered.settings["learning_rate"] <= 0.01
        assert float(runs_as_pasted(offered)["optimizer"].learning_rate) <= 0.01


@pytest.mark.parametrize(("rows", "rate"), [(32, 0.01), (16, 0.01), (2, 0.00125)])
def test_batches_of_a_few_rows_bear_less(rows, rate):
    optimizer = {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}}
    log = replace(deep(), info={**deep().info, "optimizer": optimizer, "fit": {"batch_size": rows}})
    assert calmer_rate(log) == pytest.approx(rate, rel=0.05)
    together = {**optimizer, "config": {**optimizer["config"], "gradient_accumulation_steps": 16}}
    assert calmer_rate(replace(log, info={**log.info, "optimizer": together})) == pytest.approx(0.01)


@pytest.mark.parametrize(("rule", "kind"), [("dead-units", None), ("unscaled-inputs", "large-inputs")])
@pytest.mark.parametrize(("momentum", "calmer"), [(0.9, True), (0.0, False)], ids=["80 times as fast", "as usual"])
def test_units_that_died_at_many_times_the_usual_rate_get_that_beside_their_cure(momentum, calmer, rule, kind):
    config = {"learning_rate": 0.8 if momentum else 0.1, "momentum": momentum}
    log = deep(activation="relu", zero_fraction=np.ones((200, 16)))
    log = replace(log, info={**log.info, "optimizer": {"class_name": "SGD", "config": config}})
    offered = prescribe_calmer_rate(log, Finding(rule, "high", "they are dead.", details={"kind": kind}))
    assert (offered is not None) is calmer
    assert not calmer or (offered.settings["learning_rate"], offered.settings["momentum"]) == (0.01, 0.9)
