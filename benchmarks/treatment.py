"""How many sick trainings are cured: by the first prescription, by the first two, and by `kgrad.treat`.

    uv run python benchmarks/treatment.py CORPUS [--out runs/treatment] [--seeds 3] [--jobs 2] [--cases so_,dc_]

CORPUS is a folder with `cases.yaml` and `build_case.py` (`load_cases()`, `build(case, seed)`). Every sick case with a
published repair is trained as it is, with the repair, with the first prescription, with the first two, by `treat`,
and with changes drawn at random from the same knobs, as many whole trainings as `treat` took steps for. Each case
and seed is one JSON file under --out; a second call goes on where the first ended.

A case is cured where accuracy, on the case's validation data, is within `MARGIN` of the repair's, or, where the
targets are no classes, the loss has come `1 - MARGIN` of the way from the sick training's to the repair's; and where
the first cause found in the sick run is not found any more. Sick cases in whose first run nothing was found count
as not cured. Healthy cases go through `treat` too: worse means by more than `MARGIN`.
"""

import argparse
import json
import logging
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from joblib import Parallel, delayed
from rich.progress import track

import kgrad
from kgrad.prescription import Prescription

MARGIN = 0.05
WAYS = ("first", "first two", "treat", "random")


def trained(model: Any, built: Any, fit: dict[str, Any]) -> tuple[kgrad.Examination, int]:
    """The run of a whole training under watch, and its steps."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = kgrad.GradientMonitor(Path(folder) / "run", report=False, verbose=0)
        model.fit(built.x, built.y, callbacks=[monitor], **{**fit, "verbose": 0})
    return monitor.examination, int(model.optimizer.iterations)


def scored(score: Any) -> dict[str, float | None]:
    """A score as JSON holds it."""
    loss = score.loss if score.loss is not None and math.isfinite(score.loss) else None
    return {"loss": loss, "accuracy": score.accuracy}


def causes(examination: kgrad.Examination) -> list[str]:
    """Rules of the diseases, first cause first."""
    return [each.rule for each in examination.diagnosis.findings if each.severity != "info"]


def epochs_of(change: list[Prescription], fit: dict[str, Any]) -> tuple[list[Prescription], dict[str, Any]]:
    """What is changed in the model, and the arguments of `fit` with what is changed in them."""
    wanted = [int(each.settings["epochs"]) for each in change if each.knob == "epochs"]
    return [each for each in change if each.knob != "epochs"], {**fit, "epochs": max([fit["epochs"], *wanted])}


def drawn(examination: kgrad.Examination, generator: np.random.Generator) -> list[Prescription]:
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


def one(corpus: str, name: str, seed: int, place: str) -> str:
    """Treats one case in every way and writes what came of it; returns what went wrong, if anything did."""
    try:
        result = _one(corpus, name, seed)
    except Exception as error:
        return f"{name}/{seed}: {type(error).__name__}: {error}"
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(result, indent=1, allow_nan=False))
    unfinished.replace(path)
    return ""


def _one(corpus: str, name: str, seed: int) -> dict[str, Any]:
    sys.path.insert(0, corpus)
    from build_case import build, load_cases

    from kgrad.treatment import TreatmentError, apply
    from kgrad.treatment.batches import measured
    from kgrad.treatment.measure import Measure, badness, same_loss

    logging.getLogger("kgrad").setLevel(logging.ERROR)
    cases = load_cases()
    case = cases[name]
    result: dict[str, Any] = {"case": name, "seed": seed, "label": case["label"], "ways": {}}
    for fix in case.get("fixed_by", ())[:1]:
        repair = build(cases[fix], seed)
        _, steps = trained(repair.model, repair, repair.fit)
        rows = measured(repair.x_val, repair.y_val, 256)
        result["repair"] = {**scored(Measure(repair.model, rows).of(repair.model)), "steps": steps}
        repaired, same_rows = repair.model, repair.y_val
    built = build(case, seed)
    start = apply(built.model, (), seed=seed)
    measure = Measure(start, measured(built.x_val, built.y_val, 256))
    if "repair" in result:  # losses can be compared where loss and targets are the same
        same = same_loss(start, repaired) and np.shape(same_rows) == np.shape(built.y_val)
        result["same_loss"] = bool(same and np.allclose(same_rows, built.y_val))
    sick = apply(start, (), seed=seed)
    examination, whole = trained(sick, built, built.fit)
    result["sick"] = {**scored(measure.of(sick)), "steps": whole, "causes": causes(examination)}

    def way(changes: list[list[Prescription]]) -> dict[str, Any]:
        """The best of whole trainings, each with one of the changes."""
        found: dict[str, Any] = {"steps": 0, "tried": 0, "notes": []}
        best = math.inf
        for change in changes:
            inside, fit = epochs_of(change, built.fit)
            try:
                model = apply(start, inside, seed=seed, x=built.x)
            except TreatmentError as error:
                found["notes"].append(str(error).split("\n")[0])
                continue
            after, steps = trained(model, built, fit)
            score = measure.of(model)
            value = badness(score, same_loss(start, model))
            found["steps"] += steps
            found["tried"] += 1
            if value is not None and (value < best or not found.get("knobs")):
                found |= {**scored(score), "causes": causes(after), "knobs": [each.knob for each in change]}
                best = value
        return found

    offered = list(examination.prescriptions)
    healed, story = kgrad.treat(
        start, built.x, built.y, seed=seed, progress=False, validation_data=(built.x_val, built.y_val),
        **{key: value for key, value in built.fit.items() if key != "verbose"},
    )  # fmt: skip
    last = [each for each in story.rounds if each.adopted][-1:]
    result["ways"]["treat"] = {
        **scored(measure.of(healed)),
        "steps": story.steps,
        "causes": [finding[0] for finding in last[0].findings] if last else result["sick"]["causes"],
        "story": story.summary,
        "changed": bool(story.changes),
    }
    if case["label"] == "healthy":
        return result
    result["ways"]["first"] = way([offered[:1]] if offered else [])
    result["ways"]["first two"] = way([offered[:1], offered[1:2], offered[:2]] if len(offered) > 1 else [offered])
    generator = np.random.default_rng(seed)
    trainings = min(10, max(1, story.steps // max(whole, 1)))
    result["ways"]["random"] = way([drawn(examination, generator) for _ in range(trainings)])
    return result


def is_cured(result: dict[str, Any], way: str) -> bool:
    """Whether the case is as well as the published repair makes it, and its first cause gone."""
    after, repair, sick = result["ways"].get(way, {}), result["repair"], result["sick"]
    if not sick["causes"] or "causes" not in after or sick["causes"][0] in after["causes"]:
        return False
    if None not in (repair["accuracy"], after["accuracy"]):
        return after["accuracy"] >= repair["accuracy"] - MARGIN
    if not result["same_loss"] or repair["loss"] is None:
        return after["loss"] is not None and (sick["loss"] is None or after["loss"] <= (1 - MARGIN) * sick["loss"])
    if after["loss"] is None:
        return False
    worst = math.inf if sick["loss"] is None else max(sick["loss"], repair["loss"])
    allowed = MARGIN * (worst - repair["loss"]) if math.isfinite(worst) else MARGIN * abs(repair["loss"])
    return after["loss"] <= repair["loss"] + allowed


def show(results: list[dict[str, Any]]) -> None:
    """Prints the tables."""
    sick = [each for each in results if "repair" in each and each["label"] != "healthy"]
    healthy = [each for each in results if each["label"] == "healthy"]
    if sick:
        print(f"\n{len(sick)} sick trainings; cured: within {MARGIN:g} of the published repair, first cause gone.\n")
        print("| way | cured | extra steps, in plain trainings (median) |\n|---|---|---|")
        for way in WAYS:
            cured = [is_cured(each, way) for each in sick]
            extra = [each["ways"][way]["steps"] / max(each["sick"]["steps"], 1) for each in sick]
            print(f"| {way} | {sum(cured)} of {len(cured)} ({100 * np.mean(cured):.0f} %) | {np.median(extra):.1f} |")
        print(
            "\n| case | seed | label | first cause | " + " | ".join(WAYS) + " |\n|---|---|---|---|" + "---|" * len(WAYS)
        )
        for each in sick:
            marks = " | ".join("cured" if is_cured(each, way) else "-" for way in WAYS)
            cause = each["sick"]["causes"][0] if each["sick"]["causes"] else "nothing found"
            print(f"| {each['case']} | {each['seed']} | {each['label']} | {cause} | {marks} |")
    if healthy:
        worse = [each["case"] for each in healthy if is_worse(each)]
        changed = sum(each["ways"]["treat"]["changed"] for each in healthy)
        print(f"\n{len(healthy)} healthy trainings through treat: {changed} changed, {len(worse)} worse {worse or ''}")


def is_worse(result: dict[str, Any]) -> bool:
    """Whether `treat` left a healthy case worse than its plain training by more than the margin."""
    before, after = result["sick"], result["ways"]["treat"]
    if None not in (before["accuracy"], after["accuracy"]):
        return after["accuracy"] < before["accuracy"] - MARGIN
    if before["loss"] is None:
        return False
    return after["loss"] is None or after["loss"] > before["loss"] + MARGIN * abs(before["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/treatment"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", default="", help="only ids that begin with one of these, comma-separated")
    parser.add_argument("--show-only", action="store_true", help="train nothing, show what is there")
    options = parser.parse_args()
    if not (options.corpus / "cases.yaml").exists():
        parser.error(f"{options.corpus} holds no cases.yaml; give the folder of a corpus")
    import yaml

    entries = yaml.safe_load((options.corpus / "cases.yaml").read_text())["cases"]
    chosen = [case for case in entries if case["id"].startswith(tuple(options.cases.split(",")))]
    names = [case["id"] for case in chosen if case["label"] == "healthy" or case.get("fixed_by")]
    places = {(name, seed): options.out / name / f"{seed}.json" for seed in range(options.seeds) for name in names}
    missing = [(key, path) for key, path in places.items() if not path.exists() and not options.show_only]
    if missing:
        work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
            delayed(one)(str(options.corpus.resolve()), *key, str(path)) for key, path in missing
        )
        for failure in track(work, description="treating", total=len(missing)):
            if failure:
                print(failure, file=sys.stderr)
    show([json.loads(path.read_text()) for path in places.values() if path.exists()])


if __name__ == "__main__":
    main()
