"""Fifty processes killed at random moments while they write: every folder opens, at most one flush is lost."""

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kgrad

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
import numpy as np
from kgrad.log import schema
from kgrad.log.store import claim_free
from kgrad.log.writer import RunWriter
from tests.log.factory import run_log

log = run_log(40)
writer = RunWriter(claim_free(sys.argv[1]), log.structure, {})
series = {name: log[name] for name in schema.STEP_SERIES}
table = {name: log[name] for name in schema.STATISTICS}
for block in range(400):
    writer.add_steps(np.arange(40 * block, 40 * block + 40), series, table)
    writer.add_epoch(block, 40 * block + 39, {"loss": 1.0})
    writer.flush()
    print(40 * block + 40, flush=True)
    if block % 50 == 49:  # a fit ends, parts are joined, the next begins
        writer.close("finished")
        writer.reopen()
"""


def kill_one(place: Path, moment: float) -> int:
    """Kills a writer after a while; how many steps it had said were written."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        said = [process.stdout.readline()]  # it has begun
        time.sleep(moment)
        process.kill()
        said += process.stdout.read().split()
    return int(said[-1])


@pytest.mark.slow
def test_every_folder_opens_and_at_most_one_flush_is_lost(tmp_path):
    moments = [random.Random(i).uniform(0.0, 1.5) for i in range(50)]
    with ThreadPoolExecutor(4) as pool:
        promised = list(pool.map(kill_one, [tmp_path / f"run-{i}" for i in range(50)], moments))
    assert max(promised) > 40 * 60  # some were killed after parts had been joined
    for i, steps in enumerate(promised):
        log = kgrad.read_run(tmp_path / f"run-{i}")
        assert steps <= len(log) <= steps + 40
        np.testing.assert_array_equal(log.steps, np.arange(len(log)))
        assert np.isfinite(log["gradient_norm"]).all()
        assert log.status in ("interrupted", "finished")
