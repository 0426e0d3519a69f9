"""Groups, tests, associations and minima, on batches whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kgrad.comparison import make_comparison
from kgrad.comparison.association import SICK, fisher
from kgrad.comparison.groups import interval
from kgrad.comparison.holm import holm
from kgrad.comparison.significance import rank_test
from kgrad.errors import KgradError

from .batch import seeds, summary


def test_seeds_are_pooled_and_other_settings_are_not():
    generator = np.random.default_rng(0)
    runs = [r for init in ("he", "glorot") for r in seeds(4, 1.0, 0.1, generator, initializer=init, depth=5)]
    comparison = make_comparison(runs)
    assert comparison.differing == ("initializer",)
    assert comparison.shared == {"depth": 5}
    assert [(g.label, len(g.values)) for g in comparison.groups] == [("he", 4), ("glorot", 4)]


def test_the_interval_is_students():
    values = (1.0, 2.0, 4.0)
    mean, std, low, high = interval(values)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (mean, std) == (pytest.approx(7 / 3), pytest.approx(np.std(values, ddof=1)))
    assert (low, high) == pytest.approx(expected)


def test_one_run_has_no_interval():
    assert math.isnan(interval((1.0,))[2])
    assert all(math.isnan(value) for value in interval((math.nan,)))


def test_a_diverged_training_is_counted_not_averaged():
    runs = [summary("a", 1.0, x=1), summary("b", math.nan, x=1, seed=1), summary("c", 2.0, x=2)]
    group = make_comparison(runs).groups[0]
    assert (group.mean, group.diverged) == (1.0, 1)


def test_a_run_that_did_not_finish_gives_no_value():
    runs = [summary("a", 1.0, x=1), summary("b", 9.0, x=1, seed=1, status="interrupted"), summary("c", 2.0, x=2)]
    comparison = make_comparison(runs)
    assert (comparison.groups[0].values, comparison.groups[0].left_out) == ((1.0,), 1)
    assert any("1 run did not finish" in sentence for sentence in comparison.verdict)


def test_the_same_training_twice_is_no_new_evidence():
    runs = [summary("a", 1.0, x=1), summary("b", 1.0, x=1), summary("c", 2.0, x=2), summary("d", 2.1, x=2)]
    comparison = make_comparison(runs)
    assert (len(comparison.groups[0].values), comparison.groups[0].copies) == (1, 1)
    assert "one finished run" in comparison.tests[0].refused


def test_no_test_without_a_second_seed():
    comparison = make_comparison([summary("a", 1.0, x=1), summary("b", 5.0, x=2)])
    assert comparison.tests == ()
    assert "no group has two" in comparison.tested


def test_welch_as_scipy_does_it_and_refused_at_one():
    runs = [
        summary(f"{x}{i}", loss, x=x, seed=i)
        for x, losses in ((1, (1.0, 1.1, 1.3)), (2, (2.0, 2.4, 2.2)), (3, (9.0,)))
        for i, loss in enumerate(losses)
    ]
    first, *others = make_comparison(runs).tests
    expected = stats.ttest_ind((2.0, 2.4, 2.2), (1.0, 1.1, 1.3), equal_var=False)
    assert first.p == pytest.approx(expected.pvalue)
    assert (first.low, first.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert first.difference == pytest.approx(2.2 - 3.4 / 3)
    assert first.delta == 1.0
    assert first.differ
    pooled = math.sqrt((np.var((1.0, 1.1, 1.3), ddof=1) + np.var((2.0, 2.4, 2.2), ddof=1)) / 2)
    assert first.g == pytest.approx(first.difference / pooled * (1 - 3 / 15))
    assert all("one finished run" in test.refused and math.isnan(test.p) for test in others)


def test_a_diverged_training_is_ranked_worst():
    good = [summary(f"g{i}", 1.0 + i / 100, x=1, seed=i) for i in range(6)]
    bad = [summary(f"b{i}", math.nan, x=2, seed=i) for i in range(6)]
    bad = [run if i else summary("b0", 5.0, x=2) for i, run in enumerate(bad)]
    (test,) = make_comparison([*good, *bad]).tests
    # the diverged ones share one curve here, so they count once: six against two
    assert (test.method, test.delta) == ("Mann-Whitney", 1.0)


def test_groups_without_any_spread_are_ranked_and_not_called_certain():
    """Accuracies stuck at chance: no spread to hold a difference against, though floats round to a spread of 1e-17."""
    runs = [replace(each, loss=(2.0 + each.seed, each.loss[-1])) for each in
            (summary(f"{x}{i}", loss, x=x, seed=i) for x, loss in ((1, 0.1), (2, 0.98)) for i in range(3))]  # fmt: skip
    (test,) = make_comparison(runs).tests
    assert (test.method, test.delta, test.differ) == ("Mann-Whitney", 1.0, False)
    assert test.p == pytest.approx(0.1)  # one of twenty ways to deal three and three out, at both ends
    assert test.difference == pytest.approx(0.88)
    assert math.isnan(test.g)
    same = [replace(run, metrics=runs[0].metrics) for run in runs]
    assert "the same value" in make_comparison(same).tests[0].refused


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=5), st.lists(st.integers(0, 4), min_size=2, max_size=5))
def test_ranks_with_ties_are_exact(first, second):
    def statistic(x, y, axis):
        return stats.rankdata(np.concatenate([x, y], axis=axis), axis=axis)[..., : x.shape[-1]].sum(axis=axis)

    exact = stats.permutation_test((first, second), statistic, vectorized=True, n_resamples=np.inf)
    assert rank_test(np.array(first, float), np.array(second, float)) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_of_many_runs_as_scipy_does_it(ties):
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=20), generator.normal(0.7, 1, size=15)
    if ties:
        first, second = first.round(), second.round()
    expected = stats.mannwhitneyu(first, second, method="asymptotic")
    assert rank_test(first, second) == pytest.approx(expected.pvalue)


def test_equal_numbers_of_different_types_are_one_setting():
    runs = [summary(f"r{i}", 1.0 + i, seed=i, clipnorm=value) for i, value in enumerate((1, 1.0, None, None))]
    groups = make_comparison(runs).groups
    assert [(group.label, len(group.values)) for group in groups] == [("clipnorm 1", 2), ("no clipnorm", 2)]


def test_holm_against_its_definition():
    raw = [0.01, 0.04, 0.03, math.nan, 0.005]
    adjusted = holm(raw)
    assert adjusted[:3] + adjusted[4:] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(adjusted[3])


def test_luck_is_rarely_called_a_difference():
    """Under no difference at all, a false one in at most about 5 % of the comparisons."""
    false = 0
    for draw in range(100):
        generator = np.random.default_rng(draw)
        runs = [r for x in range(4) for r in seeds(4, 1.0, 0.1, generator, x=x)]
        false += any(test.differ for test in make_comparison(runs).tests)
    assert false <= 11  # 99 % quantile of a binomial of 100 at 5 %


def test_more_than_ten_groups_are_tested_one_setting_apart():
    generator = np.random.default_rng(0)
    runs = [r for a in "abcd" for b in "wxyz" for r in seeds(2, 1.0, 0.1, generator, first=a, second=b)]
    comparison = make_comparison(runs)
    assert len(comparison.tests) == 2 * 4 * 6
    groups = comparison.groups
    for test in comparison.tests:
        assert sum(groups[test.a].settings[k] != groups[test.b].settings[k] for k in ("first", "second")) == 1


def test_what_separates_the_sick():
    runs = [
        summary(f"{act}-{init}-{i}", len(act + init) + i, seed=i, activation=act, initializer=init,
                width=64 if i else 32, disease="vanishing-gradient" if act + init == "sigmoidglorot" and i else "")
        for act in ("sigmoid", "relu") for init in ("glorot", "he") for i in range(10)
    ]  # fmt: skip
    comparison = make_comparison(runs)
    first = next(each for each in comparison.associations if each.within is None)
    assert first.p == pytest.approx(stats.fisher_exact([[9, 11], [0, 20]]).pvalue)
    assert (first.sick_with, first.runs_with, first.sick_without) == (9, 20, 0)
    assert {(a.setting, a.value, a.within) for a in comparison.associations if a.holds} == {
        ("activation", "sigmoid", None),
        ("initializer", "glorot", None),
        ("initializer", "glorot", ("activation", "sigmoid")),
    }
    inside = next(each for each in comparison.associations if each.within)
    assert inside.p == pytest.approx(stats.fisher_exact([[9, 1], [0, 10]]).pvalue)
    assert comparison.verdict[0] == (
        "9 of 40 runs vanish; all 9 use sigmoid (9 of the 20 that do); "
        "of those 20, 9 of 10 with glorot and 0 of 10 without."
    )


def test_what_a_setting_did_not_change_in_any_number_is_counted_once():
    runs = [
        summary(f"{act}-{clip}-{i}", len(act) + i / 10, seed=i, activation=act, clipnorm=clip,
                disease="plateau" if act == "sigmoid" else "")
        for act in ("sigmoid", "relu") for clip in (None, 1.0) for i in range(4)
    ]  # fmt: skip
    found = {each.setting: each for each in make_comparison(runs).associations if each.within is None}
    assert found["activation"].p == pytest.approx(stats.fisher_exact([[4, 0], [0, 4]]).pvalue)
    assert (found["activation"].sick_with, found["activation"].runs_with) == (8, 8)
    assert found["clipnorm"].p == pytest.approx(1)


def test_what_so_few_runs_cannot_decide_costs_nothing():
    """One odd run each of several diseases must not hide that all with sigmoid are sick."""
    diseases = ("vanishing-gradient", "vanishing-gradient", "plateau", "plateau", "learning-rate-too-low", "dead-units")
    runs = [
        summary(f"r{i}", 1.0 + i, seed=i, activation="relu" if i > 5 else "sigmoid", width=i % 3,
                disease=diseases[i] if i < 6 else "") for i in range(12)
    ]  # fmt: skip
    comparison = make_comparison(runs)
    single = next(each for each in comparison.associations if each.disease == "dead-units")
    assert math.isnan(single.adjusted)
    assert not single.holds
    assert comparison.verdict[0] == "6 of 12 runs are sick; all 6 use sigmoid (and nobody else does)."
    said = next(sentence for sentence in comparison.verdict if "vanish" in sentence)
    assert said.startswith("2 of 12 runs vanish; no setting by itself tells them apart by more than chance")
    assert "use sigmoid" in said


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_fisher_as_scipy_does_it_and_the_least_it_can_be(a, b, c, d):
    if a + b + c + d == 0:
        return
    p, least = fisher(a, a + b, c, c + d)
    assert p == pytest.approx(stats.fisher_exact([[a, b], [c, d]]).pvalue)
    smallest, largest = max(0, a - d), min(a + b, a + c)
    tables = [[[k, a + b - k], [a + c - k, d - a + k]] for k in range(smallest, largest + 1)]
    assert least == pytest.approx(min(stats.fisher_exact(table).pvalue for table in tables))


def test_a_trend_over_few_numbers_is_seen():
    runs = [summary(f"r{i}", 1.0 + i, seed=i, depth=2 ** (i % 4), disease="plateau" if i % 4 > 1 and i % 5 else "")
            for i in range(40)]  # fmt: skip
    trend = next(each for each in make_comparison(runs).associations if each.is_numeric)
    assert (trend.median_sick, trend.median_healthy, trend.holds) == (6, 2, True)


def test_a_number_of_many_values_is_looked_at_as_a_number():
    runs = [summary(f"r{i}", 1.0, learning_rate=0.01 * (i + 1), disease="plateau" if i > 11 else "") for i in range(20)]
    (found,) = make_comparison(runs).associations
    assert (found.is_numeric, found.effect, found.holds) == (True, 1.0, True)
    assert "their learning_rate is larger (median 0.165 against 0.065)" in make_comparison(runs).verdict[0]


def test_settings_that_split_alike_are_named_together():
    runs = [
        summary(f"{x}{i}", 1.0 + i, x=x, y=-x, seed=i, disease="plateau" if x else "") for x in (0, 1) for i in range(8)
    ]
    comparison = make_comparison(runs)
    assert comparison.by == ("x",)
    assert comparison.associations[0].together_with == ("y",)
    assert "x 1, or y that changes with it," in comparison.verdict[0]


def test_no_cause_is_invented():
    """A disease that strikes at random is blamed on a setting in at most about 5 % of the comparisons."""
    false = 0
    for draw in range(100):
        sick = np.random.default_rng(draw).random(30) < 0.3
        runs = [
            summary(f"r{i}", 1.0 + i, seed=i, x=i % 3, y=i % 2, disease="plateau" if sick[i] else "") for i in range(30)
        ]
        comparison = make_comparison(runs)
        blamed = any(each.holds for each in comparison.associations)
        assert blamed != ("no setting by itself" in comparison.verdict[0])
        false += blamed
    assert false <= 11


def test_several_diseases_are_also_looked_at_together():
    runs = [summary(f"r{i}", 1.0, x=i % 2, seed=i, disease=("plateau", "dead-units", "")[i % 3]) for i in range(12)]
    assert SICK in {each.disease for each in make_comparison(runs).associations}


def test_seed_dependent_minima():
    generator = np.random.default_rng(0)
    low = [summary(f"l{i}", 0.2 + 0.01 * generator.normal(), seed=i, x=1) for i in range(5)]
    high = [summary(f"h{i}", 0.9 + 0.02 * generator.normal(), seed=5 + i, x=1) for i in range(3)]
    others = seeds(8, 0.5, 0.02, generator, x=2)
    comparison = make_comparison([*low, *high, *others])
    (split,) = comparison.minima
    assert comparison.configurations[split.group].label == "x 1"
    assert ({*split.low}, {*split.high}) == ({0, 1, 2, 3, 4}, {5, 6, 7})
    assert any(sentence.startswith("Seed-dependent minima in x 1") for sentence in comparison.verdict)


def test_one_cloud_of_losses_is_one_minimum():
    found = 0
    for draw in range(100):
        found += bool(make_comparison(seeds(8, 1.0, 0.1, np.random.default_rng(draw), x=1)).minima)
    assert found <= 11


def test_a_long_tail_is_one_minimum():
    """Losses with a long tail to the right: neither its outliers nor its gaps are clusters."""
    found = 0
    for draw in range(100):
        losses = 1 + 0.1 * np.random.default_rng(draw).exponential(size=8)
        runs = [summary(f"r{i}", float(loss), seed=i, x=1) for i, loss in enumerate(losses)]
        found += bool(make_comparison(runs).minima)
    assert found <= 11


def test_one_run_apart_is_no_minimum():
    generator = np.random.default_rng(0)
    assert make_comparison([*seeds(7, 0.5, 0.01, generator, x=1), summary("odd", 2.3, x=1, seed=9)]).minima == ()


def test_the_same_training_twice_is_no_cluster():
    losses = (1.0, 1.01, 2.0)
    runs = [summary(f"r{i}", losses[i // 3], seed=i // 3, x=1) for i in range(9)]
    assert make_comparison(runs).minima == ()


def test_a_gap_within_the_noise_of_batches_is_none():
    generator = np.random.default_rng(0)
    runs = [*seeds(4, 1.0, 1e-4, generator, x=1), *seeds(4, 1.002, 1e-4, generator, x=1)]
    assert make_comparison(runs).minima == ()  # the error of a loss is 0.001


def test_different_losses_are_not_compared():
    runs = [summary(f"{f}{i}", 1.0 + i, loss_function=f, seed=i) for f in ("mse", "mae") for i in range(3)]
    comparison = make_comparison(runs)
    assert comparison.tests == ()
    assert "different losses" in comparison.tested


@pytest.mark.parametrize(("words", "says"), [({"by": ["nothing"]}, "no run has a setting 'nothing'"),
                                             ({"measure": "val_auc"}, "no run has a metric 'val_auc'")])  # fmt: skip
def test_a_wrong_name_lists_the_right_ones(words, says):
    with pytest.raises(KgradError, match=says):
        make_comparison([summary("a", x=1), summary("b", x=2)], **words)


def test_grouping_by_a_setting_says_what_else_varies():
    generator = np.random.default_rng(0)
    runs = [r for a in "ab" for b in "xy" for r in seeds(3, 1.0, 0.1, generator, first=a, second=b)]
    comparison = make_comparison(runs, by=["first"])
    assert [(len(g.values), g.varies) for g in comparison.groups] == [(6, ("second",)), (6, ("second",))]
    assert comparison.minima == ()


def test_words_are_kept_for_rules_that_exist():
    from kgrad.comparison.words import _VERBS
    from kgrad.diagnosis.rule import all_rules

    assert set(_VERBS) - {SICK} <= {rule.id for rule in all_rules()}
