"""`apply` makes the change that the code makes: layer by layer and in the optimizer."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.batch import BatchFacts
from kgrad.prescription import prescribe
from kgrad.prescription.prescribe import KNOBS
from kgrad.prescription.together import parts_of
from kgrad.treatment import apply
from kgrad.treatment.fitting import fit_arguments, of_model

from ..diagnosis.rules.cases import deep
from ..log.factory import structure

LAYERS = 10
DETAILS = {
    "learning-rate-too-high": {"learning_rate": 0.05, "suggested": 0.005},
    "learning-rate-too-low": {"learning_rate": 0.05, "suggested": 0.5, "ratio": 1e-4},
    "output-loss-mismatch": {"output": "dense_9", "activation": "tanh", "loss": "mse", "fix": {"activation": "linear"}},
    "noisy-gradient": {"ratio": 100.0, "batch": 32},
    "slow-convergence": {"path": 0.1},
    "vanishing-gradient": {"total_decades": 5.0, "decades_per_layer": 0.5},
}
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.05, "clipnorm": 2.0}}


def model_of(activation):
    model = keras.Sequential([keras.Input((4,))])
    for place in range(LAYERS):
        model.add(layers.Dense(4, activation=activation, name=f"dense_{place}"))
    model.compile(keras.optimizers.SGD(0.05, clipnorm=2.0), "mse")
    return model


def offered(rule, activation):
    """What is prescribed for the rule where weights are too small and few, and few updates were planned."""
    log = deep(layers=LAYERS, activation=activation, weight_norm=np.full((200, 2 * LAYERS), 0.04))
    log = replace(log, structure=structure(LAYERS, 4, activation))
    rows = np.random.default_rng(0).normal(size=(64, 4))
    facts = BatchFacts.of("given", {"": rows}, {"": rows[:, :1]}).to_dict()
    fit = {"epochs": 3, "steps_per_epoch": 20}
    log = replace(log, info={**log.info, "optimizer": SGD, "loss": "mse", "fit": fit, "batch": facts})
    finding = Finding(rule, "high", "it is sick.", layers=("dense_1", "dense_2"), details=DETAILS.get(rule, {}))
    outcome = kgrad.diagnosis.Outcome(rule, "found", finding=finding)
    return prescribe(log, replace(kgrad.diagnose(log), outcomes=(outcome,)))


def layers_of(code):
    """Layers that the code makes, by the names its comments give; `a ... b, n layers` is left out."""
    for line in code.splitlines():
        made = re.fullmatch(r"(keras\.layers\.Dense\(.*\))  # (.*)", line)
        if made and "..." not in made[2]:
            for name in made[2].split(", "):
                yield name, eval(made[1], {"keras": keras})


def plain(config, *names):
    """These settings of a layer or an optimizer, the seeds of initializers aside."""

    def unseeded(value):
        return {k: unseeded(v) for k, v in value.items() if k != "seed"} if isinstance(value, dict) else value

    return {name: unseeded(config[name]) for name in names if name in config}


def settings(optimizer):
    """The configuration of an optimizer; its rate is kept in single precision."""
    config = {**optimizer.get_config(), "name": type(optimizer).__name__}
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in config.items()}


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("rule", sorted({name for name in KNOBS if ":" not in name}))
def test_apply_does_what_the_code_does(rule, activation):
    model = model_of(activation)
    for each in offered(rule, activation):
        if of_model(each) is None or each.knob in ("epochs", "learning_rate_schedule", "loss_scaling", "data_cleaning"):
            continue
        if "perturbation" in each.settings or "Normalization(" in each.code:
            continue  # pushes trained weights; a place between layers is tested with the rewiring
        cured = apply(model, each, seed=0)
        for name, made in layers_of(each.code):
            names = ("units", "activation", "use_bias", "kernel_initializer", "bias_initializer")
            assert plain(cured.get_layer(name).get_config(), *names) == plain(made.get_config(), *names), each.code
        if "optimizer = " in each.code:
            space = {"keras": keras}
            exec(next(line for line in each.code.splitlines() if line.startswith("optimizer = ")), space)
            assert settings(cured.optimizer) == settings(space["optimizer"]), each.code
        else:
            assert settings(cured.optimizer) == settings(model.optimizer)


@pytest.mark.parametrize("rule", ["vanishing-gradient", "slow-convergence", "learning-rate-too-low"])
def test_fit_arguments_are_what_the_code_calls_fit_with(rule):
    first = offered(rule, "sigmoid")[0]
    call = first.code[first.code.index("model.fit(") :]
    seen = {}

    class Model:
        def fit(self, x, y, **arguments):
            seen.update(arguments)

    exec(call, {"model": Model(), "keras": keras, "x": 0, "y": 0})
    mine = fit_arguments(first, epochs=3)
    assert seen["epochs"] == mine["epochs"] == 30
    (theirs,), (own,) = seen["callbacks"], mine["callbacks"]
    assert (theirs.monitor, theirs.patience, theirs.restore_best_weights) == (
        own.monitor,
        own.patience,
        own.restore_best_weights,
    )
    assert any(part.knob == "epochs" for part in parts_of([first]))
