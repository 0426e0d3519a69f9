from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer, Structure, Variable

from ...log.factory import run_log
from .cases import outcome

RULE = "poor-initialization"
STUCK = np.full(100, 2.3)


def net(std, layers=8, units=64, activation="relu", initializer="RandomNormal", between=(), loss=STUCK):
    """Dense hidden layers whose kernels have the given standard deviation, `between` behind each, and a head."""
    described, variables, norms = [], [], []
    for i in range(layers + 1):
        name, before = f"dense_{i}", (described[-1].name,) if described else ()
        last = i == layers
        described.append(Layer(name, "Dense", len(described), "softmax" if last else activation, units, before))
        variables.append(
            Variable(f"{name}/kernel", name, "kernel", (units, units), initializer={"class_name": initializer})
        )
        norms.append(units * (1 / np.sqrt(units) if last else std))
        for class_name in () if last else between:
            described.append(Layer(f"{class_name}_{i}", class_name, len(described), None, units, (described[-1].name,)))
    log = run_log(len(loss), loss=loss)
    wide = np.ones((len(loss), len(variables)))
    columns = {name: values if values.ndim == 1 else wide for name, values in log.columns.items()}
    columns["weight_norm"] = wide * norms
    return replace(log, columns=columns, structure=Structure("m", "functional", tuple(described), tuple(variables)))


@pytest.mark.parametrize("std", [np.sqrt(1 / 64), np.sqrt(2 / 64)])
@pytest.mark.parametrize("layers", [1, 8, 50])
def test_sound_initializers_are_left_alone(std, layers):
    assert outcome(RULE, net(std, layers)).status == "clear"


def test_small_weights_in_many_layers_fade():
    finding = outcome(RULE, net(0.01)).finding
    assert (finding.severity, finding.details["kind"]) == ("high", "too-small")
    assert finding.details["factor"] == pytest.approx(12.5**8)
    assert finding.layers == tuple(f"dense_{i}" for i in range(8))


def test_one_small_layer_recovers_by_itself():
    assert outcome(RULE, net(0.01, layers=1)).status == "clear"


def test_large_weights_grow_through_relu_and_saturate_tanh():
    relu, tanh = outcome(RULE, net(0.5)).finding, outcome(RULE, net(2.0, activation="tanh")).finding
    assert relu.details["kind"] == tanh.details["kind"] == "too-large"
    assert relu.details["factor"] == pytest.approx((0.5 / np.sqrt(2 / 64)) ** 8)
    assert tanh.details["factor"] == pytest.approx(2.0 / np.sqrt(2 / 64))


@pytest.mark.parametrize(
    ("end", "stands", "severity"), [(1.0, False, "low"), (1.0, True, "info"), (0.1, False, "info")]
)
def test_what_learned_half_and_falls_still_is_no_mere_note(end, stands, severity):
    """A loss that goes from 2.3 down to this, over the whole run or over its first fifth."""
    steps = np.arange(400)
    loss = 2.3 + (end - 2.3) * np.minimum(steps / (80 if stands else 400), 1)
    log = classes(net(0.5, loss=loss))
    assert outcome(RULE, log).finding.severity == severity
    unfinished = replace(log, info={**log.info, "fit": {"epochs": 10, "steps_per_epoch": 100}})
    assert outcome(RULE, unfinished).finding.severity == "info"  # what learns passes such a state


def classes(log):
    """With labels of ten classes, whose constant answer has a loss of 2.3."""
    labels = np.arange(160) % 10
    facts = BatchFacts.of("training arrays", {"": np.ones((160, 6))}, {"": labels}).to_dict()
    info = {**log.info, "loss": "sparse_categorical_crossentropy", "batch": facts, "data": facts}
    *hidden, last = log.structure.layers
    layers = (*hidden, replace(last, units=10))
    return replace(log, info=info, structure=replace(log.structure, layers=layers))


@pytest.mark.parametrize("std", [0.01, 0.5, 5.0])
def test_normalization_between_the_layers_starts_anew(std):
    assert outcome(RULE, net(std, between=("BatchNormalization",))).status == "clear"


def test_a_branch_around_small_layers_carries_the_signal():
    log = net(0.01, layers=4)
    layers = list(log.structure.layers)
    layers[4] = replace(layers[4], inbound=("sum",))
    layers.insert(4, Layer("sum", "Add", 4, inbound=("dense_0", "dense_3")))
    assert outcome(RULE, replace(log, structure=replace(log.structure, layers=tuple(layers)))).status == "found"
    skip = [replace(each, inbound=("dense_0",)) if each.inbound else each for each in log.structure.layers]
    assert outcome(RULE, replace(log, structure=replace(log.structure, layers=tuple(skip)))).status == "found"
    wide = [replace(each, inbound=()) if each.name != "dense_4" else each for each in log.structure.layers]
    assert outcome(RULE, replace(log, structure=replace(log.structure, layers=tuple(wide)))).status == "clear"


