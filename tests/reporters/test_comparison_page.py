"""The comparison page: what it says, that nothing in it can do harm, and how it behaves in a real browser."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import kgrad
from kgrad.comparison import make_comparison
from kgrad.reporters import sparks
from kgrad.reporters.comparison_page import make_comparison_page, render_comparison_html
from kgrad.workflow import render_comparison

from ..comparison.batch import seeds, study, summary
from .conftest import HOSTILE


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    study(place)
    (place / "cut").mkdir()
    (place / "cut" / "run.json").write_text("{")
    return kgrad.compare(place)


@pytest.fixture(scope="module")
def page_file(comparison, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "comparison.html"
    file.write_text(render_comparison_html(comparison), encoding="utf-8")
    return file


@pytest.fixture
def page(browser, page_file):
    opened = browser.new_page()
    said = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(page_file.as_uri())
    opened.locator("html[data-drawn]").wait_for(state="attached")
    yield opened
    opened.close()
    assert said == []


def test_the_same_comparison_gives_the_same_bytes(comparison):
    assert render_comparison_html(comparison) == render_comparison_html(comparison)


def test_the_page_needs_no_network_and_runs_only_its_own_scripts(comparison):
    text = render_comparison_html(comparison)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text).group(1)
    assert policy.startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy
    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)
    assert "http://" not in markup
    assert "https://" not in markup
    assert " style=" not in markup


def test_all_is_said_without_a_script(comparison):
    text = render_comparison_html(comparison)
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    for sentence in comparison.verdict:
        assert sentence in markup
    for run in comparison.runs:
        assert run.name in markup
    assert "cannot be read" not in markup
    assert "is not a run description" in markup
    assert markup.count("<polyline") == 32


def test_hostile_names_stay_text(comparison):
    runs = [
        replace(run, name=HOSTILE, settings={**run.settings, HOSTILE: i % 2, "tag": HOSTILE}, verdict=HOSTILE)
        for i, run in enumerate(comparison.runs)
        if run.settings
    ]
    text = render_comparison_html(make_comparison(runs))
    assert "<img" not in text
    assert text.count("</script>") == 3


def test_html_is_the_first_format(comparison):
    assert render_comparison(comparison) == render_comparison_html(comparison)


def test_the_best_group_comes_first_and_refusals_say_why():
    generator = np.random.default_rng(0)
    runs = [
        *seeds(3, 2.0, 0.1, generator, x="late"),
        *seeds(3, 1.0, 0.1, generator, x="early"),
        summary("o", 5.0, x="one"),
    ]
    made = make_comparison_page(make_comparison(runs))
    assert [row.settings for row in made.groups] == [("early",), ("late",), ("one",)]
    assert (made.groups[2].interval, made.groups[2].strip.low) == ("-", None)
    refused = [row for row in made.tests if row.refused]
    assert len(refused) == 2
    assert all("one finished run" in row.refused for row in refused)


def test_one_exploded_run_does_not_flatten_the_others():
    scale = sparks.scale_of([*np.linspace(1, 2, 200), 1e9])
    assert scale.high <= 2
    assert sparks.curve([1.0, float("nan"), 2.0], scale) == "0,21 96,1"
    assert sparks.curve([1.0, float("nan")], scale) == ""


@pytest.mark.browser
def test_the_page_opens_quietly_and_fits(browser, page_file):
    for width in (360, 1280):
        opened = browser.new_page(viewport={"width": width, "height": 800})
        opened.goto(page_file.as_uri())
        opened.locator("html[data-drawn]").wait_for(state="attached")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        opened.close()


@pytest.mark.browser
def test_charts_are_drawn_when_they_come_near(page):
    boxes = page.query_selector_all("[data-chart]")
    assert len(boxes) == 4
    for box in boxes:
        box.scroll_into_view_if_needed()
        page.locator(f"[data-chart={box.get_attribute('data-chart')}][data-drawn] canvas").wait_for()


@pytest.mark.browser
def test_a_column_sorts_both_ways_and_missing_values_stay_below(page):
    names = "[...document.querySelectorAll('#run-table tbody tr')].map((row) => row.cells[1].textContent)"
    head = page.locator("#run-table th", has_text="last loss").locator("button")
    head.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(names)[0].startswith("relu")
    assert page.evaluate(names)[-1].startswith("cut")
    page.keyboard.press("Enter")
    assert page.evaluate(names)[0].startswith("sigmoid")
    assert page.evaluate(names)[-1].startswith("cut")
    assert page.locator("#run-table th[aria-sort=descending]").count() == 1


@pytest.mark.browser
def test_the_filter_keeps_rows_that_hold_every_word(page):
    page.fill("#filter", "relu he_normal")
    page.locator("#count", has_text=re.compile("^4 of 17 runs$")).wait_for()
    page.fill("#filter", "")
    page.select_option("#health", "fail")
    page.locator("#count", has_text=re.compile("^8 of 17 runs$")).wait_for()
    shown = page.locator("#run-table tbody tr:visible")
    assert all("sigmoid" in text for text in shown.all_inner_texts())


@pytest.mark.browser
def test_two_picked_runs_are_laid_side_by_side(page, comparison):
    rows = page.locator("#run-table tbody tr")
    rows.nth(1).locator("input").check()
    rows.nth(16).locator("input").check()
    said = page.inner_text("#two")
    assert "activation\trelu\tsigmoid" in said
    assert "diseases\tnone\tvanishing-gradient (" in said
    assert "optimizer" not in said
    norms = [comparison.runs[place].profile[0] for place in (1, 16)]
    cells = re.search(r"dense_0\t(\S+)\t(\S+)", said).groups()
    assert [float(cell) for cell in cells] == pytest.approx(norms, rel=0.05)
    page.select_option("#second", "2")
    assert "activation" not in page.inner_text("#two")
    assert page.inner_text("#two").startswith("what differs\trelu-GlorotUniform-0\trelu-GlorotUniform-1")


@pytest.mark.browser
def test_an_axis_that_is_brushed_filters_the_table(page):
    box = page.locator('[data-chart="parallel"]')
    box.scroll_into_view_if_needed()
    page.locator("[data-chart=parallel][data-drawn]").wait_for()
    place = box.bounding_box()
    across = place["x"] + place["width"] - 70  # the axis of the last loss: sigmoid is above
    page.mouse.move(across, place["y"] + 50)
    page.mouse.down()
    page.mouse.move(across, place["y"] + 120, steps=5)
    page.mouse.up()
    page.locator("#count", has_text=re.compile("^8 of 17 runs$")).wait_for()
    page.click("#unbrush")
    page.locator("#count", has_text=re.compile("^17 runs$")).wait_for()


@pytest.mark.browser
def test_the_page_works_without_scripts(browser, page_file, comparison):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page_file.as_uri())
    assert comparison.verdict[0] in opened.inner_text("main")
    assert opened.locator("#run-table tbody tr:visible").count() == 17
    assert not opened.locator(".scripted").first.is_visible()
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser, page_file, scheme):
    context = browser.new_context(color_scheme=scheme)
    opened = context.new_page()
    opened.goto(page_file.as_uri())
    opened.locator("html[data-drawn]").wait_for(state="attached")
    opened.locator("#run-table tbody input").nth(1).check()
    opened.locator("#run-table tbody input").nth(16).check()
    found = Axe().run(opened)
    assert not found.response["violations"], found.generate_report()
    context.close()


@pytest.mark.browser
def test_nothing_is_fetched(browser, page_file):
    opened = browser.new_page()
    asked = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    opened.locator("html[data-drawn]").wait_for(state="attached")
    assert asked == [page_file.as_uri()]
    opened.close()


@pytest.mark.browser
def test_a_thousand_runs_open(browser, tmp_path):
    generator = np.random.default_rng(0)
    one = summary("r", a=1)
    curve = tuple(float(f"{v:.4g}") for v in generator.lognormal(size=80))
    runs = [
        replace(
            one, name=f"run-{i}", seed=i, settings={"a": i % 3, "b": i % 5, "c": i % 7}, loss=curve, global_norm=curve,
            curve_steps=tuple(range(80)), profile=curve[:50], layers=tuple(map(str, range(50))),
        )
        for i in range(1000)
    ]  # fmt: skip
    file = tmp_path / "thousand.html"
    file.write_text(render_comparison_html(make_comparison(runs)), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(file.as_uri())
    opened.locator("html[data-drawn]").wait_for(state="attached")
    assert opened.locator("#run-table tbody tr").count() == 1000
    opened.close()


def test_the_data_of_the_script_is_strict_json(comparison):
    data = make_comparison_page(comparison).data
    assert json.loads(json.dumps(data, allow_nan=False)) is not None
    assert len(data["curves"]) == len(comparison.runs)
    assert len(data["steps"]) == 2  # the curves of all readable runs share their steps
