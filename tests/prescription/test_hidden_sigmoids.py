"""Hidden sigmoids of a run that learned nothing get a rectifier beside the cure."""

from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.diagnosis import Outcome
from kgrad.diagnosis.finding import Finding
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer, Variable
from kgrad.prescription import Prescription, prescribe
from kgrad.prescription.hidden_sigmoids import prescribe_rectified_sigmoids

from ..diagnosis.rules.cases import deep
from .test_beside_the_cure import by_descent, parts
from .test_knobs import LABELS, VALUES, named, runs_as_pasted
from .test_width import chain

STUCK = np.full(200, 2.3)


def stuck(layers=2, activation="sigmoid", rate=0.05, **config):
    return by_descent(deep(layers=layers, activation=activation, loss=STUCK), rate, **config)


def activations(inside):
    return [each["activation"] for each in inside if "activation" in each]


@pytest.mark.parametrize("rule", ["plateau", "saddle-point", "learning-rate-too-low"])
def test_sigmoids_get_a_rectifier_beside_another_optimizer(rule):
    inside, first = parts(stuck(), rule)
    assert activations(inside) == ["relu"]
    assert first.target == ("dense_0",)  # the output stays
    assert "pass 0.25 of the gradient back" in first.why
    made = runs_as_pasted(first)
    assert type(made["optimizer"]).__name__ == "Adam"
    assert first.code.count("optimizer = ") == 1


def test_units_that_are_added_beside_them_are_in_one_line():
    narrow = chain(4, layers=2)
    log = by_descent(replace(narrow, columns=narrow.columns | {"loss": STUCK}), 0.05)
    inside, first = parts(log, "plateau")
    assert activations(inside) == ["relu"]
    assert any("units" in str(each.get("layers")) for each in inside)
    lines = [line for line in first.code.splitlines() if line.startswith("keras.layers.Dense")]
    assert len(lines) == 1
    assert "Dense(16" in lines[0]
    assert '"relu"' in lines[0]


def test_a_run_without_losses_is_prescribed_for():
    log = stuck()
    log = replace(log, columns={name: values for name, values in log.columns.items() if name != "loss"})
    for rule in ("poor-initialization", "dead-units"):
        assert not any("relu" in each.code for each in named(rule, log, layers=["dense_0"]))


def with_layers(log, *layers, **changes):
    return replace(log, structure=replace(log.structure, layers=layers, **changes))


@pytest.mark.parametrize("made", ["a gate", "a head", "subclassed", "in a nested model"])
def test_a_sigmoid_that_may_be_more_than_a_squashed_answer_stays(made):
    log = stuck(layers=3)
    first, second, last = log.structure.layers
    if made == "a gate":
        factor = Layer("times", "Multiply", 2, None, None, (first.name, second.name))
        log = with_layers(log, first, second, factor, replace(last, inbound=("times",)))
    elif made == "a head":
        log = with_layers(log, first, second, replace(last, inbound=(first.name,)))
    elif made == "subclassed":
        log = with_layers(log, first, second, last, kind="subclassed")
    else:
        plain = replace(first, name="inside/dense", activation=None)
        holder = Layer("act", "Activation", 1, "sigmoid", None, (plain.name,))
        second = replace(second, inbound=("act",), activation="relu")
        log = with_layers(log, plain, holder, second, last)
    inside, _ = parts(log, "learning-rate-too-low")
    assert "relu" not in activations(inside)


def test_a_normalization_between_gets_no_weights_of_a_kernel():
    log = stuck(layers=2)
    first, last = log.structure.layers
    norm = Layer("norm", "BatchNormalization", 1, None, 8, (first.name,))
    squash = Layer("act", "Activation", 2, "sigmoid", None, ("norm",))
    layers = replace(first, activation=None), norm, squash, replace(last, inbound=("act",))
    scale = Variable("norm/gamma", "norm", "gamma", (8,))
    log = with_layers(log, *layers, variables=(*log.structure.variables, scale))
    wide = {name: np.hstack([each, each[:, :1]]) for name, each in log.columns.items() if each.ndim == 2}
    _, changed = parts(replace(log, columns=log.columns | wide), "learning-rate-too-low")
    assert 'Activation("relu")' in changed.code
    assert "BatchNormalization(kernel" not in changed.code


