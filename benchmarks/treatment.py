"""How many sick trainings are cured: by the first prescription, by the first two, and by `kgrad.treat`.

    uv run python benchmarks/treatment.py CORPUS [--out runs/treatment] [--seeds 3] [--jobs 2] [--cases so_,dc_]
                                          [--kind sick] [--ways first,treat] [--show-only]

CORPUS is a folder with `cases.yaml` and `build_case.py` (`load_cases()`, `build(case, seed)`). Every sick case is
trained as it is, with the published repair, with the first prescription, with the first two, by `treat`, and with
changes drawn at random from the same knobs, as many whole trainings as `treat` took steps for. What came of each is
one JSON file under --out/CASE/SEED, beside the run folder of the sick training; a second call does only what lacks.

The validation data are split in two halves: whoever chooses between models (`treat`, the best of several changes)
does so by one, and all are scored on the other, the repair and the sick training too. Where the validation data are
the training data (XOR has four rows), they are not split: those rows are the task.

A case is cured where accuracy, on the rows for scoring, is within `MARGIN` of the repair's, or, where the
targets are no classes, the loss has come `1 - MARGIN` of the way to the repair's from the sick training's or the
untrained model's, whichever is lower; and where the first cause found in the sick run is not found any more. (Where the
repair has another loss or other targets, the share of the targets' variance that is not predicted takes the place of
the loss.) Sick cases in whose first run nothing was found count as not cured by any prescription; `treat`, which
goes on by itself, has to make them as good and leave nothing to find. Apart are counted: cases whose published
symptom did not show when the corpus was measured (`learned`) or whose sick training here is as good as its repair; and
cases without a published repair (or with one for other inputs), of which only "better, and first cause gone" can be
said. Healthy cases go through `treat` too: worse means by more than `MARGIN`.

`repair again` is the published repair itself, on the same data from other weights and in other batches, held against
its first training by the same margin (its causes are not looked at): how much of a miss is chance.
"""

import argparse
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from cured import WAYS, show
from joblib import Parallel, delayed
from rich.progress import track

import kgrad
from kgrad.log.strict_json import strict
from kgrad.prescription import Prescription
from kgrad.workflow import Examination, examine

# How often the repair is measured on its way.
CURVE = 30
# The second start of a repair: no seed that a case is measured on.
_ANOTHER = 1000
# What a repair may change about the data: how examples are brought to the model.
PREPROCESSING = (
    *("raw", "standardise", "reshape", "flat", "x_standardise", "x_scale", "x_shift"),
    *("y", "y_flat", "y_standardise", "y_minmax", "y_scale", "y_shift"),
)
JsonDict = dict[str, Any]


