"""What a constant answer gets, against the best constant found by search over the same targets."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from kgrad.diagnosis import diagnose
from kgrad.diagnosis.skill import constant_answer, harm, skill
from kgrad.log.batch import BatchFacts

from .rules.cases import deep
from .rules.test_unscaled_inputs import PIXELS, case

RANDOM = np.random.default_rng(4)
RARE = (RANDOM.random((240, 1)) < 0.1).astype(float)
SEVERAL = (RANDOM.random((240, 5)) < np.linspace(0.05, 0.6, 5)).astype(float)
VALUES = RANDOM.normal([3.0, -1.0], [2.0, 0.5], (240, 2))
ONE_HOT = np.eye(3)[RANDOM.choice(3, 240, p=[0.8, 0.15, 0.05])]


def crossed(answer, targets):
    p = 1 / (1 + np.exp(-answer))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()


def classed(answer, targets):
    return -(targets * (answer - np.log(np.exp(answer).sum()))).sum(axis=1).mean()


def squared(answer, targets):
    return ((targets - answer) ** 2).mean()


def absolute(answer, targets):
    return np.abs(targets - answer).mean()


@pytest.mark.parametrize(
    ("name", "targets", "loss"),
    [
        ("binary_crossentropy", RARE, crossed),
        ("binary_crossentropy", SEVERAL, crossed),
        ("binary_crossentropy", ONE_HOT, crossed),
        ("categorical_crossentropy", ONE_HOT, classed),
        ("mse", VALUES, squared),
        ("mae", VALUES, absolute),
    ],
)
def test_no_constant_answer_is_better(name, targets, loss):
    units = targets.shape[1]
    start = np.zeros(units) if loss in (crossed, classed) else targets.mean(axis=0)
    best = minimize(loss, start, args=(targets,), method="Nelder-Mead", options={"maxiter": 4000}).fun
    log = case(np.ones((240, 2)), targets=targets, loss=name, units=units)
    assert constant_answer(log) == pytest.approx(best, rel=0.02)


def test_class_numbers_count_as_their_rows_of_one_do():
    sparse = case(np.ones((240, 2)), targets=ONE_HOT.argmax(axis=1), loss="sparse_categorical_crossentropy")
    dense = case(np.ones((240, 2)), targets=ONE_HOT, loss="categorical_crossentropy")
    assert constant_answer(sparse) == pytest.approx(constant_answer(dense))
    assert constant_answer(sparse) < 0.7 * np.log(3)


def test_rows_too_few_to_tell_the_shares_of_the_classes_count_them_as_equal():
    few = case(np.ones((20, 2)), targets=np.zeros(20, int), loss="sparse_categorical_crossentropy")
    assert constant_answer(few) == pytest.approx(np.log(3))


def test_targets_that_are_no_probabilities_have_no_known_answer():
    signs = case(np.ones((64, 2)), targets=np.sign(VALUES[:64, :1]), loss="binary_crossentropy", units=1)
    assert constant_answer(signs) is None


def test_skill_is_measured_from_the_constant_answer():
    assert constant_answer(case(PIXELS)) == pytest.approx(np.log(3))
    assert skill(case(PIXELS, curve=np.full(100, np.log(3) / 4))) == pytest.approx(0.75)
    assert skill(case(PIXELS, loss="my_own_loss")) is None


@pytest.mark.parametrize("weights", [1e-4, [1e-4], {"dense_1": 1e-4}])
def test_a_weight_on_the_loss_changes_no_skill(weights):
    log = case(PIXELS, curve=np.full(100, 1e-4 * np.log(3) / 4))
    assert skill(replace(log, info={**log.info, "loss_weights": weights})) == pytest.approx(0.75)


def test_the_size_of_a_summed_loss_is_not_known():
    summed = {"class_name": "SparseCategoricalCrossentropy", "config": {"reduction": "sum"}}
    assert skill(case(PIXELS, loss=summed)) is None


def test_a_perfect_answer_to_soft_targets_has_learned_everything():
    teacher = RANDOM.dirichlet([2.0] * 3, 240)
    floor = float(-(teacher * np.log(teacher)).sum(axis=1).mean())
    log = case(np.ones((240, 2)), targets=teacher, loss="categorical_crossentropy")
    reached = replace(log, columns={**log.columns, "loss": np.full(100, floor)})
    assert skill(reached) == pytest.approx(1.0)
    ignored = replace(log, columns={**log.columns, "loss": np.full(100, constant_answer(log))})
    assert skill(ignored) == pytest.approx(0.0)


def test_smoothed_labels_have_a_floor():
    loss = {"class_name": "CategoricalCrossentropy", "config": {"label_smoothing": 0.2}}
    smoothed = 0.8 * ONE_HOT + 0.2 / 3
    floor = float(-(smoothed * np.log(smoothed)).sum(axis=1).mean())
    log = case(np.ones((240, 2)), targets=ONE_HOT, loss=loss)
    assert skill(replace(log, columns={**log.columns, "loss": np.full(100, floor)})) == pytest.approx(1.0)


def test_rows_of_unequal_weight_have_no_known_answer():
    log = case(PIXELS)
    for weights, known in ((np.ones(64), True), (np.full(64, 0.01), False)):
        facts = BatchFacts.of("given", {"": PIXELS}, {"": np.zeros(64)}, {"": weights}).to_dict()
        weighted = replace(log, info={**log.info, "batch": facts})
        assert (constant_answer(weighted) is not None) is known


@pytest.mark.parametrize("offset", [-10.0, 10.0, 50.0])
def test_nobody_knows_how_far_a_loss_of_ones_own_can_fall(offset):
    """A contrastive loss, an ELBO: a small share of it may be all there is, so it is never grave."""
    noise = 0.02 * np.random.default_rng(3).normal(size=200)
    falling = deep(loss=np.geomspace(2.3, 0.1, 200) + noise + offset)
    assert harm(falling) != "high"
    assert not [each for each in diagnose(falling).findings if each.severity != "info"]
    assert harm(deep(loss=np.full(200, 2.3) + noise + offset)) == "high"


def little(share, whole=True, noise=0.02, steps=200):
    """A run that falls to a few percent under the constant answer of two equal classes, and stays."""
    targets = np.repeat([0.0, 1.0], 500)
    curve = np.log(2) * (1 - share * np.minimum(np.arange(steps) / 60, 1))
    log = case(np.ones((1000, 2)), targets=targets, loss="binary_crossentropy", units=1)
    log = replace(log, columns=deep(steps=steps).columns, steps=deep(steps=steps).steps)
    losses = curve + noise * np.random.default_rng(1).normal(size=steps)
    facts = BatchFacts.of("training arrays", {"": np.ones((1000, 2))}, {"": targets}).to_dict()
    info = {**log.info, "data": facts} if whole else log.info
    return replace(log, info=info, columns={**log.columns, "loss": losses})


def test_the_few_percent_that_there_are_to_learn_are_no_grave_harm():
    """As in click rates and prices: nobody knows that there is more."""
    assert harm(little(0.05)) == "medium"
    assert not [each for each in diagnose(little(0.05)).findings if each.rule == "plateau"]


@pytest.mark.parametrize("share", [0.0, 0.01, -0.05])
def test_what_stands_at_the_constant_answer_is_stuck(share):
    assert harm(little(share)) == "high"
    assert "plateau" in [each.rule for each in diagnose(little(share)).findings]


def test_noise_is_no_learning():
    assert harm(little(0.03, noise=0.05)) == "high"


def test_all_data_count_before_the_first_batch():
    """The first batch of sorted targets hardly varies: what is learned of the whole is not measured against it."""
    targets = np.linspace(-3, 3, 400)[:, None]
    log = case(np.ones((32, 2)), targets=targets[:32], loss="mse", units=1, curve=np.full(100, 0.6))
    assert skill(log) < 0
    facts = BatchFacts.of("training arrays", {"": np.ones((400, 2))}, {"": targets}).to_dict()
    assert skill(replace(log, info={**log.info, "data": facts})) == pytest.approx(0.8, abs=0.05)
