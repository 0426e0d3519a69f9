"""The linked charts in a real browser: what is pointed at, clicked, typed or brushed in one place shows in all."""

import re
from dataclasses import replace

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import kgrad

from ..diagnosis.rules.cases import deep
from .test_browser import Visit, assert_quiet, visit

__all__ = ["visit"]

pytestmark = pytest.mark.browser

STEP_CHARTS = ("overview", "heatmap", "layer", "norms")
OPTION = "name => document.querySelector(`[data-chart=${name}]`).chart.getOption()"


@pytest.fixture
def opened(visit, sick):
    """The report of the sick run, drawn, on a screen that holds the heatmap and what is below it."""
    visited = visit(sick, viewport={"width": 1280, "height": 1400})
    visited.page.set_default_timeout(5_000)
    visited.page.locator("html[data-drawn]").wait_for(state="attached")
    yield visited
    assert_quiet(visited)


def option(page, name):
    """What a chart draws now."""
    return page.evaluate(OPTION, name)


def heatmap_point(page, layer, step):
    """Where a cell of the heatmap lies on the screen."""
    page.locator("[data-chart=heatmap]").scroll_into_view_if_needed()
    box = page.locator("[data-chart=heatmap]").bounding_box()
    x, y = page.evaluate(
        "at => document.querySelector('[data-chart=heatmap]').chart.convertToPixel('grid', at)",
        [step + 0.5, layer],
    )
    return box["x"] + x, box["y"] + y


def spans(page):
    """First and last step that each chart over the steps shows."""
    return {
        name: (option(page, name)["xAxis"][0]["min"], option(page, name)["xAxis"][0]["max"]) for name in STEP_CHARTS
    }


