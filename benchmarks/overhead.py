"""What watching costs: training with kgrad against training with nothing, in interleaved laps.

    uv run python benchmarks/overhead.py [--rounds 25] [--models MLP-3,CNN] [--ways kgrad,pasted]

All ways of training one model run in one process, each `fit` in a thread of its own, and take turns: an epoch of
one, an epoch of the next (`Turns`). So a lap of a way is compared with the plain lap of the same round, seconds
away, and whatever else the machine does falls on both. While a way waits for its turn its `time.monotonic` stands
still, or what kgrad does every two seconds would fall on every lap. CPU time is steadier than wall-clock time on a
shared machine; both are printed, as the median over rounds with the spread between the quartiles. The first epoch,
in which all is traced, is left out. The ways:

* `kgrad`: `GradientMonitor` as it comes, every step; `later`: as it goes on after 512 steps, all statistics in one of
  32; `every=10`: one step in ten;
* `pasted`: a callback with a tape of its own after every step, as found on the web;
* `train_step`: a `train_step` of one's own that returns the norm of each gradient as a metric;
* `tensorboard`: Keras' `TensorBoard(histogram_freq=1)`, which since Keras 3 writes histograms of the *weights*, once
  an epoch, and no gradients (needs `uv sync --group exporters`; left out otherwise).

The second table holds what the ratios leave out:

* Tracing: seconds (wall clock) of the first two steps of a new model, plain and with kgrad. Two, because kgrad
  traces a step with all statistics first, and then one with the norms alone.
* Floor: what no way of computing the statistics can go under where memory is the limit: the bytes they must read
  over the bytes that a step moves anyway. With P trainable parameters, s optimizer slots per parameter (Adam: 2)
  and A output values of layers in a batch, at 4 bytes each:
    - read by the statistics: P (gradients, every step) + share * 2 P (weights before and after the update, in the
      steps with all statistics: one in 32);
    - moved by the step: P * (2 weights read forward and backward + 2 gradient written and read + 2 s slots read and
      written + 2 weights read and written by the update) + A * (2 written and read forward + 1 read backward
      + 2 its gradient written and read).
  An estimate by counting: caches and fused operations move less, temporary copies more. Of a layer that keeps
  more inside (LSTM, attention) only the output counts. Small models lie far above it: there the launch of operations
  counts.
* Curvature: one `Probe.curvature()` on one batch, CPU time over that of a plain step, second call.
"""

import argparse
import importlib.util
import os
import tempfile
import threading
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.progress import track
from ways import Branched, Normed, Pasted, Switched
from zoo import SUBJECTS, Subject

import kgrad
from kgrad.capture.monitor import _DETAILS_EVERY
from kgrad.capture.probe import Probe
from kgrad.errors import CaptureError

_monotonic = time.monotonic
_waited = threading.local()


def own_time() -> float:
    """Seconds on the clock of this thread, which stands while others have their turn."""
    return _monotonic() - getattr(_waited, "seconds", 0.0)


WAYS = ("kgrad", "later", "every=10", "pasted", "train_step", "tensorboard", "switched", "branched")
_KINDS = {"train_step": Normed, "branched": Branched}


class Turns:
    """Fits in threads of their own, of which one runs at a time, each for an epoch.

    Args:
        ways: how many there are.

    Attributes:
        laps: CPU and wall-clock seconds by way and epoch.
    """

    def __init__(self, ways: int) -> None:
        self.laps: list[list[np.ndarray]] = [[] for _ in range(ways)]
        self._batons = [threading.Semaphore(0) for _ in range(ways)]
        self._going = list(range(ways))
        self._failures: list[BaseException] = []

    def run(self, fits: list[Callable[[keras.callbacks.Callback], object]]) -> None:
        """Runs all to their end.

        Args:
            fits: each is given the callback that it must put last.
        """
        threads = [threading.Thread(target=self._run, args=(number, fit)) for number, fit in enumerate(fits)]
        for thread in threads:
            thread.start()
        self._batons[0].release()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def pass_on(self, number: int) -> None:
        """Lets the next one run, and returns when it is this one's turn again."""
        begun = _monotonic()
        self._release_next(number)
        self._batons[number].acquire()
        _waited.seconds = getattr(_waited, "seconds", 0.0) + _monotonic() - begun

    def _run(self, number: int, fit: Callable[[keras.callbacks.Callback], object]) -> None:
        self._batons[number].acquire()
        try:
            fit(Lap(self, number))
        except BaseException as error:
            self._failures.append(error)
        self._going.remove(number)
        self._release_next(number)

    def _release_next(self, number: int) -> None:
        """Of those that are still going, the one behind this one; itself where it is the last."""
        if self._going:
            self._batons[next((each for each in self._going if each > number), self._going[0])].release()


class Lap(keras.callbacks.Callback):
    """Takes the time of each epoch, and lets the others run before the next."""

    def __init__(self, turns: Turns, number: int) -> None:
        super().__init__()
        self._turns, self._number = turns, number

    def on_train_begin(self, logs: object = None) -> None:
        """What comes before counts for the first epoch, which is left out."""
        self._start = clocks()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """The epoch ends here for all callbacks: this one is the last."""
        self._turns.laps[self._number].append(clocks() - self._start)
        self._turns.pass_on(self._number)
        self._start = clocks()


def clocks() -> np.ndarray:
    """CPU and wall-clock seconds."""
    return np.array([time.process_time(), time.perf_counter()])


