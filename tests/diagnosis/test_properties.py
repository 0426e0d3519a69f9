"""What must not change a verdict: a factor on the loss, float16 with loss scaling, the width of the model."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import kgrad
from kgrad.diagnosis import diagnose
from kgrad.diagnosis.finding import SEVERITIES

from .rules import (
    test_exploding_gradient,
    test_learning_rate_too_high,
    test_learning_rate_too_low,
    test_over_regularised,
    test_plateau,
    test_saddle_point,
    test_slow_convergence,
)
from .rules.cases import deep
from .transforms import in_float16, twice_as_wide, with_loss_times

FALLING = np.geomspace(2.3, 0.1, 200)


def explodes(dies=False):
    """From a loss that stood: what was never learned cannot be lost again, which is another disease."""
    log = test_exploding_gradient.exploding(dies=dies)
    loss = np.concatenate([np.full(100, 2.3), 2.3 * np.geomspace(1, 1e3, 100)])
    return replace(log, columns={**log.columns, "loss": np.where(np.isfinite(log["loss"]), loss, np.nan)})


# Each run and the rule that names its cause, `None` for a healthy one.
RUNS = {
    "healthy": (deep(loss=FALLING), None),
    "vanishing": (deep(decades=8, loss=np.full(200, 2.3)), "vanishing-gradient"),
    "exploding": (explodes(), "exploding-gradient"),
    "dies": (explodes(dies=True), "exploding-gradient"),
    "plateau, left": (test_plateau.run(test_plateau.LEFT), "plateau"),
    "plateau, never left": (test_plateau.run(test_plateau.NEVER), "plateau"),
    "converged": (test_plateau.run(test_plateau.CONVERGED), None),
    "overshoot": (test_learning_rate_too_high.thrown(), "learning-rate-too-high"),
    "oscillation": (test_learning_rate_too_high.swinging(), "learning-rate-too-high"),
    "creeping": (test_learning_rate_too_low.creeping(), "learning-rate-too-low"),
    "short": (test_slow_convergence.run(np.linspace(2.3, 2.2, 40), 1e-3), "slow-convergence"),
    "penalised": (test_over_regularised.penalised(), "over-regularised"),
    "saddle": (test_saddle_point.run(), "saddle-point"),
}
every_run = pytest.mark.parametrize("name", RUNS)


def verdict(log, notes=True):
    """All that a reader acts on, without measured numbers."""
    said = diagnose(log)
    assert not [outcome for outcome in said.outcomes if outcome.status == "error"]
    found = [(f.rule, f.severity, f.caused_by, f.details.get("kind"), f.layers) for f in said.findings]
    found = [each for each in found if notes or each[1] != "info"]
    within = {name: [phase.name for phase in phases] for name, phases in said.layer_phases.items()}
    return found, [phase.name for phase in said.phases], within


@every_run
def test_the_run_has_the_disease_it_is_named_after(name):
    log, cause = RUNS[name]
    first = next((f for f in diagnose(log).findings if f.severity != "info"), None)
    assert (first.rule if first else None) == cause


@every_run
@settings(max_examples=8, deadline=None)
@given(decades=st.floats(-4, 4))
def test_a_factor_on_the_loss_under_adam(name, decades):
    log, _ = RUNS[name]
    assert verdict(with_loss_times(log, 10.0**decades)) == verdict(log)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_a_loss_whose_constant_answer_is_known(factor):
    model = deep().structure
    info = {**deep().info, "loss": "sparse_categorical_crossentropy", "fit": {"epochs": 20, "steps_per_epoch": 10}}
    head = replace(model.layers[-1], activation="softmax", units=10)
    model = replace(model, layers=(*model.layers[:-1], head))
    for loss in (FALLING, np.full(200, np.log(10.0))):
        log = replace(deep(loss=loss), info=info, structure=model)
        assert verdict(with_loss_times(log, factor)) == verdict(log)


@every_run
def test_float16_with_loss_scaling(name):
    """The same diseases; a note may come or go, since the skipped steps prolong the start of the run."""
    log, _ = RUNS[name]
    assert verdict(in_float16(log), notes=False) == verdict(log, notes=False)


@every_run
@pytest.mark.parametrize("adaptive", [True, False], ids=["adam", "sgd"])
def test_twice_the_width(name, adaptive):
    log, _ = RUNS[name]
    assert verdict(twice_as_wide(log, adaptive)) == verdict(log)


@settings(max_examples=25, deadline=None)
@given(decades=st.floats(0, 12), size=st.floats(-15, 0), seed=st.integers(0, 9))
def test_a_small_gradient_that_is_no_trouble_is_at_most_a_note(decades, size, seed):
    """Adam moves every layer by a hundredth of a percent and more, and the loss falls: nothing is wrong."""
    generator = np.random.default_rng(seed)
    loss = FALLING + 0.02 * generator.normal(size=200)
    log = deep(decades=decades, loss=loss, update_norm=0.004 * generator.lognormal(0, 0.2, (200, 16)))
    names = ("gradient_norm", "gradient_mean", "gradient_std", "gradient_max", "global_norm", "applied_global_norm")
    small = {name: log[name] * 10.0**size for name in names}
    findings = diagnose(replace(log, columns={**log.columns, **small})).findings
    assert not [finding.rule for finding in findings if SEVERITIES.index(finding.severity) > 0]


@pytest.mark.parametrize("name", sorted(set(RUNS) - {"short"}))  # 40 steps, which leave 10
def test_one_step_in_four(name):
    """As `GradientMonitor(every=4)` records it: the same cause, as grave."""
    log, cause = RUNS[name]
    found = [f for f in diagnose(log.only(steps=slice(None, None, 4))).findings if f.severity != "info"]
    whole = [f for f in diagnose(log).findings if f.severity != "info"]
    assert [each.rule for each in found[:1]] == ([cause] if cause else [])
    assert [each.severity for each in found[:1]] == [each.severity for each in whole[:1]]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_real_trainings(activation, tmp_path):
    """The same network on the same data under Adam: the loss as it is, 1e-4 and 1e4 of it, and twice the width."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 16)).astype("float32")
    y = (x @ generator.normal(size=(16, 3))).argmax(axis=1)

    def cause(factor=1.0, width=16):
        keras.utils.set_random_seed(1)
        hidden = [layers.Dense(width, activation=activation) for _ in range(10 if activation == "sigmoid" else 3)]
        model = keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(3, activation="softmax")])
        optimizer = keras.optimizers.Adam(3e-3, epsilon=1e-30)

        def loss(truth, predicted):
            return factor * keras.losses.sparse_categorical_crossentropy(truth, predicted)

        model.compile(optimizer, loss)
        monitor = kgrad.GradientMonitor(
            tmp_path / f"{factor:g}-{width}", report=False, verbose=0, strict=True, curvature="never"
        )
        model.fit(x, y, batch_size=32, epochs=6, verbose=0, callbacks=[monitor])
        diagnosis = monitor.examination.diagnosis
        return [finding.rule for finding in diagnosis.findings if finding.severity != "info"][:1]

    expected = cause()
    assert bool(expected) is (activation == "sigmoid")
    assert cause(1e-4) == expected
    assert cause(1e4) == expected
    assert cause(width=32) == expected
