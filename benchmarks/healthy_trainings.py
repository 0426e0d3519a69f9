"""What healthy trainings of the corpora look like: the numbers that some prescriptions take for sound.

    uv run python benchmarks/healthy_trainings.py CORPUS... --runs runs/corpus

Reads the runs that `benchmarks/diagnosis.py` recorded. Prints, by optimizer, the change of a kernel by the first update
(largest and median kernel); for SGD the sum of the learning rates, momentum counted in, after which 95 % of the way
from a constant answer's loss to the lowest was made; the same in updates for all; and the units of the narrowest dense
or recurrent hidden layer.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

import kgrad
from kgrad.diagnosis.signals import kernels, update_ratio
from kgrad.diagnosis.skill import constant_answer
from kgrad.diagnosis.widths import hidden_with_units
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.enough_path import ADAPTIVE

WAY = 0.95
SHARES = (10, 25, 50, 75, 90)


def arrival(log: RunLog) -> int | None:
    """Updates after which the smoothed loss has made most of its way; `None` where it is not finite."""
    loss = log["loss"]
    if not np.isfinite(loss).all() or len(loss) < 10:
        return None
    width = max(3, len(loss) // 40)
    smooth = np.convolve(loss, np.full(width, 1 / width), mode="valid")
    start = constant_answer(log) or float(loss[:3].mean())
    return int(np.argmax(smooth <= smooth.min() + (1 - WAY) * (start - smooth.min())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs/corpus"))
    options = parser.parse_args()
    cases = [case for each in options.corpus for case in yaml.safe_load((each / "cases.yaml").read_text())["cases"]]
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        for folder in sorted((options.runs / case["id"]).glob("*")) if case["label"] == "healthy" else ():
            log = kgrad.read_run(folder)
            name = present_optimizer(log).name
            first = update_ratio(log, kernels(log))[0]
            first = first[np.isfinite(first)]
            if len(first):
                found[f"first update, largest kernel, {name}"].append(float(first.max()))
                found[f"first update, median kernel, {name}"].append(float(np.median(first)))
            widths = [layer.units for layer in hidden_with_units(log.structure) if layer.units]
            if widths:
                found["units of the narrowest dense or recurrent hidden layer"].append(min(widths))
            arrived, pace = arrival(log), present_optimizer(log).speed
            if arrived is not None:
                found["updates to 95 % of the way"].append(arrived)
            if arrived is not None and len(first) and name in ADAPTIVE:
                found["first update times updates to 95 % of the way, Adam"].append(arrived * float(np.median(first)))
            if arrived is not None and pace is not None:
                found["sum of the learning rates to 95 % of the way, SGD"].append(arrived * pace)
    print("| of healthy trainings | runs | " + " | ".join(f"{share} %" for share in SHARES) + " |")
    print("|---|---|" + "---|" * len(SHARES))
    for name, values in sorted(found.items()):
        cells = " | ".join(f"{value:.3g}" for value in np.percentile(values, SHARES))
        print(f"| {name} | {len(values)} | {cells} |")


if __name__ == "__main__":
    main()
