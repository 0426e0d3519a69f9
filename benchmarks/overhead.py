"""What watching costs: training with kgrad against training with nothing, in interleaved rounds.

    uv run python benchmarks/overhead.py [--rounds 9] [--models MLP-3,CNN]

Every round trains each model for a few epochs in each way, one after the other in one process; the ratio
of a way is taken against the plain training of the same round. CPU time is steadier than wall-clock time on
a shared machine; both are printed, as the median over rounds with the spread between the quartiles.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from rich.progress import track

import kgrad

STEPS = 40


@dataclass(frozen=True)
class Subject:
    """A model with its data."""

    build: Callable[[], keras.Model]
    shape: tuple[int, ...]
    batch: int = 32
    classes: int = 10


def mlp(depth: int, width: int) -> keras.Model:
    hidden = [layers.Dense(width, activation="relu") for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, activation="softmax")])


def cnn() -> keras.Model:
    blocks = []
    for filters in (32, 64, 64):
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    head = [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input((32, 32, 3)), *blocks, *head])


SUBJECTS = {
    "MLP-3": Subject(lambda: mlp(3, 128), (64,)),
    "MLP-20": Subject(lambda: mlp(20, 64), (64,)),
    "CNN": Subject(cnn, (32, 32, 3)),
}


class Pasted(keras.callbacks.Callback):
    """What people paste from the web: a fresh tape pass over the batch after every step."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        super().__init__()
        self._x, self._y, self._batch = x, y, batch
        self.norms: list[list[float]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Computes the gradient a second time, for the norms."""
        part = slice(batch * self._batch, (batch + 1) * self._batch)
        x, y = tf.constant(self._x[part]), tf.constant(self._y[part])
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(x, y, self.model(x, training=True))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.norms.append([float(np.linalg.norm(np.asarray(gradient))) for gradient in gradients])


class Clock(keras.callbacks.Callback):
    """Time from the end of the first epoch, when all is traced, to the end of the last."""

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Starts after the first epoch; every later one is another end."""
        now = np.array([time.process_time(), time.perf_counter()])
        if epoch == 0:
            self._start = now
        self.spent = now - self._start


def measure(subject: Subject, rounds: int, epochs: int) -> tuple[float, dict[str, np.ndarray]]:
    """Milliseconds of a plain step, and by way the ratios, shape `(rounds, 2)`: CPU time and wall-clock time."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(STEPS * subject.batch, *subject.shape)).astype("float32")
    y = generator.integers(0, subject.classes, len(x))
    folder = tempfile.mkdtemp()
    ways: dict[str, Callable[[], list[keras.callbacks.Callback]]] = {
        "nothing": list,
        "kgrad": lambda: [kgrad.GradientMonitor(f"{folder}/run", report=False, verbose=0, strict=True)],
        "pasted callback": lambda: [Pasted(x, y, subject.batch)],
    }
    models = {way: compiled(subject) for way in ways}

    def seconds(way: str) -> np.ndarray:
        clock = Clock()
        callbacks = [*ways[way](), clock]
        models[way].fit(
            x, y, batch_size=subject.batch, epochs=epochs + 1, shuffle=False, verbose=0, callbacks=callbacks
        )
        return clock.spent

    taken = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way].append(seconds(way))
    plain = np.array(taken["nothing"])
    step = 1e3 * float(np.median(plain[:, 0])) / (epochs * STEPS)
    return step, {way: np.array(times) / plain for way, times in taken.items() if way != "nothing"}


def compiled(subject: Subject) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = subject.build()
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--models", default=",".join(SUBJECTS))
    options = parser.parse_args()
    rows = []
    for name in track(options.models.split(","), description="measuring"):
        step, ratios = measure(SUBJECTS[name], options.rounds, options.epochs)
        cells = [f"{name} ({step:.2f} ms)"]
        for values in ratios.values():
            low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
            cells += [f"{middle[k]:.3f} ({low[k]:.3f}-{high[k]:.3f})" for k in (0, 1)]
        rows.append(cells)
    print(f"\nTime against plain `fit`: median of {options.rounds} interleaved rounds (quartiles).\n")
    print("| model (CPU time of a plain step) | kgrad, CPU | kgrad, wall | pasted, CPU | pasted, wall |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