@pytest.mark.parametrize(("initializer", "std", "kind"), [("Zeros", 0.0, "zero"), ("Ones", 1.0, "constant")])
def test_equal_weights_keep_the_units_alike(initializer, std, kind):
    finding = outcome(RULE, net(std, initializer=initializer)).finding
    assert (finding.severity, finding.details["kind"]) == ("high", kind)


def test_a_network_that_learns_all_the_same_gets_a_note():
    assert outcome(RULE, net(0.01, loss=np.geomspace(2.3, 0.01, 100))).finding.severity == "info"


def test_a_head_of_small_weights_is_good_practice():
    log = net(np.sqrt(2 / 64))
    norms = log["weight_norm"].copy()
    norms[:, -1] = 0.0
    assert outcome(RULE, replace(log, columns={**log.columns, "weight_norm": norms})).status == "clear"


def test_large_inputs_make_up_for_small_weights():
    log = net(0.01, layers=2)
    facts = BatchFacts.of("given", {"": np.random.default_rng(0).normal(0, 500, (64, 5))}, {})
    assert outcome(RULE, log).status == "found"
    assert outcome(RULE, replace(log, info={**log.info, "batch": facts.to_dict()})).status == "clear"


def test_small_inputs_are_no_fault_of_the_weights():
    inputs = {"": np.random.default_rng(0).normal(0, 1e-3, (64, 64))}
    facts = BatchFacts.of("given", inputs, {"": np.zeros(64)}).to_dict()
    nearly = net(0.1, layers=3)  # 1.25 times too small each
    assert outcome(RULE, replace(nearly, info={**nearly.info, "batch": facts})).status == "clear"
    faded = net(0.01)
    assert outcome(RULE, replace(faded, info={**faded.info, "batch": facts})).finding.details[
        "factor"
    ] == pytest.approx(12.5**8)


def recurrent(gain, rows=60, activation="linear"):
    log = net(np.sqrt(1 / 64), layers=1)
    layers = (Layer("rnn", "SimpleRNN", 0, activation, 64), Layer("head", "Dense", 1, "sigmoid", 1, ("rnn",)))
    roles = (("rnn", "kernel", (1, 64)), ("rnn", "recurrent_kernel", (64, 64)), ("head", "kernel", (64, 1)))
    variables = tuple(Variable(f"{layer}/{role}", layer, role, shape) for layer, role, shape in roles)
    columns = {k: v if v.ndim == 1 else np.ones((len(log), 3)) for k, v in log.columns.items()}
    columns["weight_norm"] = np.tile([1.0, gain * 8.0, 1.0], (len(log), 1))
    facts = BatchFacts.of("given", {"": np.zeros((8, rows, 1))}, {})
    info = {**log.info, "batch": facts.to_dict()}
    return replace(log, columns=columns, info=info, structure=Structure("m", "sequential", layers, variables))


def test_a_recurrent_kernel_is_applied_once_per_step_of_the_sequence():
    finding = outcome(RULE, recurrent(1.6)).finding
    assert finding.details["kind"] == "recurrent"
    assert finding.details["factor"] == pytest.approx(1.6**60)
    assert outcome(RULE, recurrent(1.6, rows=3)).finding is None
    assert outcome(RULE, recurrent(1.0)).finding is None
    assert outcome(RULE, recurrent(1.6, activation="tanh")).finding is None


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_a_small_recurrent_kernel_forgets(activation):
    finding = outcome(RULE, recurrent(0.25, activation=activation)).finding
    assert (finding.severity, finding.details["kind"], finding.layers) == ("high", "forgetful", ("rnn",))
    assert finding.evidence[0].value == pytest.approx(0.25**10)
    assert outcome(RULE, recurrent(0.7, activation=activation)).finding is None
    assert outcome(RULE, recurrent(0.25, rows=3, activation=activation)).finding is None
    assert "after 4 of them" in outcome(RULE, recurrent(0.25, rows=4, activation=activation)).finding.summary


def test_relu_takes_nothing_of_what_a_recurrent_kernel_keeps():
    assert outcome(RULE, recurrent(0.7, activation="relu")).finding is None


def test_a_run_recorded_from_later_on_is_not_applicable():
    log = net(0.01)
    assert outcome(RULE, replace(log, steps=log.steps + 5)).status == "not applicable"


def test_weights_that_take_less_than_the_sigmoids_do_are_a_note():
    """64 units: 0.05 takes a factor of 2.5 a layer, a sigmoid one of 4; 0.01 takes 12.5."""
    assert outcome(RULE, net(0.05, activation="sigmoid")).finding.severity == "info"
    assert outcome(RULE, net(0.05, activation="tanh")).finding.severity == "high"
    assert outcome(RULE, net(0.01, activation="sigmoid")).finding.severity == "high"
