"""What recording adds to one step, more finely than `overhead.py`: no `fit`, no pipeline, very short laps.

    uv run python benchmarks/step_cost.py [--model MLP-20] [--ways every=1,every=10] [--rounds 130] [--lap 80]
    uv run python benchmarks/step_cost.py --model ResNet-50 --ways same,every=1 --late --rounds 36 --lap 2 --warm-up 17

The training functions of equal models take turns in one loop, `--lap` steps each, over one cached data set that has no
threads of its own; callbacks are called as `fit` calls them. What `fit` and its pipeline do besides is left out of both
sides of a ratio, so it is larger than that of a real training, and steadier. The probe is off. `apart` is `every=10`
with each recorded step by itself, as it was before eight came to follow each other; `switched` is two plain functions,
of which each tenth call goes to the second, and `same` a second plain training.

A step of a large model takes so long that its first 512 cannot be waited for: with `--late` it is recorded from the
first one on as it would be after them. The laps of `every=10` are then no longer alike, and the ratio that counts is
that of all laps together.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from overhead import cells_of, clocks, monitor, names, print_table
from ways import Switched
from zoo import SUBJECTS, Subject

from kgrad.capture import progress

WAYS = ("same", "every=1", "every=10", "apart", "switched")


@dataclass
class Training:
    """One model in training, and the CPU and wall-clock seconds of its laps."""

    model: keras.Model
    callbacks: keras.callbacks.CallbackList
    iterator: Any
    laps: list[np.ndarray] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all its laps."""
        return float(sum(lap[1] for lap in self.laps))


def callbacks_of(way: str, folder: str) -> list[keras.callbacks.Callback]:
    if way == "switched":
        return [Switched()]
    if way in ("plain", "same"):
        return []
    watching = monitor(folder, every=1 if way == "every=1" else 10, probe=False)
    if way == "apart":
        watching._progress._in_a_row = 1
    return [watching]


def rows_of(subject: Subject, steps: int) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    rows = tf.data.Dataset.from_tensor_slices(subject.data(steps))
    return rows.batch(subject.batch, drop_remainder=True).cache().repeat().with_options(options)


def measure(
    subject: Subject, ways: list[str], rounds: int, lap: int, warm_up: int, folder: str
) -> dict[str, np.ndarray]:
    """Seconds of the laps by way, shape `(rounds, 2)`, CPU and wall; those of the first rounds are left out.

    All in one frame: kgrad takes the caller of a training function for its `fit`.
    """
    rows = rows_of(subject, lap)
    trainings: dict[str, Training] = {}
    for way in ways:
        model = subject.compiled()
        model.make_train_function()
        calls = keras.callbacks.CallbackList(callbacks_of(way, folder), model=model, epochs=1)
        calls.on_train_begin()
        calls.on_epoch_begin(0)
        trainings[way] = Training(model, calls, iter(rows))
    for number in range(warm_up + rounds):
        for each in trainings.values():
            begun = clocks()
            # What kgrad does every two seconds falls on its own seconds, not on those of the others.
            time.monotonic = lambda lead=each.seconds - begun[1]: lead + time.perf_counter()
            for step in range(number * lap, (number + 1) * lap):
                each.callbacks.on_train_batch_begin(step)
                logs = each.model.train_function(each.iterator)
                each.callbacks.on_train_batch_end(step, logs)
            each.laps.append(clocks() - begun)
    for each in trainings.values():
        each.callbacks.on_train_end()
    return {way: np.array(each.laps[warm_up:]) for way, each in trainings.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(SUBJECTS), default="MLP-20")
    parser.add_argument("--ways", type=names(WAYS), default=list(WAYS), help="which of: " + ",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=130)
    parser.add_argument("--lap", type=int, default=80, help="steps between two looks at the clock")
    parser.add_argument("--warm-up", type=int, default=10, help="rounds left out: all is traced, 512 steps are over")
    parser.add_argument("--late", action="store_true", help="record as after the first 512 steps")
    options = parser.parse_args()
    if options.late:
        progress.EARLY = 0
    with tempfile.TemporaryDirectory() as folder:
        ways = ["plain", *options.ways]
        laps = measure(SUBJECTS[options.model], ways, options.rounds, options.lap, options.warm_up, folder)
    plain = laps.pop("plain")
    print(f"\n{options.model}: {1e3 * np.median(plain[:, 0]) / options.lap:.2f} ms of CPU time a plain step\n")
    rows = []
    for way, each in laps.items():
        ratios = each / plain
        error = np.sqrt(np.pi / 2 / len(ratios)) * np.std(ratios[:, 0])  # of a median, were the ratios Gaussian
        rows.append([way, *cells_of(ratios), f"{error:.3f}", f"{each[:, 0].sum() / plain[:, 0].sum():.3f}"])
    print_table(["way", "CPU: median (quartiles)", "wall", "standard error, CPU", "CPU, all laps together"], rows)


if __name__ == "__main__":
    main()
