"""How often the diagnosis is right: a corpus of sick and healthy trainings, against published thresholds.

    uv run python benchmarks/diagnosis.py CORPUS... [--runs runs/corpus] [--seeds 3] [--jobs 2] [--cases so_,ok_]

A CORPUS is a folder with `cases.yaml` and `build_case.py` (`load_cases()`, `build(case, seed)`). Each case is trained
once per seed under `GradientMonitor` and its run kept under --runs: a second call goes on where the first ended,
and only judges what is there. A verdict is right when its first cause has the label of the case, or one of those
that a fair judge accepts beside it. Sick cases whose published symptom did not show when the corpus was
measured are counted apart.
"""

import argparse
import importlib.util
import logging
import os
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from joblib import Parallel, delayed
from peers import PEERS
from rich.progress import track

import kgrad
from kgrad.diagnosis import diagnose
from kgrad.diagnosis.calibration import calibrated
from kgrad.diagnosis.rule import find_rule
from kgrad.log.run_log import RunLog

# What a corpus calls each rule's finding.
LABELS = {
    "vanishing-gradient": ("vanishing",),
    "exploding-gradient": ("exploding",),
    "nonfinite-gradient": ("exploding",),
    "dead-units": ("dying_relu",),
    "plateau": ("plateau",),
    "saddle-point": ("plateau",),
    "learning-rate-too-high": ("lr_too_high", "oscillating"),
    "learning-rate-too-low": ("lr_too_low",),
    "slow-convergence": ("too_few_updates",),
    "underfitting": ("too_few_updates", "plateau"),
    "poor-initialization": ("bad_init",),
    "unscaled-inputs": ("data_scale",),
    "over-regularised": ("over_regularised",),
    "saturated-activation": ("saturated",),
    "output-loss-mismatch": ("wrong_output_activation", "wrong_loss"),
    "clipping-too-tight": ("lr_too_low",),
    "noisy-gradient": ("oscillating",),
}
SHARES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Judged:
    """One run as one tool sees it.

    Attributes:
        case: id of the case.
        family: where the case comes from.
        label: what it is.
        shown: whether the symptom showed when the corpus was measured (always for healthy ones).
        predicted: the label the verdict counts as: `label` where it is right.
        severity: of the first cause, for kgrad; `None` for a healthy verdict.
        rule: the rule of the first cause.
        stated: the confidence that the rule gave by itself.
        detected: share of the run at which the verdict was first right; NaN where never.
    """

    case: str
    family: str
    label: str
    shown: bool
    predicted: str
    severity: str | None = None
    rule: str = ""
    stated: float = 0.0
    detected: float = float("nan")

    @property
    def is_right(self) -> bool:
        """Whether the verdict is that of the corpus."""
        return self.predicted == self.label


def builder(corpus: str) -> Any:
    """The module `build_case` of a corpus, apart from those of others; made once in each process."""
    name = f"build_case_{abs(hash(corpus))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(corpus) / "build_case.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(corpus: str, case_id: str, seed: int, place: str) -> str:
    """Trains one case under watch; returns what went wrong, if anything did."""
    import keras

    logging.getLogger("kgrad").setLevel(logging.ERROR)
    try:
        keras.backend.clear_session()
        corpus_module = builder(corpus)
        built = corpus_module.build(corpus_module.load_cases()[case_id], seed)
        monitor = kgrad.GradientMonitor(place, report=False, verbose=0)
        built.model.fit(built.x, built.y, callbacks=[monitor], **{**built.fit, "verbose": 0})
    except Exception as error:
        return f"{case_id}: {type(error).__name__}: {error}"
    return ""


def labels_of(log: RunLog) -> tuple[list[str], str | None, str, float]:
    """The labels of the first cause, its severity, rule and the confidence that the rule itself gave."""
    diseases = [finding for finding in diagnose(log).findings if finding.severity != "info"]
    if not diseases:
        return ["healthy"], None, "", 1.0
    first = diseases[0]
    stated = diagnose(log, [find_rule(first.rule)], layers=False, counts={}).findings[0].confidence
    return list(LABELS.get(first.rule, (first.rule,))), first.severity, first.rule, stated


