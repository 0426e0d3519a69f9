"""Trials and dry runs in the report: beside the prescription that they tried, the proven one first."""

import math
from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.reporters.page import make_page

from .test_browser import assert_quiet, visit
from .test_interaction import assert_no_barrier, option

__all__ = ["visit"]


def trial(prescription, verdict="proven", accuracy=0.9, loss=0.1):
    """A trial of two seeds as `Trial.to_dict()` tells it."""
    steps = np.arange(60)
    losses = {"unchanged": tuple(2.3 + 0 * steps), "changed": tuple(2.3 * np.exp(-steps / 20))}
    outcomes = {
        "unchanged": {"loss": 2.3, "accuracy": 0.1, "batch_losses": losses["unchanged"]},
        "changed": {"loss": loss, "accuracy": accuracy, "batch_losses": losses["changed"]},
    }
    return {
        "prescription": prescription.to_dict(),
        "tried": (f"{prescription.knob}: {prescription.before} → {prescription.after}",),
        "pairs": [{"seed": seed, "steps": 60, **outcomes} for seed in range(2)],
        "difference": {"mean": -2.2, "low": -2.25, "high": -2.15, "confidence": 0.95},
        "verdict": verdict,
        "measured_on": "training data",
        "summary": "in words",
    }


def dry_run(prescription):
    """A dry run as `DryRun.to_dict()` tells it."""
    names = ("activation_before", "activation_after")
    layers = [
        {"layer": f"dense_{i}", "gradient_before": 10.0 ** (i - 7), "gradient_after": 1.0, **dict.fromkeys(names, 0.5)}
        for i in range(8)
    ]
    spreads = {"spread_before": 7.0, "spread_after": 0.0, "changes_the_start": True}
    return {"prescription": prescription.to_dict(), "layers": layers, "seed": 0, **spreads}


@pytest.fixture
def proven(sick):
    """The sick run with a trial of its first two prescriptions and a dry run of the first."""
    first, second = sick.prescriptions[:2]
    return replace(sick, trials=(trial(first, accuracy=0.6), trial(second)), dry_runs=(dry_run(first),))


def page_of(examination):
    return make_page(
        examination.log, examination.diagnosis, examination.prescriptions, examination.trials, examination.dry_runs
    )


def test_the_more_accurate_of_the_proven_comes_first(proven):
    page = page_of(proven)
    assert page.first_prescription.number == 2
    assert page.first_prescription.trial.result == "loss 2.3 → 0.1, accuracy 10.0 % → 90.0 %"
    assert [card.number for card in page.further][:1] == [1]


def test_alike_ones_stay_in_order_and_a_harmful_one_comes_last(sick):
    first, second = sick.prescriptions[:2]
    alike = replace(sick, trials=(trial(first, accuracy=0.88), trial(second)))
    assert page_of(alike).first_prescription.number == 1
    harmful = replace(sick, trials=(trial(first, "harmful", 0.1, 9.0),))
    assert page_of(harmful).first_prescription.number == 2
    assert page_of(harmful).further[-1].number == 1


def test_a_trial_of_several_prescriptions_has_its_own_place(sick):
    several = {**trial(sick.prescriptions[0]), "tried": ("first: a → b", "second: c → d")}
    del several["prescription"]
    page = page_of(replace(sick, trials=(several,)))
    assert page.first_prescription.trial is None
    assert page.trials[0].tried == ("first: a → b", "second: c → d")
    assert "first: a → b; second: c → d" in kgrad.render(replace(sick, trials=(several,)))


def test_what_is_not_finite_is_told_as_such(sick):
    told = trial(sick.prescriptions[0])
    for pair, lost in zip(told["pairs"], (math.nan, None), strict=True):
        pair["unchanged"] = {"loss": lost, "accuracy": 0.1, "batch_losses": (2.0, 1e30, lost, *[lost] * 57)}
    card = page_of(replace(sick, trials=(told,))).first_prescription.trial
    assert card.result.startswith("loss not finite in 2 of 2 → 0.1")
    assert "counting as the largest seen" in card.says
    assert card.contrast.wide
    assert np.isnan(card.contrast.unchanged[3:]).all()


def test_a_dry_run_that_shows_nothing_is_left_out(proven):
    nothing = {**proven.dry_runs[0], "changes_the_start": False}
    assert page_of(replace(proven, dry_runs=(nothing,))).findings[0].prescriptions[0].dry_run is None


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_proofs_are_drawn(visit, proven, scheme):
    visited = visit(proven, color_scheme=scheme)
    page = visited.page
    page.locator("html[data-drawn]").wait_for(state="attached")
    for name in ("first-trial", "trial-1", "trial-2", "dry-1"):
        unchanged, changed = option(page, name)["series"]
        assert len(unchanged["data"]) == len(changed["data"]) > 1, name
    np.testing.assert_allclose(option(page, "dry-1")["series"][0]["data"], np.arange(8) - 7.0, atol=1e-6)
    assert page.locator(".cure .proof").first.inner_text() == "proven"
    page.get_by_role("link", name="Change the").first.click()
    assert "#prescription-" in page.url
    assert_quiet(visited)
    assert_no_barrier(page)


@pytest.mark.browser
def test_proofs_are_there_without_scripts(visit, proven):
    page = visit(proven, java_script_enabled=False).page
    assert page.locator(".cure svg.static").first.is_visible()
    assert page.locator("#finding-1 svg.static").count() == 3
