"""The expected effect is a number that theory gives, and it is what the changed model then has."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.prescription import Effect, Prescription
from kgrad.prescription.initializer import prescribe_initializer
from kgrad.reporters.text import render_text

from ..diagnosis.rules.cases import deep
from .test_knobs import answers, creeping, named, penalised

SICK = Finding("poor-initialization", "high", "it fades.")


def test_an_effect_survives_json_and_old_files_have_none():
    effect = Effect("a", 1.0, 2.0, "1", "somebody 2000")
    prescription = Prescription("knob", (), "", "", "", "", "rule", effect=effect)
    data = prescription.to_dict()
    assert Prescription.from_dict(data) == prescription
    del data["effect"]
    assert Prescription.from_dict(data).effect is None


def test_sigmoids_pass_a_fourth_each_on_at_most():
    first = named("vanishing-gradient", deep(layers=9, activation="sigmoid"))[0]
    assert first.effect.before == pytest.approx(0.25**8)
    assert first.effect.after == 1


def test_the_initializer_s_effect_is_what_the_weights_do_to_a_signal():
    spread, layers = 0.01, 4
    norms = np.zeros((200, 2 * layers))
    norms[:, ::2] = spread * 8  # kernels of 8 x 8 with that root mean square
    effect = prescribe_initializer(deep(layers=layers, activation="linear", weight_norm=norms), SICK).effect
    random, sizes = np.random.default_rng(0), []
    for _ in range(500):
        signal = random.normal(size=8)
        begin = float(np.sum(signal**2))
        for _ in range(layers - 1):  # the output layer is left alone
            signal = signal @ random.normal(0, spread, (8, 8))
        sizes.append(float(np.sum(signal**2)) / begin)
    assert effect.before == pytest.approx(math.sqrt(np.mean(sizes)), rel=0.3)
    assert effect.after == 1


def test_a_rate_moves_the_weights_in_proportion():
    offered = answers(creeping(), "learning-rate-too-low")
    (rate,) = [each for each in offered if each.knob == "learning_rate"]
    factor = rate.settings["learning_rate"] / float(rate.before)
    assert rate.effect.after / rate.effect.before == pytest.approx(factor, rel=0.05)
    adam = offered[0]
    assert adam.settings["optimizer"] == "Adam"
    assert adam.effect.after == adam.settings["learning_rate"]


def test_a_penalty_goes_with_its_strength():
    (offered,) = answers(penalised("L2"), "over-regularised")
    assert offered.effect.after == pytest.approx(0.01)
    assert offered.effect.before > 1


def test_orthogonal_matrices_have_half_the_largest_singular_value():
    chain = named("vanishing-gradient", deep(layers=12, activation="tanh"))
    effect = next(each for each in chain if "Orthogonal" in each.after).effect
    random = np.random.default_rng(0).normal(0, 1 / math.sqrt(200), (200, 200))
    orthogonal = np.asarray(keras.initializers.Orthogonal(seed=0)((200, 200)))
    largest = [np.linalg.svd(each, compute_uv=False)[0] for each in (random, orthogonal)]
    assert effect.before / effect.after == pytest.approx(largest[0] / largest[1], rel=0.05)


def test_every_effect_has_finite_numbers_and_a_source():
    log = deep(layers=12, activation="sigmoid", weight_norm=np.full((200, 24), 1e-2))
    log = replace(log, info={**log.info, "fit": {"epochs": 5, "steps_per_epoch": 40}})
    rules = ("vanishing-gradient", "exploding-gradient", "saturated-activation", "saddle-point", "slow-convergence")
    known = [each.effect for rule in rules for each in named(rule, log, path=0.1) if each.effect is not None]
    assert len(known) > 8
    for effect in known:
        assert math.isfinite(effect.before)
        assert math.isfinite(effect.after)
        assert effect.source
        assert effect.before != effect.after


def test_reports_show_the_effect():
    log = deep(layers=9, activation="sigmoid", decades=5.0)
    seen = kgrad.examine(log)
    offered = tuple(named("vanishing-gradient", log))
    said = "gradient that 8 activations pass on, at most"
    assert f"expected: {said}: 1.53e-05 -> 1" in render_text(log, seen.diagnosis, offered)
    assert said in kgrad.render(replace(seen, prescriptions=offered))
    assert said in kgrad.render(replace(seen, prescriptions=offered), "json")
