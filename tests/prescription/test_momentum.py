"""Momentum: enough for plain descent to arrive, no more than weights stand, nothing said where it is not known."""

from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.log.batch import BatchFacts
from kgrad.prescription import prescribe

from ..diagnosis.rules.cases import deep
from .test_knobs import LABELS, VALUES, named, runs_as_pasted


def descent(rate=0.01, epochs=10, scale=1.0, optimizer="SGD", **config):
    """A sick deep run by plain descent, 45 updates an epoch."""
    log = deep(layers=4, activation="sigmoid")
    given = {"class_name": optimizer, "config": {"learning_rate": rate, **config}}
    facts = BatchFacts.of("given", {"": scale * VALUES}, {"": LABELS}).to_dict()
    fit = {"epochs": epochs, "steps_per_epoch": 45}
    return replace(log, info={**log.info, "optimizer": given, "fit": fit, "batch": facts, "loss": "mse"})


def parts(log, rule="vanishing-gradient", **details):
    first = named(rule, log, **details)[0]
    return [part["settings"] for part in first.settings.get("parts", ())], first


def test_small_and_few_steps_of_descent_get_momentum_beside_the_cure():
    inside, first = parts(descent())
    assert inside[1] == {"momentum": 0.9, "nesterov": True}
    assert "450 steps at a rate of 0.01 add up to 4.5" in first.why
    assert runs_as_pasted(first)["optimizer"].momentum == pytest.approx(0.9)


def test_where_momentum_would_not_do_either_the_rate_becomes_the_usual_one_too():
    inside, first = parts(descent(rate=1e-4))
    assert inside[1] == {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01}
    assert float(runs_as_pasted(first)["optimizer"].learning_rate) == pytest.approx(0.01)


def test_a_rate_that_momentum_does_not_make_up_for_becomes_the_usual_one():
    inside, first = parts(descent(rate=1e-3, momentum=0.9))  # 450 * 0.001 / (1 - 0.9)
    assert inside[1] == {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01}
    assert "450 steps at a rate of 0.001 with a momentum of 0.9 add up to 4.5" in first.why


def test_a_rate_above_the_usual_one_comes_down_to_it_with_momentum():
    inside, _ = parts(descent(rate=0.02))  # 450 * 0.02 = 9; with momentum 45
    assert inside[1] == {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01}


def test_under_accumulation_an_update_is_several_batches():
    inside, _ = parts(descent(epochs=40, gradient_accumulation_steps=8))
    assert any("epochs" in each for each in inside)
    assert not any("epochs" in each for each in parts(descent(epochs=40))[0])


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 1000},
        {"rate": 0.1},
        {"momentum": 0.9},
        {"optimizer": "Adam"},
        {"scale": 100.0},
    ],
)
def test_it_is_left_out_where_it_is_not_needed_or_the_scale_is_another(other):
    inside, first = parts(descent(**other))
    assert not any("momentum" in each for each in inside)
    assert first.settings.get("momentum") is None


def test_an_answer_with_an_optimizer_of_its_own_keeps_it():
    inside, first = parts(descent(), "learning-rate-too-low", learning_rate=0.01, suggested=1.0, ratio=1e-5)
    assert first.settings["optimizer"] == "Adam"
    assert inside == []


def test_pushes_that_last_a_hundred_steps_are_brought_to_the_usual_ten():
    log = descent(rate=0.02, epochs=1000, momentum=0.99)
    first = named("exploding-gradient", log)[0]
    assert first.settings == {"momentum": 0.9}
    assert (first.effect.before, first.effect.after) == (pytest.approx(100), pytest.approx(10))
    runs_as_pasted(first)
    forever = named("exploding-gradient", descent(rate=0.02, epochs=1000, momentum=1.0))[0]
    assert (forever.settings, forever.effect) == ({"momentum": 0.9}, None)
    usual = named("exploding-gradient", descent(epochs=1000, momentum=0.9))
    assert all("momentum" not in each.settings for each in usual)


def test_a_first_step_that_threw_the_weights_is_the_rate_s_doing():
    details = {"kind": "overshoot", "learning_rate": 0.5, "suggested": 0.01}
    first = named("learning-rate-too-high", descent(rate=0.5, epochs=1000, momentum=0.99), **details)[0]
    assert first.knob == "learning_rate"


def test_what_grows_gets_no_larger_weights():
    small = descent(epochs=1000)
    norms = np.tile([1e-3, 0.0], (200, 4))
    small = replace(small, columns={**small.columns, "weight_norm": norms})
    assert "initializer" not in {each.knob for each in named("exploding-gradient", small)}
    assert "initializer" in {each.knob for each in named("poor-initialization", small)}


def test_a_rate_of_adam_that_hardly_moved_is_set_by_what_healthy_starts_have():
    log = descent(rate=2e-6, epochs=1000, optimizer="Adam")
    (rate,) = named("learning-rate-too-low", log, learning_rate=2e-6, suggested=1e-4, ratio=5e-6)
    assert rate.settings["learning_rate"] == pytest.approx(4e-3)


def test_prescribing_for_a_healthy_run_says_nothing_of_momentum():
    log = deep(layers=4)
    assert prescribe(log, replace(kgrad.diagnose(log), outcomes=())) == ()


def test_adam_s_rate_moves_a_narrow_layer_as_healthy_trainings_begin():
    wide = descent(1e-4, epochs=1000)
    sizes = np.array([variable.size for variable in wide.structure.variables], dtype=float)
    for spread, rate in ((0.03, 1e-3), (0.4, 4e-3), (9.0, 5e-3)):  # the last are sick: He's would be sqrt(2 / 8)
        norms = np.tile(spread * np.sqrt(sizes), (200, 1))
        log = replace(wide, columns={**wide.columns, "weight_norm": norms})
        first = named("learning-rate-too-low", log, learning_rate=1e-4, suggested=1.0, ratio=1e-5)[0]
        assert (first.settings["optimizer"], first.settings["learning_rate"]) == ("Adam", pytest.approx(rate))


SCHEDULE = {
    "class_name": "CosineDecay",
    "config": {
        "initial_learning_rate": 0.1,
        "decay_steps": 100,
        "alpha": 0.0,
        "name": "CosineDecay",
        "warmup_steps": 0,
    },
}


def test_a_schedule_is_written_out_and_runs_as_pasted():
    first = named("exploding-gradient", descent(rate=SCHEDULE, epochs=1000, momentum=0.99))[0]
    assert "keras.optimizers.schedules.CosineDecay(initial_learning_rate=0.1, decay_steps=100" in first.code
    made = runs_as_pasted(first)["optimizer"]
    assert made.momentum == pytest.approx(0.9)
    assert float(made.learning_rate) == pytest.approx(0.1)


def test_momentum_is_offered_beside_a_schedule_and_keeps_it():
    offered = [each for each in named("saddle-point", descent(rate=SCHEDULE)) if each.settings.get("momentum")]
    made = runs_as_pasted(offered[0])["optimizer"]
    assert (made.momentum, float(made.learning_rate)) == (pytest.approx(0.9), pytest.approx(0.1))


def test_of_an_optimizer_that_is_not_known_nothing_is_said():
    log = descent()
    unknown = replace(log, info={**log.info, "optimizer": None})
    assert not any("momentum" in each.settings for each in named("saddle-point", unknown))
