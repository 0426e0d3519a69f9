"""The command line as a person meets it: output, exit codes, one clear line for each mistake."""

import json
import subprocess
import sys

import pytest

import kgrad
from kgrad.diagnosis.rule import all_rules

from .log.test_run_folder import write


def run(*words: object, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kgrad", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "run")
    return tmp_path / "run"


def test_report_writes_html_where_the_readme_says(folder):
    done = run("report", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert (folder.parent / "reports" / "run.html").read_text().startswith("<!doctype html>")
    assert "reports/run.html" in done.stdout


def test_report_as_json_is_json(folder):
    done = run("report", folder, "--format", "json")
    assert json.loads(done.stdout)["diagnosis"]["run"] == "run"


def test_report_as_text_says_the_verdict(folder):
    done = run("report", folder, "--format", "text")
    assert kgrad.diagnose(kgrad.read_run(folder)).verdict in done.stdout


def test_diagnose_is_a_gate(folder):
    assert run("diagnose", folder).returncode == 0
    healthy = kgrad.diagnose(kgrad.read_run(folder)).is_healthy
    assert run("diagnose", folder, "--fail-on", "low").returncode == (0 if healthy else 1)


def test_compare_as_json_and_csv(folder, tmp_path):
    write(tmp_path / "other")
    done = run("compare", folder, tmp_path / "other", "--format", "json")
    assert [each["name"] for each in json.loads(done.stdout)["runs"]] == ["run", "other"]
    done = run("compare", f"{tmp_path}/*", "-o", tmp_path / "runs.csv")
    assert str(tmp_path / "runs.csv") in done.stdout
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 3


def test_rules_lists_every_rule():
    done = run("rules")
    for rule in all_rules():
        assert rule.id in done.stdout


def test_explain_prints_the_docstring_and_the_sources():
    done = run("explain", "plateau")
    assert "Plateau" in done.stdout
    for limit in next(rule for rule in all_rules() if rule.id == "plateau").limits:
        assert limit.name in done.stdout


def test_version():
    assert run("--version").stdout == f"kgrad {kgrad.__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("report", "nowhere"), "there is no folder"),
        (("diagnose", "."), "no run.json"),
        (("report", "{run}", "--format", "pdf"), "unknown format"),
        (("diagnose", "{run}", "--fail-on", "awful"), "unknown severity"),
        (("explain", "nonsense"), "the rules are"),
        (("compare", "{run}"), "two runs or more"),
        (("compare", "nothing*"), "matches nothing"),
        (("compare", "{run}", "{half}", "--by", "nonsense"), "no run has a setting"),
        (("compare", "{run}", "{half}", "--format", "pdf"), "unknown format"),
        (("demo", "nonsense"), "the stories are"),
        (("report", "{run}", "-o", "{run}/run.json/x.html"), "cannot write"),
        (("report", "{newer}"), "pip install -U kgrad"),
        (("report", "{half}"), "not a run description"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, says, folder, tmp_path):
    for name, text in (("newer", '{"schema_version": 99}'), ("half", '{"schema_ver')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    places = {"run": folder, "newer": tmp_path / "newer", "half": tmp_path / "half"}
    done = run(*(word.format(**places) for word in words), cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_run_keeps_its_files_when_a_report_fails(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run("report", folder, "-o", folder / "run.json" / "x.html")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
