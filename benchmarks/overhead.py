"""What watching costs: training with kgrad, and with other ways to see gradients, against plain training.

    uv run --group exporters python benchmarks/overhead.py [--models MLP-3,CNN] [--pairs 9] [--quick]

A pair trains a model without and with one way of watching, one right after the other in one process, the order
turned from pair to pair; the ratio is that of the pair's times. Printed are the median over the pairs and the
quartiles, of CPU time (steady on a shared machine) and of wall-clock time. The first steps, in which the training
step is traced, are timed apart. The Markdown that is printed is the one that docs/performance.md keeps.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from overhead_models import SUBJECTS, Subject
from rich.progress import Progress

import kgrad
from kgrad.capture.curvature import CurvatureUnavailable
from kgrad.capture.probe import Probe

# In these everything is traced: the step as it is, with all statistics, and (with every=10 in step 10) with norms.
FIRST = 16
# A model is measured for so long at most, but in three pairs at least.
SECONDS = 80.0
# Statistics are taken in full in one of so many recorded steps: the monitor's default for small models, as all are.
DETAILS_EVERY = 8
FLOAT = 4


class Pasted(keras.callbacks.Callback):
    """What people paste from the web: a fresh tape pass over the batch after every step."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        super().__init__()
        self._x, self._y, self._batch = x, y, batch
        self.norms: list[list[float]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Computes the gradient a second time, for the norms."""
        part = slice(batch * self._batch, (batch + 1) * self._batch)
        gradients = gradients_of(self.model, self._x[part], self._y[part])
        self.norms.append([float(tf.norm(tf.convert_to_tensor(gradient))) for gradient in gradients])


class ReturnsNorms(keras.Model):
    """A `train_step` of one's own that returns the norms among its metrics, as forums advise."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras' step with a norm per variable in its logs."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        norms = {f"norm_{i}": tf.norm(tf.convert_to_tensor(gradient)) for i, gradient in enumerate(gradients)}
        return {"loss": loss, **norms}


class Clock(keras.callbacks.Callback):
    """CPU and wall-clock seconds of the first steps, and of each later one, the end of the epoch among them."""

    def __init__(self, first: int, others: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self._first, self._others = first, others
        self._start = now()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Ends the first steps."""
        if batch == self._first - 1:
            for monitor in self._others:
                if isinstance(monitor, kgrad.GradientMonitor):
                    monitor._read()  # makes the run folder: once in a run, like the tracing
            self._warm = now()
            self.beginning = self._warm - self._start
        self._last = batch

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Ends the later ones: the clock is last in the list, so what others do here counts."""
        self.step = (now() - self._warm) / (self._last + 1 - self._first)


def now() -> np.ndarray:
    """CPU time of the process and wall-clock time, in seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def gradients_of(model: keras.Model, x: np.ndarray, y: np.ndarray) -> list[Any]:
    """The gradients of a batch, eagerly."""
    x, y = tf.constant(x), tf.constant(y)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    return tape.gradient(loss, [variable.value for variable in model.trainable_variables])


def compiled(subject: Subject, kind: type[keras.Model] = keras.Model) -> keras.Model:
    """The subject's model, with Adam."""
    keras.utils.set_random_seed(0)
    model = kind(*subject.build())
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Measured:
    """One model under every way of watching.

    Args:
        subject: model and data.
        steps: how many steps are timed.
    """

    def __init__(self, subject: Subject, steps: int) -> None:
        self._subject, self._steps = subject, steps
        self._x, self._y = subject.data(FIRST + steps)
        folder = tempfile.mkdtemp()
        self.ways: dict[str, Callable[[], list[keras.callbacks.Callback]]] = {
            "kgrad": lambda: [self._monitor(folder)],
            "every=10": lambda: [self._monitor(folder, every=10)],
            "pasted callback": lambda: [Pasted(self._x, self._y, subject.batch)],
            "own train_step": list,
            "TensorBoard": lambda: [keras.callbacks.TensorBoard(folder, histogram_freq=1)],
        }
        if importlib.util.find_spec("tensorboard") is None:
            del self.ways["TensorBoard"]
        self._models = {
            way: compiled(subject, ReturnsNorms if way == "own train_step" else keras.Model)
            for way in ("nothing", *self.ways)
        }
        self.first: dict[str, np.ndarray] = {}
        self.plain: list[np.ndarray] = []
        self.ratios: dict[str, list[np.ndarray]] = {way: [] for way in self.ways}

    def _monitor(self, folder: str, **settings: Any) -> kgrad.GradientMonitor:
        return kgrad.GradientMonitor(
            f"{folder}/run", report=False, verbose=0, strict=True, probe=False, details_every=DETAILS_EVERY, **settings
        )

    def take_pair(self, way: str, plain_first: bool) -> None:
        """Trains with and without, and keeps the ratio of the times of a step."""
        order = ("nothing", way) if plain_first else (way, "nothing")
        spent = {each: self._seconds(each) for each in order}
        self.plain.append(spent["nothing"])
        self.ratios[way].append(spent[way] / spent["nothing"])

    def _seconds(self, way: str) -> np.ndarray:
        # Four times as slow and more: a quarter of the steps shows it as well.
        first, steps = (FIRST // 4, self._steps // 4) if way == "pasted callback" else (FIRST, self._steps)
        rows = (first + steps) * self._subject.batch
        callbacks = self.ways[way]() if way != "nothing" else []
        clock = Clock(first, callbacks)
        self._models[way].fit(
            self._x[:rows],
            self._y[:rows],
            batch_size=self._subject.batch,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, clock],
        )
        self.first.setdefault(way, clock.beginning - first * clock.step)
        return clock.step

    @property
    def step(self) -> np.ndarray:
        """Seconds of a plain step: CPU time, wall-clock time."""
        return np.median(self.plain, axis=0)

    def floor(self) -> tuple[float, float]:
        """Bytes that the statistics must read, and bytes that the step moves, were each read once where it is used.

        Statistics: the gradients once, and in one of `DETAILS_EVERY` steps the weights before and after. Step: the
        output of each layer is written and read forward, and its gradient written and read backward; each weight is
        read forward and backward, its gradient written; Adam reads gradient, weight and two moments and writes three.
        """
        model = self._models["nothing"]
        part = slice(self._subject.batch)
        gradients = gradients_of(model, self._x[part], self._y[part])
        read = sum(int(tf.size(getattr(gradient, "values", gradient))) for gradient in gradients)
        weights = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        outputs = self._subject.batch * sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers)
        return FLOAT * (read + 2 * weights / DETAILS_EVERY), FLOAT * (4 * outputs + 10 * weights)

    def probe(self) -> dict[str, list[float]]:
        """CPU seconds of activations and of curvature on one batch: the first time, with tracing, and again."""
        part = slice(self._subject.batch)
        probe = Probe(self._models["nothing"], self._x[part], self._y[part])
        taken: dict[str, list[float]] = {"activations": [], "curvature": []}
        for name, take in (("activations", probe.activation_statistics), ("curvature", probe.curvature)):
            for _ in range(2):
                start = time.process_time()
                try:
                    take()
                except CurvatureUnavailable:
                    break
                taken[name].append(time.process_time() - start)
        return taken


def measure(subject: Subject, pairs: int, quick: bool, advance: Callable[[], None]) -> Measured:
    """The subject in pairs, as many as asked for and as there is time for."""
    measured = Measured(subject, 40 if quick else subject.steps)
    start = time.perf_counter()
    for pair in range(pairs):
        if pair >= 3 and time.perf_counter() - start > SECONDS:
            break
        for way in measured.ways:
            measured.take_pair(way, plain_first=pair % 2 == 0)
        advance()
    return measured


def row_of(name: str, measured: Measured, kind: int) -> list[str]:
    """The ratios of one model, of CPU time (0) or of wall-clock time (1)."""
    cells = [name, f"{1e3 * measured.step[kind]:.2f}"]
    for values in measured.ratios.values():
        low, middle, high = np.percentile(np.array(values)[:, kind], [25, 50, 75])
        cells.append(f"{middle:.3f} ({low:.3f}-{high:.3f})")
    return [*cells, str(len(values))]


def apart(name: str, measured: Measured) -> list[str]:
    """What is not in the ratios: tracing, the probe, and the floor."""
    first = [f"{measured.first[way][0]:.2f}" for way in ("nothing", "kgrad", "own train_step")]
    read, moved = measured.floor()
    probe = [
        " / ".join(f"{seconds / measured.step[0]:.0f}" for seconds in times) or "not applicable"
        for times in measured.probe().values()
    ]
    kilo = [f"{number / 1e3:.0f} kB" for number in (read, moved)]
    return [name, *first, *kilo, f"{1 + read / moved:.3f}", *probe]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Prints Markdown."""
    print(f"\n{title}\n")
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Measures the models asked for and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(SUBJECTS), help="which, with commas between")
    parser.add_argument("--pairs", type=int, default=9, help="at most so many (3 or more within 80 seconds a model)")
    parser.add_argument("--quick", action="store_true", help="one pair of 40 steps: shows that it works")
    options = parser.parse_args()
    pairs = 1 if options.quick else options.pairs
    names = options.models.split(",")
    done: dict[str, Measured] = {}
    measure(SUBJECTS["MLP-3"], 1, True, lambda: None)  # what TensorFlow does once in a process
    with Progress(transient=True) as progress:
        for name in names:
            task = progress.add_task(name, total=pairs)
            done[name] = measure(SUBJECTS[name], pairs, options.quick, lambda task=task: progress.advance(task))
    ways = next(iter(done.values())).ways
    for kind, clock in enumerate(("CPU time", "Wall-clock time")):
        table(
            f"{clock} of a step against plain `fit`: median of interleaved pairs (quartiles).",
            ["model", "plain step, ms", *ways, "pairs"],
            [row_of(*item, kind) for item in done.items()],
        )
    table(
        "Apart: CPU seconds of tracing; bytes; the probe in units of a step (first time with tracing / again).",
        [
            "model",
            "tracing: plain",
            "kgrad",
            "own train_step",
            "statistics read",
            "step moves",
            "floor",
            "activations",
            "curvature",
        ],
        [apart(*item) for item in done.items()],
    )


if __name__ == "__main__":
    main()
