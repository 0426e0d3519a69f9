from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis import Finding, diagnose
from kgrad.diagnosis.rule import Rule, find_rule
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer
from kgrad.prescription import prescribe
from kgrad.prescription.snippet import sections

from .cases import deep, outcome

RULE = "underfitting"
CONSTANT = np.log(8)  # eight classes, as the last layer of these logs has units


def run(end, steps=400, width=8, stands=0.5, planned=None, **columns):
    """A loss that falls from a constant answer's by this share and then stands; of layers so wide."""
    curve = CONSTANT * (1 - end * np.minimum(np.arange(steps) / (stands * steps), 1))
    curve += 0.01 * np.random.default_rng(1).normal(size=steps)
    log = deep(layers=3, steps=steps, loss=curve, **columns)
    labels = np.arange(160) % 8
    facts = BatchFacts.of("training arrays", {"": np.ones((160, 6))}, {"": labels}).to_dict()
    info = {**log.info, "loss": "sparse_categorical_crossentropy", "batch": facts, "data": facts}
    if planned:
        info["fit"] = {"epochs": planned, "steps_per_epoch": steps // planned}
    *hidden, last = log.structure.layers
    narrow = [replace(each, units=width, config={**each.config, "units": width}) for each in hidden]
    last = replace(last, activation="softmax", units=8)
    return replace(log, info=info, structure=replace(log.structure, layers=(*narrow, last)))


def test_little_learned_without_another_cause_or_a_reason_is_a_note():
    finding = outcome(RULE, run(0.3)).finding
    assert finding.severity == "info"
    assert "such data hold no more" in finding.summary
    assert finding.evidence[0].value == pytest.approx(0.3, abs=0.02)
    assert "falls no further" in finding.summary
    assert "still falls" in outcome(RULE, run(0.3, stands=1)).finding.summary


def test_half_is_enough():
    assert outcome(RULE, run(0.6)).status == "clear"


@pytest.mark.parametrize("severity", ["low", "info"])
def test_it_is_asked_where_no_other_rule_found_a_disease(severity):
    other = Rule("z-cause", ("loss",), (), (), (), lambda log: Finding("z-cause", severity, "It is."))
    said, last = diagnose(run(0.3, width=2), [find_rule(RULE), other]).outcomes
    assert last.rule == "z-cause"
    assert said.status == {"low": "not applicable", "info": "found"}[severity]


def test_nobody_knows_how_much_there_is_of_a_loss_of_ones_own():
    log = run(0.3)
    assert outcome(RULE, replace(log, info={**log.info, "loss": "my_own"})).status == "not applicable"


def test_a_layer_of_one_unit_gets_more():
    log = run(0.3, width=1)
    diagnosis = diagnose(log)
    (found,) = [each for each in diagnosis.findings if each.severity != "info"]
    assert (found.rule, found.severity) == (RULE, "low")
    assert "has 1 unit for 8 classes." in found.summary
    first = prescribe(log, diagnosis)[0]
    assert first.knob == "architecture"
    assert all(each["units"] == 16 for each in first.settings["layers"].values())


def test_inputs_that_are_given_back_pass_a_narrow_layer_on_purpose():
    log = run(0.3, width=2)
    rows = np.random.default_rng(0).normal(size=(160, 6))
    facts = BatchFacts.of("training arrays", {"": rows}, {"": rows}).to_dict()
    curve = log["loss"] / CONSTANT
    log = replace(log, info={**log.info, "loss": "mse", "batch": facts, "data": facts})
    assert outcome(RULE, replace(log, columns={**log.columns, "loss": curve})).finding.severity == "info"


def test_a_long_training_that_was_stopped_early_is_not_short():
    assert outcome(RULE, run(0.3, steps=60, planned=3)).finding.severity == "low"
    log = run(0.3, steps=60)
    planned = {"epochs": 10, "steps_per_epoch": 20}
    assert outcome(RULE, replace(log, info={**log.info, "fit": planned})).finding.severity == "info"


def test_layers_without_activation_get_one():
    log = run(0.3)
    layers = [replace(each, activation="linear") for each in log.structure.layers[:-1]]
    log = replace(log, structure=replace(log.structure, layers=(*layers, log.structure.layers[-1])))
    diagnosis = diagnose(log)
    found = next(each for each in diagnosis.findings if each.rule == RULE)
    assert (found.severity, found.layers) == ("low", ("dense_0", "dense_1"))
    assert "one linear map" in found.summary
    assert prescribe(log, diagnosis)[0].knob == "activation"


def test_a_softmax_in_a_hidden_layer_gives_way_to_a_rectifier():
    log = run(0.3)
    first, second, last = log.structure.layers
    log = replace(log, structure=replace(log.structure, layers=(first, replace(second, activation="softmax"), last)))
    diagnosis = diagnose(log)
    found = next(each for each in diagnosis.findings if each.rule == RULE)
    assert (found.severity, found.layers) == ("low", ("dense_1",))
    assert "dense_1 compete in a softmax" in found.summary
    offered = prescribe(log, diagnosis)[0]
    assert (offered.knob, offered.target, offered.settings["activation"]) == ("activation", ("dense_1",), "relu")


def test_an_activation_in_a_layer_of_its_own_is_changed_there():
    log = run(0.3)
    first, second, last = log.structure.layers
    bare, behind = replace(second, activation="linear"), Layer("act", "Softmax", 2, None, 8, ("dense_1",))
    layers = (first, bare, behind, replace(last, inbound=("act",)))
    log = replace(log, structure=replace(log.structure, layers=layers))
    code, _ = sections(prescribe(log, diagnose(log))[0].code)
    assert code[0].startswith("keras.layers.Dense(8, kernel_initializer=")
    assert "activation=" not in code[0]
    assert code[1] == 'keras.layers.Activation("relu")  # act'


def test_few_updates_get_more_even_where_noise_hides_that_the_loss_falls():
    log = run(0.3, steps=60, planned=3)
    first = prescribe(log, diagnose(log))[0]
    assert (first.finding, first.settings["epochs"]) == (RULE, 30)
