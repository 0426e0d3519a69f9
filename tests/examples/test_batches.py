"""The examples of batches run as they stand, leave a run folder per training, and end with the next command."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kgrad

EXAMPLES = Path(__file__).parents[2] / "examples"
# Script, the engine it needs, trials, the run folders they leave.
SCRIPTS = [
    ("plain_loop.py", None, 2, {"sigmoid-glorot_uniform-0", "sigmoid-he_normal-0"}),
    ("optuna_search.py", "optuna", 2, {"trial-0", "trial-1"}),
    ("kerastuner_search.py", "keras_tuner", 1, {"trial", "trial-2"}),
    ("ray_tune_search.py", "ray", 2, {"trial", "trial-2"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "engine", "trials", "folders"), SCRIPTS, ids=[entry[0] for entry in SCRIPTS])
def test_each_training_leaves_its_own_run_and_the_next_command_is_shown(script, engine, trials, folders, tmp_path):
    if engine is not None and importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed: uv sync --group examples")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_USAGE_STATS_ENABLED": "0", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, "--runs", "made", "--trials", str(trials)],
        cwd=tmp_path,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.rstrip().splitlines()[-1] == "kgrad compare made"
    assert {path.name for path in (tmp_path / "made").iterdir()} == folders
    for name in folders:
        log = kgrad.read_run(tmp_path / "made" / name)
        assert (log.status, len(log)) == ("finished", 115)  # 5 epochs of 23 batches
        assert (tmp_path / "made" / name / "diagnosis.json").exists()


def test_every_script_of_the_folder_says_how_to_run_it():
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in path.read_text(), path.name
