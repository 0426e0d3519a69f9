"""Several replicas: the logged gradient is the summed one that is applied, and only the chief writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kgrad

SCRIPT = Path(__file__).with_name("distributed_script.py")


def start(kind, run, weights, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), kind, str(run), str(weights)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training on one device."""
    folder = tmp_path_factory.mktemp("alone")
    finish(start("one", folder / "run", folder / "weights.npz"))
    return kgrad.read_run(folder / "run"), np.load(folder / "weights.npz")


def assert_same_log(log, expected):
    assert len(log) == len(expected)
    for name in expected.columns:
        np.testing.assert_allclose(log[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one.files)


def test_mirrored_replicas_log_the_gradient_of_the_whole_batch(alone, tmp_path):
    watched, plain = tmp_path / "watched.npz", tmp_path / "plain.npz"
    finish(start("mirrored", tmp_path / "run", watched))
    finish(start("mirrored", "none", plain))
    assert_same_log(kgrad.read_run(tmp_path / "run"), alone[0])
    assert same(np.load(watched), np.load(plain))


def two_workers(folder, watched):
    """Trains in two real processes on loopback; returns the weights that each of them ends with."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    weights = [folder / f"weights-{index}-{watched}.npz" for index in range(2)]
    finish(
        *(
            start(
                "worker",
                folder / f"run-{index}" if watched else "none",
                weights[index],
                TF_CONFIG=json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}),
            )
            for index in range(2)
        )
    )
    return [np.load(each) for each in weights]


def test_two_workers_write_one_run_and_end_with_the_weights_of_an_unwatched_training(alone, tmp_path):
    one, other = two_workers(tmp_path, watched=True)
    log = kgrad.read_run(tmp_path / "run-0")
    assert not (tmp_path / "run-1").exists()
    assert len(log) == 8
    expected = alone[0]
    for name in ("gradient_norm", "gradient_max", "weight_norm", "update_norm", "global_norm"):
        np.testing.assert_allclose(log[name], expected[name], rtol=1e-3, atol=1e-6, err_msg=name)
    plain, _ = two_workers(tmp_path, watched=False)
    assert same(one, other)
    assert same(one, plain)
