"""What recording adds to one step, more finely than `overhead.py`: no `fit`, no pipeline, very short laps.

    uv run python benchmarks/step_cost.py [--model MLP-20] [--ways every=1,every=10] [--rounds 130] [--lap 80]

The training functions of equal models take turns in one loop, `--lap` steps each, over one cached data set that has no
threads of its own; callbacks are called as `fit` calls them. What `fit` and its pipeline do besides is left out of both
sides of a ratio, so it is larger than that of a real training, and steadier. The probe is off. `apart` is `every=10`
with each recorded step by itself, as it was before eight came to follow each other; `switched` is two plain functions,
of which each tenth call goes to the second, and `same` a second plain training.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from ways import Switched
from zoo import SUBJECTS, Subject

import kgrad

WAYS = ("same", "every=1", "every=10", "apart", "switched")
# Rounds that are left out: all is traced in them, and the first 512 steps are over.
WARM_UP = 10


@dataclass
class Training:
    """One model in training, and the CPU seconds of its laps."""

    model: keras.Model
    callbacks: keras.callbacks.CallbackList
    iterator: Any
    laps: list[float] = field(default_factory=list)
    used: float = 0.0


def callbacks_of(way: str, folder: str) -> list[keras.callbacks.Callback]:
    if way == "switched":
        return [Switched()]
    if way in ("plain", "same"):
        return []
    every = 1 if way == "every=1" else 10
    monitor = kgrad.GradientMonitor(f"{folder}/run", every=every, probe=False, report=False, verbose=0, strict=True)
    if way == "apart":
        monitor._progress._in_a_row = 1
    return [monitor]


def rows_of(subject: Subject, steps: int) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    rows = tf.data.Dataset.from_tensor_slices(subject.data(steps))
    return rows.batch(subject.batch, drop_remainder=True).cache().repeat().with_options(options)


def measure(subject: Subject, ways: list[str], rounds: int, lap: int, folder: str) -> dict[str, np.ndarray]:
    """CPU seconds of the laps by way. All in one frame: kgrad takes the caller of a training function for its `fit`."""
    rows = rows_of(subject, lap)
    trainings: dict[str, Training] = {}
    for way in ways:
        model = subject.compiled()
        model.make_train_function()
        calls = keras.callbacks.CallbackList(callbacks_of(way, folder), model=model, epochs=1)
        calls.on_train_begin()
        calls.on_epoch_begin(0)
        trainings[way] = Training(model, calls, iter(rows))
    clock = time.perf_counter
    for number in range(WARM_UP + rounds):
        for each in trainings.values():
            begun, cpu = clock(), time.process_time()
            # What kgrad does every two seconds falls on its own seconds, not on those of the others.
            time.monotonic = lambda used=each.used, begun=begun: used + clock() - begun
            for step in range(number * lap, (number + 1) * lap):
                each.callbacks.on_train_batch_begin(step)
                logs = each.model.train_function(each.iterator)
                each.callbacks.on_train_batch_end(step, logs)
            each.laps.append(time.process_time() - cpu)
            each.used += clock() - begun
    for each in trainings.values():
        each.callbacks.on_train_end()
    return {way: np.array(each.laps[WARM_UP:]) for way, each in trainings.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(SUBJECTS), default="MLP-20")
    parser.add_argument("--ways", default=",".join(WAYS), help="which of: " + ",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=130)
    parser.add_argument("--lap", type=int, default=80)
    options = parser.parse_args()
    ways = options.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(WAYS)}")
    with tempfile.TemporaryDirectory() as folder:
        laps = measure(SUBJECTS[options.model], ["plain", *ways], options.rounds, options.lap, folder)
    plain = laps.pop("plain")
    print(f"\n{options.model}: {1e3 * np.median(plain) / options.lap:.2f} ms of CPU time a plain step\n")
    print("| way | CPU time over that of plain steps: median (quartiles) | standard error |\n|---|---|---|")
    for way, each in laps.items():
        ratios = each / plain
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        error = np.sqrt(np.pi / 2) * np.std(ratios) / np.sqrt(len(ratios))  # of a median, were the ratios Gaussian
        print(f"| {way} | {middle:.3f} ({low:.3f}-{high:.3f}) | {error:.3f} |")


if __name__ == "__main__":
    main()
