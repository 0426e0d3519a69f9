"""What a notebook shows of a run, a diagnosis, a report and a comparison; names in it do nothing."""

import re

import pytest

import kgrad


def test_a_run_says_what_was_recorded(sick):
    shown = sick.log._repr_html_()
    assert "200 steps, 0 to 199" in shown
    assert "gradient_norm" in shown
    assert "no columns" not in shown
    assert "<th>columns</th><td>none</td>" in sick.log.only([])._repr_html_()


def test_a_diagnosis_says_its_verdict_and_findings(sick):
    shown = sick.diagnosis._repr_html_()
    assert sick.diagnosis.verdict in shown
    assert shown.count("<tr>") == 1 + len(sick.diagnosis.findings)


@pytest.mark.parametrize("what", ["log", "diagnosis"])
def test_hostile_names_stay_text(hostile, what):
    shown = getattr(hostile, what)._repr_html_()
    assert "<img" not in shown
    assert "</script>" not in shown


def test_the_report_stands_in_a_frame_of_its_own(hostile):
    shown = hostile._repr_html_()
    assert len(re.findall(r"<\w", shown)) == 1
    assert shown.startswith("<iframe srcdoc=")


def test_a_comparison_shows_its_verdict(sick, tmp_path):
    assert "<table" in kgrad.compare([sick.log, sick.log])._repr_html_()
