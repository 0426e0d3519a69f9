"""What comparing many runs takes: seconds, memory, and how both grow with the number of runs.

    python benchmarks/compare_time.py [--runs 1000] [--layers 50] [--steps 500] [--place FOLDER] [--undiagnosed]

Every run folder is written by kgrad's own writer, with kernels and biases of every layer and all columns, as a
monitor leaves it; `--undiagnosed` leaves out diagnosis.json, so that every rule has to be asked again.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import kgrad
from kgrad.log import schema
from kgrad.log.run_log import RunLog
from kgrad.log.store import Store
from kgrad.log.structure import Layer, Structure, Variable
from kgrad.log.writer import RunWriter
from kgrad.workflow import examine, render_comparison

ACTIVATIONS = ("sigmoid", "tanh", "relu")
INITIALIZERS = ("GlorotUniform", "HeNormal")
RATES = (0.1, 0.01, 0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--place", type=Path, help="write the runs here and keep them; those there are used again")
    parser.add_argument("--undiagnosed", action="store_true")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        return measure(chosen.place, chosen.child)
    place = chosen.place or Path(tempfile.mkdtemp(prefix="kgrad-compare-"))
    begun = time.perf_counter()
    for number in range(chosen.runs):
        if not (place / f"run-{number:05d}").exists():
            write(place / f"run-{number:05d}", number, chosen.layers, chosen.steps, not chosen.undiagnosed)
    print(f"{chosen.runs} runs of {chosen.layers} layers x {chosen.steps} steps (written in", end=" ")
    print(f"{time.perf_counter() - begun:.0f} s)\n\n  runs   compare   page     page size   peak memory, all processes")
    for count in sorted({max(2, chosen.runs // 4), chosen.runs // 2, chosen.runs}):
        subprocess.run([sys.executable, __file__, "--place", str(place), "--child", str(count)], check=True)
    if chosen.place is None:
        shutil.rmtree(place)
    return None


def measure(place: Path, count: int) -> None:
    runs = sorted(place.glob("run-*"))[:count]
    begun = time.perf_counter()
    comparison = kgrad.compare(runs)
    compared = time.perf_counter()
    page = render_comparison(comparison, "html")
    rendered = time.perf_counter()
    assert not any(run.status == "unreadable" for run in comparison.runs)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stop_workers()
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    processes = joblib_processes(count)
    print(
        f"{count:6}  {compared - begun:6.1f} s  {rendered - compared:5.2f} s  {len(page) / 2**20:7.2f} MiB"
        f"   {own + worker * processes:.0f} MiB = {own:.0f} + {processes} x {worker:.0f}"
    )


def joblib_processes(count: int) -> int:
    import joblib

    from kgrad.comparison.comparing import _WORTH_PROCESSES

    return int(joblib.cpu_count()) if count >= _WORTH_PROCESSES else 0


def stop_workers() -> None:
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def write(place: Path, number: int, layers: int, steps: int, diagnosed: bool) -> None:
    activation = ACTIVATIONS[number % 3]
    initializer = INITIALIZERS[number // 3 % 2]
    rate = RATES[number // 6 % 3]
    log = made(number, layers, steps, activation, initializer)
    optimizer = {"class_name": "Adam", "config": {"learning_rate": rate, "clipnorm": None, "beta_1": 0.9}}
    facts = {"optimizer": optimizer, "loss": "mse", "tags": {"seed": number // 18}, "kgrad_version": kgrad.__version__}
    writer = RunWriter(Store(str(place)), log.structure, facts)
    series = {name: log[name] for name in schema.STEP_SERIES if name in log}
    writer.add_steps(log.steps, series, {name: log[name] for name in schema.STATISTICS})
    for epoch in range(5):
        writer.add_epoch(epoch, steps * (epoch + 1) // 5 - 1, {"loss": 1.0, "val_loss": float(log["loss"][-1])})
    writer.close("finished")
    if diagnosed:
        writer.write_diagnosis(examine(replace(log, name=place.name)).to_dict())


def made(number: int, layers: int, steps: int, activation: str, initializer: str) -> RunLog:
    """A run whose gradient vanishes under sigmoid and whose loss then stands still."""
    generator = np.random.default_rng(number)
    names = [f"dense_{i}" for i in range(layers)]
    config = {"units": 32, "use_bias": True, "kernel_regularizer": None, "activation": activation}
    described = tuple(
        Layer(name, "Dense", i, activation, 32, (names[i - 1],) if i else (), 1056, config=config)
        for i, name in enumerate(names)
    )
    kind = {"class_name": initializer, "config": {"seed": None}}
    variables = tuple(
        Variable(f"{name}/{role}", name, role, shape, "float32", kind if role == "kernel" else None)
        for name in names
        for role, shape in (("kernel", (32, 32)), ("bias", (32,)))
    )
    decades = 8.0 if activation == "sigmoid" else 0.5
    shape = (steps, len(variables))
    norms = generator.lognormal(0, 0.2, shape) * np.repeat(10.0 ** -np.linspace(decades, 0, layers), 2)
    falls = 2.3 if activation == "sigmoid" else 0.3 + 2 * np.exp(-np.arange(steps) * 10 / steps)
    loss = falls * (1 + 0.02 * generator.standard_normal(steps)) * (1 + 0.05 * generator.standard_normal())
    total = np.sqrt((norms**2).sum(axis=1))
    columns = {
        "gradient_norm": norms,
        "gradient_mean": norms * generator.standard_normal(shape) / 1000,
        "gradient_std": norms / 32,
        "gradient_max": norms / 8,
        "zero_fraction": generator.random(shape) * (activation == "relu") / 2,
        "nonfinite_count": np.zeros(shape),
        "weight_norm": 5 + 0.01 * generator.standard_normal(shape).cumsum(axis=0),
        "update_norm": 0.01 * norms,
        "epoch": np.arange(steps) * 5 // steps,
        "loss": loss,
        "learning_rate": np.full(steps, 0.01),
        "global_norm": total,
        "applied_global_norm": total,
        "loss_scale": np.ones(steps),
        "skipped": np.zeros(steps),
    }
    structure = Structure("chain", "sequential", described, variables, layers * 1056)
    info = {"schema_version": 1, "name": f"run-{number}", "status": "finished", "optimizer": {"class_name": "Adam"}}
    return RunLog(str(info["name"]), info, structure, np.arange(steps), columns)


if __name__ == "__main__":
    main()
