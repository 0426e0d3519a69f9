"""The page as text: complete, safe, the same bytes each time, whatever the run."""

import html
import re
from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.diagnose import Outcome
from kgrad.reporters.gauges import gauges
from kgrad.reporters.pictures import envelope
from kgrad.reporters.view import look_at
from kgrad.reporters.wording import Names

from ..diagnosis.rules.cases import deep
from .conftest import HOSTILE


def test_the_same_run_gives_the_same_bytes(sick):
    assert kgrad.render(sick) == kgrad.render(kgrad.examine(sick.log))


def test_it_is_one_file_without_network(sick):
    page = kgrad.render(sick)
    assert "default-src 'none'" in html.unescape(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)


def test_the_verdict_comes_before_everything_else(sick):
    page = kgrad.render(sick)
    body = page[page.index("<body>") :]
    verdict = sick.diagnosis.verdict.split(": ", 1)[1].split("(")[0]
    assert body.index(verdict) < body.index("Try this first") < body.index('id="layers"') < body.index('id="audits"')


def test_every_finding_evidence_and_prescription_is_there(sick):
    page = kgrad.render(sick)
    for finding in sick.diagnosis.findings:
        assert finding.summary in page
        for entry in finding.evidence:
            assert entry.label in page
    for prescription in sick.prescriptions:
        assert prescription.code.replace('"', "&#34;") in page


def test_hostile_names_stay_text(hostile):
    page = kgrad.render(hostile)
    assert "<img src=x" not in page
    assert 'onerror="document' not in page
    assert page.count("</script>") == 3  # the data, the charting library, the page's own
    assert len(re.findall(r"<script[ >]", page)) == 3
    assert "&lt;/script&gt;&lt;img" in page
    assert HOSTILE not in page


@pytest.mark.parametrize("format", ["html", "json", "text"])
@pytest.mark.parametrize(
    "change",
    [
        lambda log: log.only(steps=slice(0, 0)),
        lambda log: log.only(steps=slice(0, 1)),
        lambda log: log.only([]),
        lambda log: log.only(["loss"]),
        lambda log: log.only(["gradient_norm"]),
        lambda log: replace(log, columns={k: np.full_like(v, np.nan) for k, v in log.columns.items()}),
        lambda log: replace(log, columns={k: np.full_like(v, np.inf) for k, v in log.columns.items()}),
        lambda log: replace(log, columns={k: np.zeros_like(v) for k, v in log.columns.items()}),
        lambda log: replace(log, info={"name": "bare", "status": "interrupted"}),
        lambda log: replace(log, steps=log.steps + 10**6),
    ],
)
def test_every_run_renders(change, format):
    assert kgrad.render(kgrad.examine(change(deep())), format)


def test_an_unknown_format_is_refused(sick):
    with pytest.raises(kgrad.KgradError, match="html, json, text"):
        kgrad.render(sick, "pdf")


def test_a_rule_of_another_version_still_renders(sick):
    outcome = sick.diagnosis.outcomes[-1]
    foreign = replace(outcome, finding=replace(outcome.finding, rule="from-the-future"))
    diagnosis = replace(sick.diagnosis, outcomes=(foreign,))
    assert "From the future" in kgrad.render(replace(sick, diagnosis=diagnosis))


def test_thinning_keeps_every_extreme():
    values = np.random.default_rng(0).normal(size=20_000)
    values[7777], values[12345] = 99, -99
    thin = envelope(values)
    assert len(thin) <= 960
    assert thin.max() == 99
    assert thin.min() == -99


def test_a_loss_that_did_not_fall_is_no_pass():
    log = deep(loss=np.linspace(1.0, 1.5, 200))
    diagnosis = replace(kgrad.examine(log).diagnosis, outcomes=(Outcome("plateau", "clear"),))
    (gauge,) = [each for each in gauges(look_at(log), diagnosis, Names.of(log.structure)) if each.name == "Learning"]
    assert (gauge.state, gauge.value) == ("warn", "loss did not fall")
