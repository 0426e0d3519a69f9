"""At which depth do networks stop training? Activation x initializer x depth x clipnorm x seed on real digits.

uv run python examples/initializer_study.py --quick    # 240 trainings: ten minutes on two idle cores
uv run python examples/initializer_study.py            # 1,080 trainings

Every training leaves a run folder; a study that was broken off goes on where it stood. At the end all of them are
compared: reports/initializer_study.html.
"""

import argparse
import itertools
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

# One thread for each training: the trainings are what runs in parallel. Workers inherit this.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

import kgrad
from kgrad.comparison.settings import in_words
from kgrad.errors import RunFolderError

UNITS, EPOCHS, BATCH, RATE, JUDGED = 64, 10, 64, 0.05, 450
# "It trains": a one-sided binomial test against a network that always names the commonest digit, at this level.
LEVEL = 0.001
# What is chosen of a network, beside its depth.
FACTORS = ("initializer", "clipnorm")


@dataclass(frozen=True)
class Setting:
    """One training; the depth counts hidden layers."""

    activation: str
    initializer: str
    depth: int
    clipnorm: float | None
    seed: int

    @property
    def name(self) -> str:
        """What its run folder is called."""
        return "-".join(str(value) for value in asdict(self).values())


def settings(quick: bool) -> list[Setting]:
    """All combinations; the quick ones are the heart of the textbook's table."""
    activations = ("sigmoid", "tanh") if quick else ("sigmoid", "tanh", "relu")
    initializers = ("random_normal", "glorot_normal", "he_normal")
    depths = (2, 4, 8, 16) if quick else (1, 2, 4, 8, 16, 32)
    clipnorms = (None, 1.0)
    seeds = range(5 if quick else 10)
    return [Setting(*each) for each in itertools.product(activations, initializers, depths, clipnorms, seeds)]


def train(setting: Setting, folder: Path) -> None:
    """Trains one network under watch, unless its run folder is there already."""
    place = folder / setting.name
    if is_finished(place):
        return
    shutil.rmtree(place, ignore_errors=True)

    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(setting.seed)
    x, y, validation = data()
    hidden = [
        keras.layers.Dense(UNITS, activation=setting.activation, kernel_initializer=setting.initializer)
        for _ in range(setting.depth)
    ]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    optimizer = keras.optimizers.SGD(RATE, momentum=0.9, clipnorm=setting.clipnorm)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    monitor = kgrad.GradientMonitor(place, report=False, probe=False, tags={"seed": setting.seed}, verbose=0)
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, validation_data=validation, verbose=0, callbacks=[monitor])


def data():
    """1,347 digits to learn from and 450 to judge by, the same split for every training, inputs standardized."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=JUDGED, stratify=y, random_state=0)
    mean, spread = x.mean(), x.std()
    return (x - mean) / spread, y, ((x_test - mean) / spread, y_test)


def is_finished(place: Path) -> bool:
    try:
        return kgrad.read_run(place).status == "finished"
    except RunFolderError:
        return False


def accuracy(setting: Setting, folder: Path) -> float:
    """The share of the 450 digits named rightly after the last epoch."""
    return float(kgrad.read_run(folder / setting.name).epochs["val_accuracy"][-1])


@cache
def commonest() -> float:
    """The share of the commonest digit among those that networks are judged by."""
    _, _, (_, digits) = data()
    return max(Counter(digits.tolist()).values()) / len(digits)


def trains(share: float) -> bool:
    """Whether a network names more digits rightly than one that always names the commonest."""
    return binomtest(round(share * JUDGED), JUDGED, commonest(), alternative="greater").pvalue < LEVEL


def table(found: dict[Setting, float]) -> Table:
    """Accuracy and how many seeds train, by activation, initializer, clipnorm and depth."""
    depths = sorted({setting.depth for setting in found})
    made = Table(
        *("network", *(f"{depth} layers" for depth in depths), "stops at"),
        title="Mean accuracy on 450 new digits and how many seeds train, by hidden layers",
        title_justify="left",
        box=None,
    )
    rows: dict[tuple[str, str, float | None], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for setting, share in found.items():
        rows[setting.activation, setting.initializer, setting.clipnorm][setting.depth].append(share)
    for (activation, initializer, clipnorm), by_depth in rows.items():
        network = f"{activation}, {initializer}" + (f", clipnorm {clipnorm:g}" if clipnorm else "")
        made.add_row(network, *map(cell, by_depth.values()), stops_at(by_depth))
    return made


def cell(shares: list[float]) -> str:
    trained = sum(map(trains, shares))
    colour = "green" if trained == len(shares) else "red" if trained == 0 else "yellow"
    return f"[{colour}]{100 * sum(shares) / len(shares):.0f} %  {trained}/{len(shares)}[/]"


def stops_at(by_depth: dict[int, list[float]]) -> str:
    """The smallest depth at which no more than half of the seeds train, nor at any greater one."""
    stopped = [2 * sum(map(trains, shares)) <= len(shares) for shares in by_depth.values()]
    for place, depth in enumerate(by_depth):
        if all(stopped[place:]):
            return str(depth)
    return f"> {max(by_depth)}"


def pairs(found: dict[Setting, float]) -> Iterable[str]:
    """Which initializer and which clipnorm is better: sign tests over pairs of a depth and a seed, all corrected."""
    values = {factor: list(dict.fromkeys(getattr(setting, factor) for setting in found)) for factor in FACTORS}
    activations = list(dict.fromkeys(setting.activation for setting in found))
    choices = [(factor, *two) for factor in FACTORS for two in itertools.combinations(values[factor], 2)]
    for activation, (factor, one, other) in itertools.product(activations, choices):
        first, second = (means(found, activation, factor, value) for value in (one, other))
        differences = [share - second[pair] for pair, share in first.items()]
        wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        p = binomtest(wins, wins + losses).pvalue * len(choices) * len(activations) if wins + losses else 1.0
        one, other = (in_words(factor, value) for value in (one, other))
        says = f"{one if wins > losses else other} is better" if p < 0.05 else "no difference shown"
        yield f"{activation}, {one} against {other}: {wins} pairs to {losses}; {says} (p = {min(p, 1):.2g})"


def means(found: dict[Setting, float], activation: str, factor: str, value: str | float | None) -> dict[tuple, float]:
    """Accuracy by depth and seed, averaged over the rest: trainings from one seed are too alike to count each."""
    shares = defaultdict(list)
    for setting, share in found.items():
        if setting.activation == activation and getattr(setting, factor) == value:
            shares[setting.depth, setting.seed].append(share)
    return {pair: sum(each) / len(each) for pair, each in shares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="240 trainings instead of 1,080")
    parser.add_argument("--runs", type=Path, default=Path("runs/initializer_study"), help="where run folders go")
    parser.add_argument("--output", type=Path, default=Path("reports/initializer_study.html"), help="the comparison")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time")
    options = parser.parse_args()
    chosen = settings(options.quick)
    work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")
    done = work(delayed(train)(setting, options.runs) for setting in chosen)
    for _ in track(done, "training", total=len(chosen)):
        pass
    found = {setting: accuracy(setting, options.runs) for setting in chosen}
    console = Console(soft_wrap=True, highlight=False)
    console.print(table(found))
    console.print()
    for line in pairs(found):
        console.print(line)
    comparison = kgrad.compare([options.runs / setting.name for setting in chosen])
    print("", *comparison.verdict, sep="\n")
    print(kgrad.write_comparison(comparison, options.output))


if __name__ == "__main__":
    main()