def counted(found: Iterable[str], case: dict[str, Any]) -> str:
    """The label that a verdict counts as."""
    names = list(found) or ["healthy"]
    accepted = (case["label"], *case.get("also_ok", ()))
    return case["label"] if any(name in accepted for name in names) else names[0]


def judge(case: dict[str, Any], path: Path) -> dict[str, Judged]:
    """One run, judged by kgrad and by every peer."""
    warnings.simplefilter("ignore")
    log = kgrad.read_run(path)
    sick = set(case["symptoms_seen"]) - {"learned"}
    facts = {
        "case": case["id"],
        "family": str(case.get("family", "")),
        "label": case["label"],
        "shown": case["label"] == "healthy" or bool(sick) or "learned" not in case["symptoms_seen"],
    }
    names, severity, rule, stated = labels_of(log)
    mine = Judged(**facts, predicted=counted(names, case), severity=severity, rule=rule, stated=stated)
    detected = float("nan")
    if mine.is_right and case["label"] != "healthy":
        for share in SHARES:
            prefix = log.only(steps=slice(0, max(1, round(share * len(log)))))
            if counted(labels_of(prefix)[0], case) == case["label"]:
                detected = share
                break
    judged = {"kgrad": Judged(**{**mine.__dict__, "detected": detected})}
    for name, peer in PEERS.items():
        found = peer(log)
        judged[name] = Judged(**facts, predicted=counted(found[:1], case))
    return judged


def scores(judged: list[Judged]) -> dict[str, tuple[float, float, float, int]]:
    """Precision, recall, F1 and number of runs by label."""
    table = {}
    for label in sorted({each.label for each in judged}):
        right = sum(each.is_right for each in judged if each.label == label)
        called = sum(each.predicted == label for each in judged)
        there = sum(each.label == label for each in judged)
        precision, recall = right / called if called else 0.0, right / there
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        table[label] = (precision, recall, f1, there)
    return table


def macro(judged: list[Judged]) -> float:
    """Mean F1 over labels."""
    return float(np.mean([row[2] for row in scores(judged).values()]))