def settle(page):
    """Two frames: changes are drawn once a frame."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawn_layer(page):
    """The gradient norms, as logarithms, that the chart of one layer shows."""
    (series,) = [each for each in option(page, "layer")["series"] if each["name"] == "gradient norm"]
    return [height for _, height in series["data"]]


def test_pointing_at_a_cell_shows_its_layer_and_its_step_everywhere(opened, sick):
    page = opened.page
    page.mouse.move(*heatmap_point(page, 5, 60))
    settle(page)
    norms = sick.log.layer_norms()
    assert page.locator("h3 .chosen").inner_text() == "dense_5"
    assert page.locator("tr.chosen").get_attribute("id") == "row-5"
    np.testing.assert_allclose(drawn_layer(page), np.log10(norms[:, 5]), atol=0.006)
    pointer = [each for each in option(page, "depth")["series"] if each["name"] == "pointer"]
    np.testing.assert_allclose(pointer[0]["data"], np.log10(norms[60]), atol=0.006)
    assert page.locator("#readout").inner_text().startswith("dense_5, step 60: gradient norm")
    page.mouse.move(5, 5)
    settle(page)
    kept = page.locator("#layer").input_value()
    assert page.locator("tr.chosen").get_attribute("id") == f"row-{kept}" != "row-5"
    assert not [each for each in option(page, "depth")["series"] if each["name"] == "pointer"]


def test_a_clicked_layer_stays_when_the_pointer_leaves(opened, sick):
    page = opened.page
    page.mouse.move(*heatmap_point(page, 6, 20))
    settle(page)  # a hand points before it clicks: what it points at is drawn by then
    page.mouse.click(*heatmap_point(page, 6, 20))
    settle(page)
    page.mouse.move(5, 5)
    settle(page)
    assert page.locator("#layer").input_value() == "6"
    assert page.locator("h3 .chosen").inner_text() == "dense_6"
    np.testing.assert_allclose(drawn_layer(page), np.log10(sick.log.layer_norms()[:, 6]), atol=0.006)


def test_a_brush_zooms_every_chart_and_a_double_click_shows_all_again(opened):
    page = opened.page
    whole = spans(page)
    left, right = heatmap_point(page, 3, 50), heatmap_point(page, 3, 120)
    page.mouse.move(*left)
    page.mouse.down()
    page.mouse.move(*right, steps=5)
    page.mouse.up()
    settle(page)
    first, last = (int(page.locator(f"#{name}").input_value()) for name in ("from", "to"))
    assert abs(first - 50) <= 1
    assert abs(last - 120) <= 1
    for name, (low, high) in spans(page).items():
        assert low == first, name
        assert high - last in (0, 1), name
    page.mouse.dblclick(*heatmap_point(page, 3, 80))
    settle(page)
    assert spans(page) == whole


@pytest.mark.parametrize("name", ["overview", "layer", "norms"])
def test_every_curve_can_be_brushed(opened, name):
    page = opened.page
    chart = page.locator(f"[data-chart={name}]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"], steps=5)
    page.mouse.up()
    settle(page)
    assert len({low for low, _ in spans(page).values()}) == 1
    assert all(low > 20 and high < 180 for low, high in spans(page).values())


def test_steps_can_be_typed_and_nonsense_shows_all(opened):
    page = opened.page
    page.locator("#from").fill("100")
    page.locator("#to").fill("150")
    page.locator("#to").press("Tab")
    settle(page)
    assert {low for low, _ in spans(page).values()} == {100}
    page.locator("#to").fill("")
    page.locator("#to").press("Tab")
    settle(page)
    assert {low for low, _ in spans(page).values()} == {0}
    page.locator("#from").fill("70")
    page.locator("#from").press("Tab")
    page.get_by_role("button", name="All steps").click()
    settle(page)
    assert {low for low, _ in spans(page).values()} == {0}


def test_layers_are_chosen_by_list_table_depth_chart_and_keys(opened):
    page = opened.page
    page.locator("#layer").select_option("2")
    settle(page)
    assert page.locator("h3 .chosen").inner_text() == "dense_2"
    page.get_by_text("Table of layers").first.click()
    page.locator("#row-4 button").click()
    settle(page)
    assert page.locator("h3 .chosen").inner_text() == "dense_4"
    for name in ("depth", "updates"):
        page.locator("#layer").select_option("0")
        chart = page.locator(f"[data-chart={name}]")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        x = page.evaluate(
            "name => document.querySelector(`[data-chart=${name}]`).chart.convertToPixel({xAxisIndex: 0}, 7)",
            name,
        )
        page.mouse.click(box["x"] + x, box["y"] + 0.4 * box["height"])
        settle(page)
        assert page.locator("h3 .chosen").inner_text() == "dense_7", name
    page.locator("[data-chart=heatmap]").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.locator("#readout").inner_text().startswith("dense_6, step 1:")


def test_a_findings_layers_and_steps_lead_to_the_charts(opened, sick):
    page = opened.page
    finding = sick.diagnosis.findings[0]
    chip = page.locator("#finding-1 button[data-layer]").last
    chip.click()
    settle(page)
    assert page.locator("h3 .chosen").inner_text() == chip.inner_text()
    page.locator("#finding-1 button[data-first]").click()
    settle(page)
    assert page.locator("#from").input_value() == str(finding.first_step)
    assert page.locator("#to").input_value() == str(finding.last_step)


def test_the_curvature_follows_the_steps(visit, sick):
    steps = np.arange(20, 200, 20)
    table = {"step": steps, "gradient_norm": 0.0 * steps, "smallest": -0.1 * steps, "largest": 1.0 * steps}
    table |= {"smallest_error": 0.01 * steps, "largest_error": 0.0 * steps}
    visited = visit(kgrad.examine(replace(sick.log, tables={"curvature": table})))
    page = visited.page
    page.locator("html[data-drawn]").wait_for(state="attached")
    curves = {each["name"]: each["data"] for each in option(page, "curvature")["series"] if each["type"] == "line"}
    assert curves["smallest eigenvalue"][2] == [60, -6]
    assert curves["largest eigenvalue"][2] == [60, 60]
    page.locator("#from").fill("100")
    page.locator("#from").press("Tab")
    settle(page)
    assert option(page, "curvature")["xAxis"][0]["min"] == 100
    page.get_by_text("Table of curvature").click()
    assert page.get_by_role("cell", name="-6 ± 0.6").is_visible()
    assert_quiet(visited)


def test_the_charts_follow_the_theme(opened):
    page = opened.page
    before = option(page, "overview")["yAxis"][0]["axisLabel"]["color"]
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert option(page, "overview")["yAxis"][0]["axisLabel"]["color"] != before
    page.emulate_media(color_scheme="light")
    settle(page)
    assert option(page, "overview")["yAxis"][0]["axisLabel"]["color"] == before


def test_the_charts_follow_the_width(opened):
    page = opened.page
    for width in (500, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        inside = page.evaluate(
            "() => [...document.querySelectorAll('[data-chart] canvas')].every(each => "
            "each.getBoundingClientRect().right <= innerWidth)"
        )
        assert inside, width


@pytest.mark.parametrize("name", ["overview", "layer", "depth", "norms", "updates"])
def test_every_chart_says_its_numbers_at_the_pointer(opened, name):
    page = opened.page
    chart = page.locator(f"[data-chart={name}]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_function(
        "name => { const chart = document.querySelector(`[data-chart=${name}]`).chart;"
        " return chart._componentsViews.some(view => view.type === 'tooltip' && view._tooltipContent?.el); }",
        arg=name,
    )


def test_a_longer_run_keeps_its_one_strange_step(visit):
    """More steps than a page shows: the spans' extremes are drawn, and the page says that it thinned."""
    loss = np.full(30_000, 1.0)
    loss[12_345] = 77.0
    visited = visit(kgrad.examine(deep(steps=30_000, loss=loss)))
    page = visited.page
    page.locator("html[data-drawn]").wait_for(state="attached")
    assert "30,000 recorded steps; the charts show" in page.locator(".note").inner_text()
    low, height = option(page, "overview")["series"][2:4]
    tops = [a[1] + b[1] for a, b in zip(low["data"], height["data"], strict=True)]
    assert max(tops) == pytest.approx(77.0)
    assert_quiet(visited)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["sick", "hostile"])
def test_axe_finds_no_barrier(visit, request, kind, scheme):
    """The rules of axe-core, WCAG 2 A and AA and its best practices; every folded part open."""
    visited = visit(request.getfixturevalue(kind), color_scheme=scheme)
    visited.page.locator("html[data-drawn]").wait_for(state="attached")
    assert_no_barrier(visited.page)


def test_axe_finds_no_barrier_without_scripts(browser, tmp_path, sick):
    text = re.sub(r"<script.*?</script>", "", kgrad.render(sick), flags=re.DOTALL)  # axe itself needs scripts
    visited = Visit(browser, tmp_path / "static.html", text)
    assert visited.page.locator(".heat").is_visible()
    assert_no_barrier(visited.page)
    visited.context.close()


def assert_no_barrier(page):
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    results = Axe().run(page)
    assert not results.response["violations"], results.generate_report()


def test_on_paper_the_static_pictures_stand_for_the_charts(visit, sick):
    visited = visit(sick)
    page = visited.page
    page.locator("html[data-drawn]").wait_for(state="attached")
    page.emulate_media(media="print")
    assert page.locator(".heat").is_visible()
    assert page.locator("svg.static").first.is_visible()
    assert not page.locator("[data-chart=overview]").is_visible()
    assert not page.locator(".controls").is_visible()
    assert page.get_by_role("button", name="Copy the code").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert_quiet(visited)
