"""The story of a treatment as a page: the outcome first, safe whatever the names."""

import pytest

from kgrad.reporters.treatment_page import render_treatment_html

from .conftest import HOSTILE
from .test_browser import Visit, assert_quiet
from .test_interaction import assert_no_barrier


def treatment(words="activation: relu", outcome="healthy"):
    """A treatment of two trainings as `Treatment.to_dict()` tells it."""
    attempt = {
        "prescriptions": [words], "code": words, "why": words, "findings": ["plateau"], "verdict": "proven",
        "unchanged": [2.3, 2.3], "changed": [0.1, None], "note": "",
        "difference": {"mean": -2.2, "low": -2.3, "high": -2.1, "confidence": 0.95},
    }  # fmt: skip
    sick = {
        "verdict": f"Plateau: {words}", "findings": [["plateau", "high", words], ["dead-units", "low", words]],
        "steps": 1400, "loss": 2.3, "accuracy": 0.1, "adopted": True, "attempts": [attempt], "kept": [words],
        "reason": "The best.", "trial_steps": 300,
    }  # fmt: skip
    well = {**sick, "verdict": "Healthy: no disease.", "findings": [], "loss": 0.1, "accuracy": 0.9}
    well |= {"attempts": [], "kept": [], "reason": ""}
    return {
        "rounds": [sick, well], "outcome": outcome, "changes": [words], "code": words, "steps": 3100, "budget": 9000,
        "loss_given": 2.4, "accuracy_given": 0.1, "loss": 0.1, "accuracy": 0.9, "measured_on": "training data",
        "summary": "in words",
    }  # fmt: skip


def test_the_outcome_comes_first():
    page = render_treatment_html(treatment())
    assert page.index("Healthy now") < page.index("Plateau at first. Changed: activation: relu.") < page.index("3,100")
    assert "Better, not yet healthy" in render_treatment_html(treatment(outcome="better"))
    assert "0.1, not finite" in page


def test_hostile_names_stay_text():
    page = render_treatment_html(treatment(HOSTILE))
    assert "<img" not in page
    assert "<script" not in page
    assert "\u202e" not in page


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("words", ["activation: relu", HOSTILE], ids=["plain", "hostile"])
def test_it_is_quiet_fits_and_has_no_barrier(browser, tmp_path, scheme, words):
    size = {"width": 360, "height": 800}
    visited = Visit(
        browser, tmp_path / "page.html", render_treatment_html(treatment(words)), color_scheme=scheme, viewport=size
    )
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_no_barrier(visited.page)
    assert_quiet(visited)
    visited.context.close()