def by(judged: Iterable[Judged], key: Callable[[Judged], str]) -> dict[str, list[Judged]]:
    """Grouped, in order."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for each in judged:
        groups[key(each)].append(each)
    return dict(sorted(groups.items()))


def show(results: dict[str, list[Judged]]) -> None:
    """Prints the tables."""
    mine = [each for each in results["kgrad"] if each.shown]
    apart = [each for each in results["kgrad"] if not each.shown]
    shown = {name: [each for each in judged if each.shown] for name, judged in results.items()}
    print(f"\n{len(mine)} runs; {len(apart)} more, of sick cases whose symptom did not show, are counted apart.\n")
    print("| label | runs | precision | recall | F1 | detected at | " + " | ".join(f"{p} F1" for p in PEERS) + " |")
    print("|---|---|---|---|---|---|" + "---|" * len(PEERS))
    peers = {name: scores(shown[name]) for name in PEERS}
    for label, (precision, recall, f1, count) in scores(mine).items():
        at = [each.detected for each in mine if each.label == label and np.isfinite(each.detected)]
        cells = [label, str(count), f"{precision:.2f}", f"{recall:.2f}", f"{f1:.2f}"]
        cells.append(f"{100 * np.median(at):.0f} %" if at else "-")
        cells += [f"{peers[name][label][2]:.2f}" for name in PEERS]
        print(f"| {' | '.join(cells)} |")
    cells = ["macro", str(len(mine)), "", "", f"{macro(mine):.3f}", "", *(f"{macro(shown[n]):.3f}" for n in PEERS)]
    print(f"| {' | '.join(cells)} |")
    healthy = [each for each in mine if each.label == "healthy"]
    alarms = [each for each in healthy if not each.is_right]
    high = sum(each.severity == "high" for each in alarms)
    print(
        f"\nFalse alarms on {len(healthy)} healthy runs: kgrad {len(alarms)}, {high} of them of severity high; ", end=""
    )
    print(", ".join(f"{n} {sum(e.label == 'healthy' and not e.is_right for e in shown[n])}" for n in PEERS), end=".\n")
    if apart:
        right = sum(each.is_right or each.predicted == "healthy" for each in apart)
        print(f"Apart: {right} of {len(apart)} called by their label, or healthy, as they were seen to be.")
    families = by(mine, lambda each: each.family)
    print("\nBy family (nothing is fitted here, so leaving one out changes no number of the others):\n")
    print("| family | runs | right |\n|---|---|---|")
    for family, members in families.items():
        print(f"| {family} | {len(members)} | {100 * np.mean([m.is_right for m in members]):.0f} % |")
    show_confidence([each for each in mine if each.rule])
    wrong = Counter((each.case, each.label, each.predicted) for each in results["kgrad"] if not each.is_right)
    print("\nWrong verdicts:\n\n| case | label | called | runs |\n|---|---|---|---|")
    for (case, label, predicted), count in sorted(wrong.items()):
        print(f"| {case} | {label} | {predicted} | {count} |")


def record_of(judged: Iterable[Judged]) -> dict[str, tuple[int, int]]:
    """By rule, how many of the first causes it named were right, and how many it named."""
    return {rule: (sum(m.is_right for m in found), len(found)) for rule, found in by(judged, lambda e: e.rule).items()}


def show_confidence(named: list[Judged]) -> None:
    """Prints confidence against what came true, each family by the record of the others, and the record itself."""
    others = {family: record_of(e for e in named if e.family != family) for family in {e.family for e in named}}
    said = [calibrated(each.rule, each.stated, others[each.family]) for each in named]
    right = np.array([each.is_right for each in named], float)
    brier = [float(np.mean((np.array(p) - right) ** 2)) for p in ([each.stated for each in named], said)]
    print("\nConfidence against what came true, each family by the record of the other families:\n")
    print("| rule | first cause of | right | rule says | calibrated |\n|---|---|---|---|---|")
    for rule in sorted({each.rule for each in named}):
        at = [place for place, each in enumerate(named) if each.rule == rule]
        cells = (
            len(at),
            *(f"{np.mean(v):.2f}" for v in (right[at], [named[i].stated for i in at], np.array(said)[at])),
        )
        print(f"| {rule} | {' | '.join(map(str, cells))} |")
    print(f"\nBrier score: {brier[0]:.3f} by the rules' own word, {brier[1]:.3f} calibrated.")
    print(f"Record, for kgrad/diagnosis/calibration.py: {record_of(named)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "corpus", type=Path, nargs="+", help="one folder or several, whose runs are then counted together"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", default="", help="only ids that begin with one of these, comma-separated")
    parser.add_argument("--judge-only", action="store_true", help="train nothing, judge the runs that are there")
    options = parser.parse_args()
    for corpus in options.corpus:
        if not (corpus / "cases.yaml").exists():
            parser.error(f"{corpus} holds no cases.yaml; give the folder of a corpus")
    import yaml

    prefixes = tuple(options.cases.split(","))
    cases, home = {}, {}
    for corpus in options.corpus:
        for case in yaml.safe_load((corpus / "cases.yaml").read_text())["cases"]:
            if case["id"].startswith(prefixes):
                cases[case["id"]], home[case["id"]] = case, str(corpus.resolve())
    places = [(name, seed, options.runs / name / str(seed)) for seed in range(options.seeds) for name in cases]
    missing = [place for place in places if not (place[2] / "run.json").exists() and not options.judge_only]
    if missing:
        work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
            delayed(record)(home[name], name, seed, str(path)) for name, seed, path in missing
        )
        for failure in track(work, description="training", total=len(missing)):
            if failure:
                print(failure, file=sys.stderr)
    there = [(name, path) for name, _, path in places if (path / "run.json").exists()]
    verdicts = Parallel(n_jobs=options.jobs)(delayed(judge)(cases[name], path) for name, path in there)
    show({tool: [each[tool] for each in verdicts] for tool in ("kgrad", *PEERS)})


if __name__ == "__main__":
    main()