class Patient:
    """One case from one seed, and the files that hold what came of it.

    Args:
        corpus: the folder of the corpus.
        name: id of the case.
        seed: of data, weights and batches.
        out: where the results lie.
    """

    def __init__(self, corpus: str, name: str, seed: int, out: str) -> None:
        sys.path.insert(0, corpus)
        from build_case import build, load_cases

        from kgrad.treatment import apply
        from kgrad.treatment.batches import measured
        from kgrad.treatment.measure import Measure

        logging.getLogger("kgrad").setLevel(logging.ERROR)
        self.seed, self.folder = seed, Path(out) / name / str(seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.case, self._build, self._cases = load_cases()[name], build, load_cases()
        self.built = build(self.case, seed)
        self.start = apply(self.built.model, (), seed=seed)
        self.choosing, self.scoring = halves(self.built)
        self.measure, self.chooser = (
            Measure(self.start, measured(*taken(self.built, rows), 256)) for rows in (self.scoring, self.choosing)
        )

    def keep(self, name: str, work: Any) -> None:
        """Does the work unless its result is there, and writes it with the seconds that it took."""
        path = self.folder / f"{name.replace(' ', '_')}.json"
        if path.exists():
            return
        begun = time.monotonic()
        result = {**work(), "seconds": round(time.monotonic() - begun, 1)}
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(strict(result), indent=1, allow_nan=False))
        unfinished.replace(path)

    def repair(self) -> JsonDict:
        """The training of the published repair, on the examples of the case with the repair's preprocessing.

        The corpus gives some repairs more rows or less noise than their case; that is no part of a repair.
        """
        return self._repaired()

    def repair_again(self) -> JsonDict:
        """The same repair on the same data from other weights and in other batches: how much of a miss is chance."""
        return self._repaired(self.seed + _ANOTHER)

    def _repaired(self, start: int | None = None) -> JsonDict:
        import keras

        from kgrad.treatment import apply
        from kgrad.treatment.batches import measured
        from kgrad.treatment.measure import Measure, same_loss

        fixes = self.case.get("fixed_by") or ()
        if not fixes:
            return {"published": False}
        fix = self._cases[fixes[0]]
        own = {key: value for key, value in fix["data"].items() if key in PREPROCESSING}
        theirs = {key: value for key, value in self.case["data"].items() if key not in PREPROCESSING}
        built = self._build({**fix, "data": {**theirs, **own}}, self.seed)
        if sizes_of(built.model) != sizes_of(self.start):
            return {"published": False}  # a repair for other inputs is one of the data, and nothing to compare with
        model = built.model
        if start is not None:
            model = apply(model, (), seed=start)
            keras.utils.set_random_seed(start)
        measure, curve = Measure(model, measured(*taken(built, self.scoring), 256)), []
        every = max(1, built.fit["epochs"] // CURVE)

        def score() -> dict[str, float | None]:
            return scored(measure.of(model))

        def look(epoch: int, _: Any) -> None:
            if epoch % every == 0:
                taken = int(model.optimizer.iterations)
                curve.append({"steps": taken, **score()})

        watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: look(epoch, logs))
        model.fit(built.x, built.y, **{**built.fit, "verbose": 0, "callbacks": [watch]})
        steps = int(model.optimizer.iterations)
        same = same_loss(self.start, model) and np.shape(built.y_val) == np.shape(self.built.y_val)
        same = bool(same and np.allclose(built.y_val, self.built.y_val))
        return {"published": True, **score(), "steps": steps, "same_loss": same, "curve": curve}

    def scored(self, model: Any) -> dict[str, float | None]:
        """The score of a model that takes the examples of the case."""
        return scored(self.measure.of(model))

    def untrained(self) -> JsonDict:
        """The score of the model as it begins."""
        return self.scored(self.start)

    def sick(self) -> JsonDict:
        """The training of the case as it is; its run folder stays, so that it can be prescribed for anew."""
        from kgrad.treatment import apply

        model = apply(self.start, (), seed=self.seed)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        examination, steps = trained(model, self.built, self.built.fit, self.folder / "run")
        return {**self.scored(model), "steps": steps, "causes": causes(examination)}

    def examination(self) -> Examination:
        """The sick run, diagnosed and prescribed for by the present rules and knobs."""
        return examine(self.folder / "run")

    def treat(self) -> JsonDict:
        """What `kgrad.treat` makes of it."""
        fit = {key: value for key, value in self.built.fit.items() if key != "verbose"}
        validation = taken(self.built, self.choosing)
        healed, story = kgrad.treat(
            self.start, self.built.x, self.built.y, seed=self.seed, progress=False, validation_data=validation, **fit
        )
        last = [each for each in story.rounds if each.adopted][-1:]
        return {
            **self.scored(healed),
            "steps": story.steps,
            "causes": [finding[0] for finding in last[0].findings] if last else causes(self.examination()),
            "story": story.summary,
            "changed": bool(story.changes),
            "rounds": [asdict(each) for each in story.rounds],
        }

    def first(self) -> JsonDict:
        """What the first prescription makes of it."""
        return self.tried([list(self.examination().prescriptions[:1])])

    def first_two(self) -> JsonDict:
        """The best of the first, the second, and both together."""
        offered = list(self.examination().prescriptions)
        return self.tried([offered[:1], offered[1:2], offered[:2]] if len(offered) > 1 else [offered])

    def random(self) -> JsonDict:
        """The best of changes at random, as many whole trainings as `treat` took the steps of."""
        generator, examination = np.random.default_rng(self.seed), self.examination()
        taken = json.loads((self.folder / "treat.json").read_text())["steps"]
        plain = json.loads((self.folder / "sick.json").read_text())["steps"]
        trainings = min(10, max(1, taken // max(plain, 1)))
        return self.tried([drawn(examination, generator) for _ in range(trainings)])

    def tried(self, changes: list[list[Prescription]]) -> JsonDict:
        """The best of whole trainings, each with one of the changes."""
        from kgrad.treatment import TreatmentError, apply, fit_arguments
        from kgrad.treatment.fitting import of_model
        from kgrad.treatment.measure import badness, same_loss

        found: JsonDict = {"steps": 0, "tried": 0, "notes": []}
        best = math.inf
        for change in filter(None, changes):
            fit = fit_arguments(change, **self.built.fit)
            inside = [each for each in map(of_model, change) if each is not None]
            try:
                model = apply(self.start, inside, seed=self.seed, x=self.built.x)
            except TreatmentError as error:
                found["notes"].append(str(error).split("\n")[0])
                continue
            after, steps = trained(model, self.built, fit)
            value = badness(self.chooser.of(model), same_loss(self.start, model))
            found["steps"] += steps
            found["tried"] += 1
            if value is not None and (value < best or not found.get("change")):
                shown = [f"{each.knob}: {each.before} -> {each.after} (for {each.finding})" for each in change]
                found |= {**self.scored(model), "causes": causes(after), "change": shown}
                best = value
        return found


def halves(built: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the validation data to choose by, and those to score on; all of them twice where they are trained on."""
    import keras

    train, held = (keras.tree.flatten(each) for each in ((built.x, built.y), (built.x_val, built.y_val)))
    rows = len(held[0])
    if all(np.array_equal(one, other) for one, other in zip(train, held, strict=True)) or rows < 2:
        return np.arange(rows), np.arange(rows)
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def sizes_of(model: Any) -> list[int]:
    """How many numbers a row of each input holds."""
    return [math.prod(each.shape[1:]) for each in model.inputs]


def taken(built: Any, rows: np.ndarray) -> tuple[Any, Any]:
    """These rows of the validation data."""
    import keras

    x, y = keras.tree.map_structure(lambda values: np.asarray(values)[rows], (built.x_val, built.y_val))
    return x, y


def trained(model: Any, built: Any, fit: JsonDict, place: Path | None = None) -> tuple[Examination, int]:
    """The run of a whole training under watch, and its steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = place or Path(folder) / "run"
        monitor = kgrad.GradientMonitor(run, report=False, verbose=0)
        callbacks = [*fit.get("callbacks", ()), monitor]
        model.fit(built.x, built.y, **{**fit, "verbose": 0, "callbacks": callbacks})
    return monitor.examination, int(model.optimizer.iterations)


def scored(score: Any) -> dict[str, float | None]:
    """A score as JSON holds it."""
    found = {"loss": score.loss, "accuracy": score.accuracy, "r_squared": score.r_squared}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def causes(examination: Examination) -> list[str]:
    """Rules of the diseases, first cause first."""
    return [each.rule for each in examination.diagnosis.findings if each.severity != "info"]


def drawn(examination: Examination, generator: np.random.Generator) -> list[Prescription]:
    """One change drawn at random from the knobs, its value too; `clipvalue` as published repair tools draw it."""
    structure = examination.log.structure
    hidden = tuple(each.name for each in structure.weighted_layers[:-1] if each.activation not in (None, "linear"))
    dense = tuple(v.layer for v in structure.variables if v.role == "kernel")
    activation = str(generator.choice(["relu", "selu", "elu", "tanh", "leaky_relu"]))
    start = str(generator.choice(["he_normal", "he_uniform", "glorot_uniform", "lecun_normal", "random_normal"]))
    rate = float(10 ** generator.uniform(-5, -1))
    pool = [
        Prescription("learning_rate", ("optimizer",), "", "", "", "", "", settings={"learning_rate": rate}),
        Prescription("clipping", ("optimizer",), "", "", "", "", "", settings={"clipvalue": generator.uniform(9, 10)}),
        Prescription(
            "optimizer",
            ("optimizer",),
            *[""] * 5,
            settings={"optimizer": str(generator.choice(["Adam", "SGD", "RMSprop"])), "learning_rate": rate},
        ),
        Prescription("initializer", dense, "", "", "", "", "", settings={"kernel_initializer": f'"{start}"'}),
        Prescription("normalization", hidden, "", "", "", "", "", settings={"layer": "BatchNormalization"}),
        Prescription("input_scaling", (), "", "", "", "", "", settings={"layer": "Normalization"}),
    ]
    if hidden:
        pool.append(Prescription("activation", hidden, "", "", "", "", "", settings={"activation": activation}))
    return [pool[generator.integers(len(pool))]]


def one(corpus: str, name: str, seed: int, out: str, ways: tuple[str, ...]) -> str:
    """Treats one case in these ways and writes what came of it; returns what went wrong, if anything did."""
    try:
        patient = Patient(corpus, name, seed, out)
        for step in ("untrained", "repair", "sick", *ways):
            patient.keep(step, getattr(patient, step.replace(" ", "_")))
    except Exception as error:
        traceback.print_exc()
        return f"{name}/{seed}: {type(error).__name__}: {error}"
    return ""


def result_of(folder: Path) -> JsonDict | None:
    """All results of one case and seed; `None` where the untrained, sick or repaired model was not scored."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    if not {"untrained", "repair", "sick"} <= found.keys():
        return None
    return {
        "untrained": found["untrained"],
        "repair": found["repair"],
        "sick": found["sick"],
        "ways": {way: found.get(way.replace(" ", "_")) for way in WAYS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/treatment"))
    parser.add_argument("--seeds", default="3", help="how many, or which: 3 is 0,1,2; 1, is seed 1 alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", default="", help="only ids that begin with one of these, comma-separated")
    parser.add_argument("--kind", choices=("all", "repaired", "sick", "healthy"), default="all")
    parser.add_argument("--ways", default=",".join(WAYS), help="which of: " + ",".join(WAYS))
    parser.add_argument("--show-only", action="store_true", help="train nothing, show what is there")
    options = parser.parse_args()
    if not (options.corpus / "cases.yaml").exists():
        parser.error(f"{options.corpus} holds no cases.yaml; give the folder of a corpus")
    import yaml

    entries = yaml.safe_load((options.corpus / "cases.yaml").read_text())["cases"]
    chosen = [case for case in entries if case["id"].startswith(tuple(options.cases.split(",")))]
    chosen = [case for case in chosen if _is_of(case, options.kind)]
    seeds = [int(each) for each in options.seeds.split(",") if each]
    seeds = seeds if "," in options.seeds else list(range(seeds[0]))
    pairs = [(case, seed) for seed in seeds for case in chosen]
    if not options.show_only:
        ways = tuple(options.ways.split(","))
        jobs = (
            delayed(one)(str(options.corpus.resolve()), case["id"], seed, str(options.out), _ways_of(case, ways))
            for case, seed in pairs
        )
        work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(jobs)
        for failure in track(work, description="treating", total=len(pairs)):
            if failure:
                print(failure, file=sys.stderr, flush=True)
    found = [(case, seed, result_of(options.out / case["id"] / str(seed))) for case, seed in pairs]
    show([{"case": case, "seed": seed, **result} for case, seed, result in found if result])


def _is_of(case: JsonDict, kind: str) -> bool:
    sick = case["label"] != "healthy"
    return {"all": True, "sick": sick, "healthy": not sick, "repaired": sick and bool(case.get("fixed_by"))}[kind]


def _ways_of(case: JsonDict, ways: tuple[str, ...]) -> tuple[str, ...]:
    """A healthy case has nothing to prescribe for: it only goes through `treat`."""
    return ways if case["label"] != "healthy" else tuple(way for way in ways if way == "treat")


if __name__ == "__main__":
    main()
