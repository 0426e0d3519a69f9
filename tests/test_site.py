"""The documentation site: generated pages are whole, code on the pages is real, it builds without a warning."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import kgrad
from kgrad.cli import app
from kgrad.diagnosis.rule import all_rules
from kgrad.prescription.prescribe import KNOBS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_rule_has_its_place_with_all_its_limits(generate):
    page = generate.rules_page()
    for rule in all_rules():
        part = page.split(f"{{ #{rule.id} }}")[1].split("\n## ")[0]
        assert rule.explanation in part
        for limit in rule.limits:
            assert f"| {limit.name} | {limit.value:g}" in part
            assert limit.source in part.replace("\\|", "|")


def test_every_knob_has_its_place_and_says_what_it_answers(generate):
    page = generate.knobs_page()
    for rule, knobs in KNOBS.items():
        assert len(generate.answers(rule)) == len(knobs)
        for knob in generate.answers(rule):
            assert knob.__name__.startswith("prescribe_"), knob
            part = page.split(f"{{ #{knob.__name__} }}")[1].split("\n## ")[0].split("\n### ")[0]
            assert f"(rules.md#{rule.split(':')[0]})" in part
            assert knob.__doc__.splitlines()[0] in part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_the_pages_parses_and_names_what_there_is(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(code.replace("callbacks=[", "callbacks = ["))
        for name in re.findall(r"\bkgrad\.(\w+)\(", code):
            assert hasattr(kgrad, name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_exist(page):
    commands = get_command(app).commands
    for code in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for name in re.findall(r"^kgrad (\w+)", code, re.MULTILINE):
            assert name in commands, name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: uv sync --group docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rules" / "index.html").exists()
    assert "https://fonts" not in (tmp_path / "index.html").read_text()
