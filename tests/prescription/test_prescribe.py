"""Prescriptions come from the run's own numbers, say why, and are code that runs."""

from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.structure import Layer
from kgrad.prescription import prescribe
from kgrad.prescription.clipping import prescribe_clipping
from kgrad.prescription.code import number, optimizer_code
from kgrad.prescription.gains import gain, initializer
from kgrad.prescription.initializer import prescribe_initializer
from kgrad.prescription.layer_code import layer_code, layers_code
from kgrad.prescription.learning_rate import TARGET_RATIO, prescribe_higher_rate, prescribe_lower_rate

from ..diagnosis.rules.cases import deep

SICK = Finding("exploding-gradient", "high", "it explodes.", first_step=100, last_step=199)


def weights(spread, steps=200, layers=8):
    """Weight norms of a chain of 8-unit layers whose kernels start with this spread."""
    norm = np.zeros((steps, 2 * layers))
    norm[:, ::2] = spread * 8
    return norm


def test_an_initializer_is_judged_by_its_measured_spread():
    right = gain("relu") / 8**0.5
    assert prescribe_initializer(deep(weight_norm=weights(right)), SICK) is None
    offered = prescribe_initializer(deep(weight_norm=weights(0.05 * right)), SICK)
    assert offered.evidence[0].value == pytest.approx(0.05)
    assert "20 times too small" in offered.why
    assert '"he_normal"' in offered.code
    assert "dense_7" not in offered.target  # the output layer is left alone


def test_weights_that_are_all_zero_are_the_worst_start():
    offered = prescribe_initializer(deep(weight_norm=weights(0.0)), SICK)
    assert "zero" in offered.why
    assert '"he_normal"' in offered.code
    assert len(offered.target) == 7
    assert offered.evidence[0].value == 0


@pytest.mark.parametrize(("activation", "wanted"), [("tanh", "glorot"), ("selu", "lecun"), ("relu", "he_normal")])
def test_the_initializer_suits_the_activation(activation, wanted):
    offered = prescribe_initializer(deep(activation=activation, weight_norm=weights(9.0)), SICK)
    assert wanted in offered.after
    assert wanted in initializer(activation)


@pytest.mark.parametrize(("layers", "knob"), [(8, "activation"), (5, "initializer")])
def test_wrong_weights_of_many_saturating_layers_give_way_with_their_activation(layers, knob):
    log = deep(layers=layers, activation="tanh", weight_norm=np.full((200, 2 * layers), 0.01))
    finding = Finding("poor-initialization", "high", "they are small.")
    outcome = kgrad.diagnosis.Outcome(finding.rule, "found", finding=finding)
    first = prescribe(log, replace(kgrad.diagnose(log), outcomes=(outcome,)))[0]
    assert first.knob == knob
    assert ("elu" in first.after) is (knob == "activation")


def test_a_run_that_does_not_begin_at_its_start_has_no_first_weights():
    log = deep(weight_norm=weights(9.0))
    assert prescribe_initializer(replace(log, steps=log.steps + 5), SICK) is None


def test_a_bound_lies_where_nine_in_ten_healthy_steps_go_free():
    norms = np.ones((200, 16))
    norms[:100] = np.linspace(0.5, 1.5, 100)[:, None]
    norms[100:] = 1e5
    log = deep(gradient_norm=norms, global_norm=norms[:, 0])
    phases = (kgrad.diagnosis.Phase("healthy", 0, 99), kgrad.diagnosis.Phase("exploding", 100, 199))
    offered = prescribe_clipping(log, SICK, replace(kgrad.diagnose(log), phases=phases))
    assert offered.settings["clipnorm"] == pytest.approx(1.4)
    assert offered.evidence[0].value == pytest.approx((norms.max(axis=1) > 1.4).mean())
    assert "clipnorm=1.4" in offered.code
    caught = next(row for row in offered.evidence if "spikes" in row.label)
    assert caught.value == 1
    assert "100 spikes" in caught.label


def test_without_a_healthy_step_the_bound_follows_from_weights_and_rate():
    log = deep(weight_norm=weights(0.25), global_norm=np.full(200, 1e5))
    phases = (kgrad.diagnosis.Phase("exploding", 0, 199),)
    offered = prescribe_clipping(log, SICK, replace(kgrad.diagnose(log), phases=phases))
    assert offered.settings["clipnorm"] == pytest.approx(TARGET_RATIO * 2.0 / 0.01)


