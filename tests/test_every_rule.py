"""The contract that every rule keeps, for all rules at once."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kgrad
from kgrad.diagnosis import Finding, diagnose
from kgrad.diagnosis.finding import SEVERITIES
from kgrad.diagnosis.rule import NotApplicable, Rule, all_rules, find_rule
from kgrad.log.schema import COLUMNS

from .log.factory import run_log

RULES = all_rules()
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def ask(rule, log):
    return next(o for o in diagnose(log, [rule]).outcomes if o.rule == rule.id)


def test_the_first_rules_are_there():
    expected = {"vanishing-gradient", "exploding-gradient", "nonfinite-gradient", "plateau", "dead-units"}
    assert expected <= {rule.id for rule in RULES}


@every_rule
def test_id_function_file_and_test_have_one_name(rule):
    name = rule.id.replace("-", "_")
    assert rule.check.__name__ == name
    assert Path(inspect.getfile(rule.check)).stem == name
    assert (Path(__file__).parent / "diagnosis" / "rules" / f"test_{name}.py").exists()


@every_rule
def test_it_explains_itself(rule):
    assert rule.meaning.endswith(".")
    assert "Measured:" in rule.explanation
    assert "Blind spot:" in rule.explanation


@every_rule
def test_every_limit_has_a_unit_and_a_source(rule):
    assert rule.limits
    for limit in rule.limits:
        assert limit.unit
        assert len(limit.source) > 20


@every_rule
def test_its_columns_are_in_the_schema(rule):
    assert rule.columns
    assert set(rule.columns + rule.optional) <= set(COLUMNS)


@every_rule
def test_its_causes_are_rules(rule):
    assert {cause.split(":")[0] for cause in rule.symptom_of} <= {other.id for other in RULES} - {rule.id}


def test_no_rule_is_the_symptom_of_its_own_symptom():
    """Causes lead somewhere: no way from a rule back to itself, but for a kind of it that causes what explains it."""
    by_kind = {(cause.split(":")[0], rule.id) for rule in RULES for cause in rule.symptom_of if ":" in cause}
    causes = {
        rule.id: {name for cause in rule.symptom_of if (rule.id, name := cause.split(":")[0]) not in by_kind}
        for rule in RULES
    }

    def leads_to(rule, goal, seen=frozenset()):
        return any(
            cause == goal or (cause not in seen and leads_to(cause, goal, seen | {cause})) for cause in causes[rule]
        )

    assert [rule for rule in causes if leads_to(rule, rule)] == []


@every_rule
def test_it_is_silent_on_a_healthy_log(rule):
    assert ask(rule, run_log(200)).status in ("clear", "not applicable")


@every_rule
def test_a_missing_column_makes_it_not_applicable(rule):
    log = run_log(200)
    for column in rule.columns:
        fewer = replace(log, columns={k: v for k, v in log.columns.items() if k != column})
        outcome = ask(rule, fewer)
        assert outcome.status == "not applicable"
        assert column in outcome.reason


@every_rule
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_a_short_log_does_not_break_it(rule, steps):
    assert ask(rule, run_log(steps)).status != "error"


@every_rule
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e300, 1e-300])
def test_a_log_of_one_value_does_not_break_it(rule, value):
    log = run_log(120)
    filled = {name: np.full_like(values, value) for name, values in log.columns.items()}
    assert ask(rule, replace(log, columns=filled)).status != "error"


@every_rule
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_log_breaks_it(rule, data):
    steps = data.draw(st.integers(1, 80))
    seed = data.draw(st.integers(0, 2**16))
    generator = np.random.default_rng(seed)
    log = run_log(steps)
    odd = data.draw(st.floats(0, 0.5))

    def mangled(values):
        values = values * 10.0 ** generator.uniform(-20, 20, values.shape)
        values[generator.random(values.shape) < odd] = generator.choice([np.nan, np.inf, -np.inf, 0.0])
        return values

    columns = {name: mangled(values.copy()) for name, values in log.columns.items()}
    outcome = ask(rule, replace(log, columns=columns))
    assert outcome.status != "error", outcome.reason


@every_rule
def test_it_is_pure(rule):
    log = run_log(200)
    before = {name: values.copy() for name, values in log.columns.items()}
    assert ask(rule, log) == ask(rule, log)
    for name, values in log.columns.items():
        np.testing.assert_array_equal(values, before[name])


@every_rule
def test_it_gets_only_the_columns_it_declares(rule):
    seen = {"columns": set()}

    def spy(log):
        seen["columns"] = set(log.columns)

    diagnose(run_log(100, cosine=np.zeros((100, 6))), [replace(rule, check=spy)])
    assert seen["columns"]
    assert seen["columns"] <= set(rule.columns + rule.optional)


def test_a_rule_that_raises_is_an_error_outcome_and_hides_nothing():
    def broken(log):
        raise ZeroDivisionError("oops")

    bad = Rule("bad", ("loss",), (), (), (), broken)
    outcomes = diagnose(run_log(100), [bad, *RULES]).outcomes
    assert len(outcomes) == len(RULES) + 1
    assert outcomes[0].status == "error"
    assert "oops" in outcomes[0].reason


def test_a_rule_may_say_that_it_does_not_apply():
    def declines(log):
        raise NotApplicable("no such layer")

    outcome = diagnose(run_log(100), [Rule("r", ("loss",), (), (), (), declines)]).outcomes[0]
    assert (outcome.status, outcome.reason) == ("not applicable", "no such layer")


def finding(rule, severity="high", **more):
    return Finding(rule, severity, f"{rule} it is.", **more)


def test_causes_come_before_symptoms_and_notes_last():
    rules = [
        Rule("symptom", ("loss",), (), (), ("cause",), lambda log: finding("symptom")),
        Rule("cause", ("loss",), (), (), (), lambda log: finding("cause", "low")),
        Rule("note", ("loss",), (), (), (), lambda log: finding("note", "info")),
    ]
    diagnosis = diagnose(run_log(100), rules)
    assert [f.rule for f in diagnosis.findings] == ["cause", "symptom", "note"]
    assert [f.caused_by for f in diagnosis.findings] == [None, "cause", None]
    assert diagnosis.severity == "high"


@pytest.mark.parametrize("ask_of", [diagnose, kgrad.signal_to_noise])
def test_the_path_of_a_run_is_no_run_and_the_error_says_how_to_read_it(ask_of):
    with pytest.raises(kgrad.KgradError, match=r"got str 'runs/one'.*kgrad\.read_run"):
        ask_of("runs/one")


def test_a_diagnosis_survives_its_json():
    diagnosis = diagnose(run_log(100, loss=np.full(100, 2.3)))
    assert kgrad.Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis


def test_severities_are_ordered():
    assert SEVERITIES == ("info", "low", "medium", "high")


def test_an_unknown_rule_is_named_with_those_there_are():
    with pytest.raises(kgrad.KgradError, match="plateau"):
        find_rule("nonsense")
