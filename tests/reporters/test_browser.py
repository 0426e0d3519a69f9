"""The page in a real browser."""

import pytest

import kgrad

pytestmark = pytest.mark.browser


class Visit:
    """A page opened from disk, with all that it logged and asked for."""

    def __init__(self, browser, path, text, **settings):
        path.write_text(text, encoding="utf-8")
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())


@pytest.fixture
def visit(browser, tmp_path):
    made = []

    def opened(examination, **settings):
        made.append(Visit(browser, tmp_path / f"{len(made)}.html", kgrad.render(examination), **settings))
        return made[-1]

    yield opened
    for each in made:
        each.context.close()


def assert_quiet(visited):
    assert visited.complaints == []
    assert [url for url in visited.requests if not url.startswith(("data:", "file:"))] == []


def test_the_verdict_is_seen_without_scrolling(visit, sick):
    visited = visit(sick)
    box = visited.page.locator("#verdict").bounding_box()
    assert " ".join(visited.page.locator("#verdict").inner_text().split()) == sick.diagnosis.verdict
    assert box["y"] + box["height"] < 300
    assert visited.page.get_by_text("Try this first").bounding_box()["y"] < 500
    assert_quiet(visited)


def test_hostile_names_do_nothing(visit, hostile):
    visited = visit(hostile)
    assert visited.page.title() != "owned"
    assert visited.page.locator("img[src=x]").count() == 0
    assert_quiet(visited)


def test_the_code_can_be_copied(visit, sick):
    visited = visit(sick, permissions=["clipboard-read", "clipboard-write"])
    button = visited.page.get_by_role("button", name="Copy the code").first
    button.click()
    visited.page.get_by_text("Copied", exact=True).wait_for()
    assert visited.page.evaluate("navigator.clipboard.readText()") == sick.prescriptions[0].code
    assert_quiet(visited)


def test_without_scripts_all_is_there_but_the_buttons(visit, sick):
    visited = visit(sick, java_script_enabled=False)
    assert visited.page.locator("#verdict").is_visible()
    assert visited.page.locator(".heat").is_visible()
    assert visited.page.locator("svg path").first.is_visible()
    assert visited.page.get_by_role("button").count() == 0


@pytest.mark.parametrize("width", [360, 1920])
@pytest.mark.parametrize("kind", ["sick", "hostile"])
def test_nothing_sticks_out(visit, width, kind, request):
    visited = visit(request.getfixturevalue(kind), viewport={"width": width, "height": 800})
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, sick, scheme):
    """Contrast of at least 4.5, as WCAG 2 AA asks of text."""
    visited = visit(sick, color_scheme=scheme)
    ratio = visited.page.evaluate(
        """() => {
          const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(n => n / 255)
              .map(n => n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
            return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
          const ground = e => { while (e) { const c = getComputedStyle(e).backgroundColor;
            if (!c.endsWith(', 0)') && c !== 'transparent') return c; e = e.parentElement; }
            return 'rgb(255,255,255)'; };
          let worst = 99;
          for (const e of document.querySelectorAll('h1,h2,h3,p,td,th,figcaption,del,ins,summary,button,code')) {
            const a = light(getComputedStyle(e).color), b = light(ground(e));
            worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
          }
          return worst; }"""
    )
    assert ratio >= 4.5
