from dataclasses import replace

import numpy as np
import pytest

from .cases import deep, outcome, scaled

NOISE = 0.02 * np.random.default_rng(2).normal(size=400)


def run(loss):
    return deep(steps=400, loss=loss + NOISE)


def then(*pieces):
    return np.concatenate([np.linspace(a, b, n) for a, b, n in pieces])


LEFT = then((2.3, 2.3, 200), (2.3, 0.5, 100), (0.5, 0.4, 100))
CONVERGED = then((2.3, 0.3, 100), (0.3, 0.3, 300))
NEVER = then((2.5, 2.3, 10), (2.3, 2.3, 390))


def test_a_stretch_that_the_loss_leaves_later():
    said = outcome("plateau", run(LEFT)).finding
    assert said.severity == "medium"
    assert said.last_step == pytest.approx(200, abs=45)  # windows look a tenth of the run, 40 steps, ahead


def test_a_run_that_never_learns():
    assert outcome("plateau", run(NEVER)).finding.severity == "high"


def test_a_descent_onto_the_constant_answer_does_not_hide_that_the_run_stands_there():
    """Two classes: the loss comes down from a bump and stays at log 2."""
    said = outcome("plateau", of_two_classes(then((0.72, 0.85, 40), (0.85, 0.7, 80), (0.693, 0.693, 280)))).finding
    assert (said.severity, said.last_step) == ("high", 399)


@pytest.mark.parametrize(("ends", "text"), [(0.6, "then fell by"), (0.67, "never left it")], ids=["beyond", "within"])
def test_a_run_that_ends_as_it_leaves_the_constant_answer(ends, text):
    """By less than would show that a stretch anywhere else was no minimum."""
    log = of_two_classes(then((0.71, 0.693, 40), (0.693, 0.693, 200), (0.693, ends, 160)))
    assert text in outcome("plateau", log).finding.summary


def of_two_classes(loss):
    log = deep(steps=400, loss=loss + 0.25 * NOISE)
    known = replace(log.structure.layers[-1], activation="sigmoid", units=1)
    model = replace(log.structure, layers=(*log.structure.layers[:-1], known))
    return replace(log, structure=model, info={**log.info, "loss": "binary_crossentropy"})


def test_a_run_that_begins_to_leave_is_less_grave():
    """It falls by 1 % over the last half, far beyond its noise."""
    leaving = then((2.3, 2.3, 200), (2.3, 2.25, 200)) + 0.01 * NOISE
    assert outcome("plateau", deep(steps=400, loss=leaving)).finding.severity == "medium"


def test_convergence_is_none():
    assert outcome("plateau", run(CONVERGED)).status == "clear"


def test_steady_progress_is_none():
    assert outcome("plateau", run(then((2.3, 0.2, 400)))).status == "clear"


@pytest.mark.parametrize("seed", range(3))
def test_steady_progress_under_noise_that_hides_it_is_none(seed):
    """No window falls by more than its noise, but what comes behind is no faster."""
    noise = 0.1 * np.random.default_rng(seed).normal(size=200)
    steady = np.concatenate([np.linspace(0.7, 0.55, 40), np.linspace(0.55, 0.38, 160)])
    assert outcome("plateau", deep(steps=200, loss=steady + noise)).status == "clear"


def test_a_slow_exponential_is_none():
    assert outcome("plateau", run(2.3 * np.exp(-np.arange(400) / 100))).status == "clear"


@pytest.mark.parametrize("factor", [1e-4, 1e4])
@pytest.mark.parametrize("loss", [LEFT, NEVER, CONVERGED])
def test_a_factor_on_the_loss_changes_nothing(loss, factor):
    one, other = (outcome("plateau", log) for log in (run(loss), scaled(run(loss), factor)))
    assert one.status == other.status
    if one.finding:
        assert (one.finding.first_step, one.finding.last_step) == (other.finding.first_step, other.finding.last_step)


def test_few_steps_are_not_applicable():
    assert outcome("plateau", deep(steps=20)).status == "not applicable"


def test_a_model_without_activations_is_named_as_one_linear_map():
    log = deep(steps=400, loss=NEVER + NOISE, activation="linear")
    said = outcome("plateau", log).finding
    assert said.details["kind"] == "linear"
    assert said.layers == tuple(f"dense_{i}" for i in range(7))
    assert "one linear map" in said.summary
    assert outcome("plateau", run(NEVER)).finding.details.get("kind") is None


def test_a_softmax_in_hidden_layers_is_named():
    log = deep(steps=400, loss=NEVER + NOISE, activation="softmax")
    said = outcome("plateau", log).finding
    assert (said.details["kind"], said.layers) == ("softmax", tuple(f"dense_{i}" for i in range(7)))
    assert "compete in a softmax" in said.summary
    first, second, *others = log.structure.layers
    gated = replace(log.structure, layers=(first, replace(second, inbound=()), *others))  # others may read it as a gate
    assert not gated.softmax_layers


def test_a_pooling_by_maximum_is_no_linear_map():
    log = deep(steps=400, loss=NEVER + NOISE, activation="linear")
    layers = list(log.structure.layers)
    layers[1] = replace(layers[1], class_name="MaxPooling2D")
    assert not replace(log.structure, layers=tuple(layers)).linear_layers
