"""Phases: every step in one, where the change points lie, and that a thinned log has the same."""

from dataclasses import replace
from itertools import pairwise, product
from time import perf_counter

import numpy as np
import pytest

from kgrad.diagnosis.phases import PHASES, _smooth, layer_phases, model_phases

from .rules.cases import deep

NOISE = 0.02 * np.random.default_rng(5).normal(size=1200)
CURVES = {
    "learns": np.concatenate([np.geomspace(2.3, 0.2, 600), np.full(600, 0.2)]),
    "stands, then learns": np.concatenate([np.full(600, 2.3), np.linspace(2.3, 0.3, 300), np.full(300, 0.3)]),
    "never learns": np.full(1200, 2.3),
}


def run(name):
    return deep(steps=1200, loss=CURVES[name] + NOISE)


@pytest.mark.parametrize("name", CURVES)
def test_every_step_lies_in_one_phase(name):
    log = run(name)
    for phases in (model_phases(log), *layer_phases(log).values()):
        assert phases[0].first_step == 0
        assert phases[-1].last_step == log.steps[-1]
        assert all(b.first_step == a.last_step + 1 for a, b in pairwise(phases))
        assert all(phase.name in PHASES for phase in phases)
        assert all(a.name != b.name for a, b in pairwise(phases))


def names(log):
    return [phase.name for phase in model_phases(log)]


def test_what_they_are_called():
    assert names(run("learns"))[-1] == "converged"
    assert "plateau" not in names(run("learns"))
    assert names(run("stands, then learns"))[0] == "plateau"
    assert names(run("stands, then learns"))[-1] == "converged"
    assert names(run("never learns")) == ["plateau"]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("every", [2, 4])
def test_a_thinned_log_has_the_same_phases(name, every):
    whole, thin = run(name), run(name).only(steps=slice(None, None, every))
    one, other = model_phases(whole), model_phases(thin)
    assert [phase.name for phase in one] == [phase.name for phase in other]
    for a, b in zip(one, other, strict=True):
        assert a.first_step == pytest.approx(b.first_step, abs=0.08 * 1200)


def test_a_fall_from_a_bad_start_to_a_constant_answer_is_no_convergence():
    loss = np.concatenate([np.geomspace(60, np.log(10), 300), np.full(900, np.log(10))])
    log = deep(steps=1200, loss=loss + NOISE)
    head = replace(log.structure.layers[-1], activation="softmax", units=10)
    model = replace(log.structure, layers=(*log.structure.layers[:-1], head))
    assert names(log)[-1] == "converged"  # where the constant answer is not known
    known = replace(log, info={**log.info, "loss": "sparse_categorical_crossentropy"}, structure=model)
    assert names(known)[-1] == "plateau"


def test_gradients_that_agree_are_no_convergence():
    log = run("learns")
    agreeing = {**log.columns, "cosine": np.full((1200, 16), 0.8)}
    apart = {**log.columns, "cosine": np.zeros((1200, 16))}
    steady = sum(
        p.last_step - p.first_step + 1 for p in model_phases(replace(log, columns=agreeing)) if p.name == "converged"
    )
    noisy = sum(
        p.last_step - p.first_step + 1 for p in model_phases(replace(log, columns=apart)) if p.name == "converged"
    )
    assert steady < noisy


def test_the_segmentation_is_the_best_there_is():
    """No other segmentation has fewer disagreements and changes: all of a short run's are tried."""
    generator = np.random.default_rng(0)
    for _ in range(10):
        labels = generator.choice(PHASES[:3], 7)
        price = min(
            sum(a != b for a, b in zip(labels, other, strict=True)) + 1.25 * sum(a != b for a, b in pairwise(other))
            for other in product(PHASES[:3], repeat=7)
        )
        ours = _smooth(labels)
        mine = sum(a != b for a, b in zip(labels, ours, strict=True)) + 1.25 * sum(a != b for a, b in pairwise(ours))
        assert mine == pytest.approx(price)


def test_the_change_points_are_those_of_a_library():
    """ruptures finds the same change points of labels with two stray ones among them."""
    ruptures = pytest.importorskip("ruptures")
    generator = np.random.default_rng(0)
    for _ in range(20):
        lengths = generator.integers(8, 16, 3)
        labels = np.repeat(generator.permutation(PHASES[1:])[:3], lengths)
        stray = np.cumsum(lengths) - lengths // 2
        noisy = labels.copy()
        noisy[stray[:2]] = PHASES[0]
        ours = np.array(_smooth(noisy))
        mine = [i for i in range(1, len(ours)) if ours[i] != ours[i - 1]]
        indicator = (noisy[:, None] == np.array(PHASES)[None, :]).astype(float)
        theirs = ruptures.KernelCPD(kernel="linear", min_size=3).fit(indicator).predict(pen=2.5)[:-1]
        assert mine == [int(place) for place in theirs]


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_that_noise_hides_is_no_plateau(seed):
    """Few, noisy steps on the way down: no window is seen to fall, but neither is it seen to stand."""
    noise = 0.35 * np.random.default_rng(seed).normal(size=75)
    assert "plateau" not in names(deep(steps=75, loss=np.linspace(2.3, 0.6, 75) + noise))


@pytest.mark.parametrize("seed", range(5))
def test_noise_hides_no_plateau_of_a_run_that_learns_nothing(seed):
    noise = 0.35 * np.random.default_rng(seed).normal(size=75)
    assert "plateau" in names(deep(steps=75, loss=2.3 + noise))


def test_a_deep_and_long_run_takes_less_than_a_second():
    log = deep(layers=200, steps=2000)
    begin = perf_counter()
    model_phases(log)
    assert len(layer_phases(log)) == 200
    assert perf_counter() - begin < 1.0  # a tenth of it on two slow cores


def test_a_loss_that_goes_under_zero_is_not_converged_while_it_falls():
    found = names(deep(steps=1200, loss=np.linspace(0.1, -2.0, 1200) + NOISE))
    assert found == ["healthy"]
