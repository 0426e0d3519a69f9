"""The study of initializers: its table says what the runs say, and it goes on where it was broken off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# In a process of its own: the study sets how many threads TensorFlow has.
START = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import initializer_study as s; "


def run(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", START + code], cwd=cwd, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_what_counts_as_training_and_as_stopping(tmp_path):
    assert run("print(round(s.commonest(), 3), s.trains(0.1022), s.trains(0.13), s.trains(0.2))", tmp_path) == (
        "0.102 False False True"
    )
    assert run("print(s.stops_at({2: [0.9, 0.9], 4: [0.1, 0.9], 8: [0.1, 0.1]}))", tmp_path) == "4"
    assert run("print(s.stops_at({2: [0.9], 4: [0.1], 8: [0.9]}))", tmp_path) == "> 8"


def test_the_pairs_count_what_shares_all_else(tmp_path):
    code = (
        "found = {s.Setting('tanh', i, d, None, seed): share for i, share in (('a', 0.1), ('b', 0.9)) "
        "for d in range(5) for seed in range(2)}; print(*s.pairs(found))"
    )
    assert run(code, tmp_path) == "tanh, a against b: 0 pairs to 10; b is better (p = 0.002)"


def test_trainings_of_one_seed_are_one_pair(tmp_path):
    code = (
        "found = {s.Setting('tanh', i, 1, c, seed): share for i, share in (('a', 0.1), ('b', 0.9)) "
        "for c in (None, 1.0) for seed in range(5)}; print(*s.pairs(found), sep='|')"
    )
    assert run(code, tmp_path).split("|") == [
        "tanh, a against b: 0 pairs to 5; no difference shown (p = 0.12)",
        "tanh, no clipnorm against clipnorm 1: 0 pairs to 0; no difference shown (p = 1)",
    ]


def test_all_combinations_are_there_once():
    code = "print([(len(s.settings(q)), len({each.name for each in s.settings(q)})) for q in (True, False)])"
    assert run(code, EXAMPLES) == "[(240, 240), (1080, 1080)]"


@pytest.mark.slow
def test_a_small_study_trains_each_setting_once(tmp_path):
    code = (
        "s.settings = lambda quick: [s.Setting('sigmoid', 'random_normal', d, None, 0) for d in (1, 6)]; "
        "sys.argv = ['study', '--runs', 'made', '--jobs', '1']; s.main()"
    )
    first = run(code, tmp_path)
    assert first.splitlines()[-1] == "reports/initializer_study.html"
    assert (tmp_path / "reports" / "initializer_study.html").read_text().startswith("<!doctype html>")
    assert "1/1" in first
    assert "0/1" in first
    runs = sorted((tmp_path / "made").iterdir())
    assert [path.name for path in runs] == ["sigmoid-random_normal-1-None-0", "sigmoid-random_normal-6-None-0"]
    written = [(path / "run.json").stat().st_mtime_ns for path in runs]
    again = run(code, tmp_path)
    assert [line for line in again.splitlines() if "sigmoid" in line] == [
        line for line in first.splitlines() if "sigmoid" in line
    ]
    assert written == [(path / "run.json").stat().st_mtime_ns for path in runs]