class Stamps(keras.callbacks.Callback):
    """When the first step began and the latest one ended, in seconds."""

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        """Only the first beginning counts."""
        if batch == 0:
            self.first = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Every step is another end."""
        self.last = time.perf_counter()


def monitor(folder: str, **settings: int) -> kgrad.GradientMonitor:
    return kgrad.GradientMonitor(f"{folder}/run", **settings, report=False, verbose=0, strict=True)


def measure(subject: Subject, rounds: int, chosen: list[str], folder: str) -> tuple[float, dict[str, np.ndarray], bool]:
    """Milliseconds of a plain step; by way the ratios, shape `(rounds, 2)`, CPU and wall; if curvature was taken."""
    x, y = subject.data(subject.steps)
    ways: dict[str, Callable[[], list[keras.callbacks.Callback]]] = {
        "nothing": list,
        "kgrad": lambda: [monitor(folder)],
        "later": lambda: [monitor(folder, details_every=_DETAILS_EVERY[1])],
        "every=10": lambda: [monitor(folder, every=10)],
        "pasted": lambda: [Pasted(x, y, subject.batch)],
        "train_step": list,
        "tensorboard": lambda: [keras.callbacks.TensorBoard(f"{folder}/board", histogram_freq=1)],
        "switched": lambda: [Switched()],
        "branched": list,
    }
    ways = {way: make for way, make in ways.items() if way == "nothing" or way in chosen}
    callbacks = {way: make() for way, make in ways.items()}

    def fit(way: str, model: keras.Model) -> Callable[[keras.callbacks.Callback], object]:
        settings = {"batch_size": subject.batch, "epochs": rounds + 1, "shuffle": False, "verbose": 0}
        return lambda lap: model.fit(x, y, **settings, callbacks=[*callbacks[way], lap])

    turns = Turns(len(ways))
    turns.run([fit(way, subject.compiled(_KINDS.get(way, keras.Model))) for way in ways])
    laps = {way: np.array(laps[1:]) for way, laps in zip(ways, turns.laps, strict=True)}
    watching = [each for made in callbacks.values() for each in made if isinstance(each, kgrad.GradientMonitor)]
    # What is taken at the very end comes after the last lap.
    end = (rounds + 1) * subject.steps
    stalled = any(step < end for each in watching for step in each.log.tables.get("curvature", {}).get("step", []))
    plain = laps.pop("nothing")
    step = 1e3 * float(np.median(plain[:, 0])) / subject.steps
    return step, {way: times / plain for way, times in laps.items()}, stalled


def first_steps(subject: Subject, callbacks: list[keras.callbacks.Callback]) -> float:
    """Seconds from the start of the first step of a new model to the end of the second."""
    stamp = Stamps()
    x, y = subject.data(2)
    subject.compiled().fit(x, y, batch_size=subject.batch, verbose=0, callbacks=[*callbacks, stamp])
    return stamp.last - stamp.first


def floor(subject: Subject) -> float:
    """Bytes the statistics must read over bytes a step moves; see the top of this file."""
    model = subject.compiled()
    weights = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    slots = sum(int(np.prod(variable.shape)) for variable in model.optimizer.variables if len(variable.shape))
    outputs = [layer.output for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    values = subject.batch * sum(int(np.prod(output.shape[1:])) for output in outputs)
    share = 1 / _DETAILS_EVERY[1]
    read = weights * (1 + 2 * share)
    moved = 6 * weights + 2 * slots + 5 * values
    return read / moved


def curvature(subject: Subject, step: float) -> str:
    """The CPU time of the second call, in plain steps of `step` milliseconds."""
    try:
        probe = Probe(subject.compiled(), *subject.data(1))
        probe.curvature()
        start = time.process_time()
        probe.curvature()
    except CaptureError as reason:
        return f"none ({str(reason).splitlines()[0]})"
    return f"{1e3 * (time.process_time() - start) / step:.0f} steps"


def cells_of(ratios: np.ndarray) -> list[str]:
    low, middle, high = np.percentile(ratios, [25, 50, 75], axis=0)
    return [f"{middle[k]:.3f} ({low[k]:.3f}-{high[k]:.3f})" for k in (0, 1)]


def print_table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


def names(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = text.split(",")
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(allowed)}")
        return given

    return parse


def main() -> None:
    time.monotonic = own_time
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--models", type=names(tuple(SUBJECTS)), default=list(SUBJECTS))
    parser.add_argument("--ways", type=names(WAYS), default=list(WAYS))
    options = parser.parse_args()
    ways = [way for way in WAYS if way in options.ways]
    if "tensorboard" in ways and importlib.util.find_spec("tensorboard") is None:
        ways.remove("tensorboard")
        print("tensorboard is left out: it is not installed (uv sync --group exporters)")
    costs, apart = [], []
    for name in track(options.models, description="measuring"):
        subject = SUBJECTS[name]
        with tempfile.TemporaryDirectory() as folder:
            first_steps(subject, [])  # what TensorFlow loads once is no tracing
            tracing = [first_steps(subject, []), first_steps(subject, [monitor(folder)])]
            step, ratios, stalled = measure(subject, options.rounds, ways, folder)
        costs.append([f"{name} ({step:.2f} ms)", *(cell for way in ways for cell in cells_of(ratios[way]))])
        apart.append([name, *(f"{seconds:.2f} s" for seconds in tracing), f"{floor(subject):.3f}"])
        apart[-1].append(curvature(subject, step))
        if stalled:
            print(f"{name}: kgrad took the curvature while it trained; the ratios may hold its cost")
        keras.backend.clear_session()
    print(f"\nTime against plain `fit`: median of {options.rounds} interleaved laps (quartiles).\n")
    head = [f"{way}, {clock}" for way in ways for clock in ("CPU", "wall")]
    print_table(["model (CPU time of a plain step)", *head], costs)
    print("\nWhat comes apart from the ratios.\n")
    print_table(["model", "first two steps, plain", "first two steps, kgrad", "floor", "curvature"], apart)


if __name__ == "__main__":
    main()