@pytest.mark.parametrize(
    ("rule", "details"), [("exploding-gradient", {}), ("learning-rate-too-high", {"suggested": 1.0})]
)
def test_no_rectifier_beside_descent_that_stays_faster_than_usual(rule, details):
    inside, first = parts(stuck(rate=2.0), rule, learning_rate=2.0, **details)
    assert all("learning_rate" in each for each in inside if each.get("activation") == "relu")
    assert "relu" not in activations([first.settings])
    cure = [Prescription("clipping", ("optimizer",), "", "", "", "optimizer = x", rule, settings={"clipnorm": 1.0})]
    assert prescribe_rectified_sigmoids(stuck(rate=2.0), Finding(rule, "high", "It is."), cure) is None
    assert prescribe_rectified_sigmoids(stuck(rate=0.01), Finding(rule, "high", "It is."), cure) is not None


def test_momentum_that_is_needed_comes_with_a_rectifier_and_not_in_its_place():
    log = stuck(rate=0.01)
    log = replace(log, info={**log.info, "fit": {"epochs": 1, "steps_per_epoch": 800, "batch_size": 1}})
    facts = BatchFacts.of("given", {"": VALUES}, {"": LABELS}).to_dict()
    log = replace(log, info={**log.info, "batch": facts, "loss": "sparse_categorical_crossentropy"})
    last = replace(log.structure.layers[-1], activation="softmax", units=3)
    log = with_layers(log, *log.structure.layers[:-1], last)
    inside, _ = parts(log, "output-loss-mismatch", fix={"activation": "softmax"}, output="dense_1")
    assert "relu" in activations(inside)
    assert any(each.get("momentum") == 0.9 for each in inside)


def test_a_rate_that_sigmoids_bore_comes_down_to_the_usual_one():
    wrong_output = {"fix": {"activation": "softmax"}, "output": "dense_1"}
    inside, _ = parts(stuck(rate=0.1, momentum=0.9), "output-loss-mismatch", **wrong_output)
    assert [each.get("learning_rate") for each in inside if "activation" in each and "kernel_initializer" in each] == [
        0.01
    ]
    inside, _ = parts(stuck(rate=0.01), "output-loss-mismatch", **wrong_output)
    assert all("learning_rate" not in each for each in inside if each.get("activation") == "relu")


@pytest.mark.parametrize(
    "log",
    [by_descent(deep(layers=2, activation="sigmoid"), 0.05), stuck(activation="relu"), stuck(activation="tanh")],
    ids=["learned", "relu", "tanh"],
)
def test_what_learned_or_has_no_sigmoids_stays(log):
    inside, first = parts(log, "plateau")
    assert not activations(inside)
    assert "activation" not in first.settings


def test_layers_that_the_cure_gives_another_activation_keep_that():
    first = named("vanishing-gradient", stuck(layers=3))[0]
    changed = [each["settings"] for each in first.settings.get("parts", [{"settings": first.settings}])]
    assert activations(changed) == ["relu"]


@pytest.mark.parametrize(("layers", "knob"), [(["dense_0"], "activation"), (["dense_0", "dense_1"], "initializer")])
def test_weights_that_are_off_are_made_for_rectifiers_where_they_are_those_of_sigmoids_alone(layers, knob):
    log = stuck()
    log = replace(log, columns=log.columns | {"weight_norm": np.full_like(log["weight_norm"], 1e-3)})
    offered = named("poor-initialization", log, layers=layers)
    inside, first = parts(log, "poor-initialization", layers=layers)
    assert next(each.knob for each in offered if each.knob != "several") == knob
    assert ("relu" in activations(inside or [first.settings])) is (knob == "activation")
    assert first.why.startswith("The first weights of")


@pytest.mark.parametrize("kind", ["classes-by-distance", "something else"])
def test_descent_by_a_squared_error_of_classes_becomes_adam_beside_other_units(kind):
    log = stuck(layers=4)
    noted = Finding("output-loss-mismatch", "info", "", details={"kind": kind})
    found = (Finding("plateau", "high", "it stands."), noted)
    outcomes = tuple(Outcome(each.rule, "found", finding=each) for each in found)
    first = prescribe(log, replace(kgrad.diagnose(log), outcomes=outcomes))[0]
    inside = [part["settings"] for part in first.settings.get("parts", [first.to_dict()])]
    assert activations(inside) == ["elu"]
    assert any(each.get("optimizer") == "Adam" for each in inside) == (kind == "classes-by-distance")