@pytest.mark.parametrize(("ratio", "knob"), [(0.3, prescribe_lower_rate), (1e-5, prescribe_higher_rate)])
def test_a_rate_is_moved_towards_a_sound_update_ratio(ratio, knob):
    log = deep(update_norm=np.full((200, 16), 2.0 * ratio))
    offered = knob(log, SICK)
    factor = offered.settings["learning_rate"] / 0.01
    assert factor == pytest.approx(np.clip(TARGET_RATIO / ratio, 1e-3, 10), rel=0.05)
    assert f"learning_rate={offered.settings['learning_rate']!r}" in offered.code


def test_a_rate_is_not_moved_the_wrong_way():
    assert prescribe_lower_rate(deep(update_norm=np.full((200, 16), 1e-6)), SICK) is None
    assert prescribe_higher_rate(deep(update_norm=np.full((200, 16), 1.0)), SICK) is None


def curved(largest, optimizer="SGD", **columns):
    log = deep(**columns)
    info = {**log.info, "optimizer": {"class_name": optimizer, "config": {"learning_rate": 0.01, "momentum": 0.5}}}
    table = {"step": np.array([1, 150]), "largest": np.array([largest, 1e12])}
    return replace(log, info=info, tables={"curvature": table})


def test_a_rate_stays_within_what_the_curvature_before_the_disease_allows():
    crawling = np.full((200, 16), 2e-5)
    free = prescribe_higher_rate(curved(1.0, update_norm=crawling), SICK)
    held = prescribe_higher_rate(curved(30.0, update_norm=crawling), SICK)
    assert free.settings["learning_rate"] == pytest.approx(0.1)
    assert held.settings["learning_rate"] == pytest.approx(1.5 / 30)
    assert held.evidence[1].value == pytest.approx(30)
    assert prescribe_higher_rate(curved(1e4, update_norm=crawling), SICK) is None
    assert prescribe_higher_rate(curved(1e4, "Adam", update_norm=crawling), SICK) is not None
    racing = np.full((200, 16), 2.0)
    assert prescribe_lower_rate(curved(1e6, update_norm=racing), SICK).settings["learning_rate"] == pytest.approx(
        1.5e-6
    )


def test_a_schedule_is_left_alone():
    log = deep(update_norm=np.full((200, 16), 1.0))
    schedule = {"class_name": "CosineDecay", "config": {}}
    info = {**log.info, "optimizer": {"class_name": "SGD", "config": {"learning_rate": schedule}}}
    assert prescribe_lower_rate(replace(log, info=info), SICK) is None


def test_the_wrapped_optimizer_is_the_one_to_change():
    inner = {"class_name": "Adam", "config": {"learning_rate": 0.001, "beta_1": 0.5, "name": "adam"}}
    info = {"optimizer": {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": inner}}}
    inside = "keras.optimizers.Adam(learning_rate=0.001, beta_1=0.5, clipnorm=1.0)"
    assert optimizer_code(info, clipnorm=1.0) == f"keras.optimizers.LossScaleOptimizer({inside})"


def test_the_code_of_a_layer_keeps_what_it_is():
    convolution = Layer(
        "c", "Conv2D", 0, "relu", config={"filters": 8, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
    )
    assert layer_code(convolution) == 'keras.layers.Conv2D(8, (3, 3), padding="same", activation="relu")'


def test_layers_of_one_kind_share_a_line_and_a_name_cannot_leave_the_comment():
    layers = [Layer(f"d{i}\nimport os", "Dense", i, "relu", config={"units": 4}) for i in range(6)]
    code = layers_code((layer, {"kernel_initializer": '"he_normal"'}) for layer in layers)
    assert len(code.splitlines()) == 1
    assert code.endswith("6 layers")


def test_a_number_is_short():
    assert number(0.0123456) == "0.012"


def test_a_symptom_gets_no_cure_of_its_own_where_its_cause_has_one():
    loss = 2.3 + 0.01 * np.random.default_rng(1).normal(size=200)
    examination = kgrad.examine(deep(decades=8, activation="sigmoid", loss=loss))
    assert {finding.rule for finding in examination.diagnosis.findings} == {"vanishing-gradient", "plateau"}
    assert {each.finding for each in examination.prescriptions} == {"vanishing-gradient"}
