"""What the first answer brings beside the cure: calmer steps for what grew, targets of unit scale for a new loss."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer
from kgrad.prescription.gains import gain, initializer
from kgrad.treatment import apply

from ..diagnosis.rules.cases import deep
from .test_knobs import LABELS, VALUES, named, runs_as_pasted


def parts(log, rule, **details):
    first = named(rule, log, **details)[0]
    return [part["settings"] for part in first.settings.get("parts", ())], first


def by_descent(log, rate, **config):
    return replace(
        log, info={**log.info, "optimizer": {"class_name": "SGD", "config": {"learning_rate": rate, **config}}}
    )


def test_what_grew_at_a_rate_beyond_the_usual_begins_anew_at_the_usual_one():
    inside, first = parts(by_descent(deep(activation="exponential"), 3.0), "exploding-gradient")
    assert inside[1] == {"learning_rate": 0.01, "momentum": 0.9, "nesterov": False}
    assert "30 times as fast as usual" in first.why
    assert float(runs_as_pasted(first)["optimizer"].learning_rate) == pytest.approx(0.01)


def test_no_bound_on_gradients_holds_weights_that_grow_with_them():
    log = by_descent(deep(activation="tanh"), 3.0)
    first = named("exploding-gradient", log, kind="weights")[0]
    assert first.settings == {"learning_rate": 0.01, "momentum": 0.9, "nesterov": False}
    assert named("exploding-gradient", log, kind="growth")[0].knob == "clipping"


@pytest.mark.parametrize(("rate", "rule"), [(0.05, "exploding-gradient"), (3.0, "dead-units")])
def test_usual_rates_and_other_causes_keep_theirs(rate, rule):
    inside, _ = parts(by_descent(deep(activation="exponential"), rate), rule)
    assert not any("momentum" in each for each in inside)


@pytest.mark.parametrize(("scale", "scaled"), [(1e5, True), (1.0, False)])
def test_large_targets_are_scaled_beside_a_new_loss(scale, scaled):
    log = deep(layers=3)
    facts = BatchFacts.of("given", {"": VALUES}, {"": scale * (3 + VALUES[:, :1])}).to_dict()
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    log = replace(log, info={**log.info, "batch": facts, "loss": "binary_crossentropy"})
    inside, first = parts(log, "output-loss-mismatch", fix=fix, output="dense_2")
    assert any(each.get("targets") == "standardise" for each in inside) == scaled
    if scaled:
        made = runs_as_pasted(first)
        assert np.std(made["y"]) < 1.0  # of labels from 0 to 2, over a scale of 1e5
        assert made["loss"] == "mean_squared_error"


def test_the_new_loss_and_the_scaled_targets_can_be_applied_together():
    values = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy")
    log = deep(layers=3)
    facts = BatchFacts.of("given", {"": VALUES}, {"": 1e5 * (3 + VALUES[:, :1])}).to_dict()
    log = replace(log, info={**log.info, "batch": facts, "loss": "binary_crossentropy"})
    layers = tuple(replace(old, name=new.name) for old, new in zip(log.structure.layers[1:], model.layers, strict=True))
    log = replace(log, structure=replace(log.structure, layers=layers))
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    first = named("output-loss-mismatch", log, fix=fix, output=model.layers[-1].name)[0]
    changed = apply(model, first, x=values)
    assert changed.loss == "mean_squared_error"
    assert float(changed.optimizer.learning_rate) == pytest.approx(0.01 / (1e5 * VALUES[:, :1].std()) ** 2, rel=0.05)


def test_nothing_makes_larger_steps_beside_an_answer_that_makes_smaller_ones():
    grown = deep(activation="exponential")
    slow = replace(grown, info={**grown.info, "optimizer": {"class_name": "Adam", "config": {"learning_rate": 1e-4}}})
    for log in (slow, by_descent(grown, 1e-3)):
        offered = named(
            "exploding-gradient", replace(log, info={**log.info, "fit": {"epochs": 9, "steps_per_epoch": 90}})
        )
        assert any(each.knob == "learning_rate" for each in offered)  # a lower one, if all else fails
        assert "learning_rate" not in offered[0].settings
        assert not any("learning_rate" in each["settings"] for each in offered[0].settings.get("parts", ()))


def test_a_momentum_near_one_is_not_kept_by_what_calms():
    inside, _ = parts(by_descent(deep(activation="exponential"), 0.05, momentum=0.99), "exploding-gradient")
    assert inside[1] == {"learning_rate": 0.01, "momentum": 0.9, "nesterov": False}


def test_the_state_of_a_recurrent_layer_gets_no_rectifier():
    log = deep(layers=3)
    layers = tuple(Layer(each.name, "GRU", each.depth, "tanh", 8) for each in log.structure.layers[:-1])
    log = replace(log, structure=replace(log.structure, layers=(*layers, log.structure.layers[-1])))
    offered = named("plateau", by_descent(log, 0.01))
    assert offered[0].knob == "optimizer"
    assert not any(each.knob == "activation" for each in offered)


def test_one_saturating_layer_on_a_plateau_is_not_the_first_to_go():
    shallow, chain = deep(layers=2, activation="sigmoid"), deep(layers=3, activation="sigmoid")
    assert named("plateau", by_descent(shallow, 0.05))[0].knob == "optimizer"
    assert named("plateau", by_descent(chain, 0.05))[0].knob == "activation"


def test_all_layers_of_one_value_are_made_anew():
    log = deep(layers=4, activation="tanh")
    constant = {"class_name": "Constant", "config": {"value": 0.1}}
    kernels = tuple(replace(each, initializer=constant) for each in log.structure.variables)
    log = replace(log, structure=replace(log.structure, variables=kernels))
    first = named("poor-initialization", log, kind="constant")[0]
    inside = list(first.settings.get("parts", [{"settings": first.settings}]))
    changed = next(each["settings"]["initializers"] for each in inside if "initializers" in each["settings"])
    assert {"dense_0", "dense_1", "dense_2"} <= set(changed)
    assert "one and the same number" in first.why


def test_elu_keeps_the_mean_square_of_a_normal_signal():
    signal = np.random.default_rng(0).normal(size=1_000_000)
    passed = np.where(signal > 0, signal, np.expm1(signal))
    assert gain("elu") ** 2 * np.mean(passed**2) == pytest.approx(1.0, abs=0.01)
    assert initializer("elu") == 'keras.initializers.VarianceScaling(1.55, mode="fan_in")'


def test_a_healthy_log_gets_nothing():
    log = by_descent(deep(layers=3), 3.0)
    facts = BatchFacts.of("given", {"": VALUES}, {"": LABELS}).to_dict()
    assert (
        kgrad.prescription.prescribe(
            replace(log, info={**log.info, "batch": facts}), replace(kgrad.diagnose(log), outcomes=())
        )
        == ()
    )
