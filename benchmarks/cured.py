"""What counts as cured, and the tables that `treatment.py` prints."""

from typing import Any

import numpy as np

MARGIN = 0.05
WAYS = ("first", "first two", "treat", "random", "repair again")
JsonDict = dict[str, Any]


def is_cured(result: JsonDict, way: str, same_steps: bool = False) -> bool:
    """Whether the case is as well as the published repair makes it, and its first cause gone.

    Where nothing was found in it there is no prescription to count; `treat`, which goes on by itself, has to leave
    nothing to find.

    With `same_steps` the repair is taken as it was after as many steps as the way's own training took.
    """
    after, sick, repair = result["ways"].get(way) or {}, result["sick"], result["repair"]
    if way == "repair again":
        return bool(repair["published"]) and is_as_well(after, repair, sick, result["untrained"])
    if "causes" not in after or (not sick["causes"] and way != "treat"):
        return False
    if sick["causes"][0] in after["causes"] if sick["causes"] else after["causes"]:
        return False
    if same_steps and repair["published"] and after.get("tried"):
        taken = after["steps"] / after["tried"]
        reached = [each for each in repair.get("curve", ()) if each["steps"] <= taken]
        repair = {**repair, **reached[-1]} if reached and taken < repair["steps"] else repair
    return is_as_well(after, repair, sick, result["untrained"])


def is_as_well(after: JsonDict, repair: JsonDict, sick: JsonDict, untrained: JsonDict) -> bool:
    """Whether the score is within the margin of the published repair's; without one, whether it is better."""
    if not repair["published"]:
        return is_better(after, sick)
    if None not in (repair["accuracy"], after["accuracy"]):
        return bool(after["accuracy"] >= repair["accuracy"] - MARGIN)
    reached, wanted, *begun = (_lost(each, repair["same_loss"]) for each in (after, repair, sick, untrained))
    if wanted is None:
        return is_better(after, sick)
    start = min((each for each in begun if each is not None), default=wanted)
    return reached is not None and bool(reached <= wanted + MARGIN * max(start - wanted, 0.0))


def _lost(score: JsonDict, same_loss: bool) -> float | None:
    """The loss, or the share of the targets' variance that is not predicted where losses cannot be compared."""
    if same_loss:
        return score["loss"]
    return None if score.get("r_squared") is None else 1 - score["r_squared"]


def is_better(after: JsonDict, before: JsonDict) -> bool:
    """Whether accuracy or, where there is none, the loss got better by more than the margin."""
    if None not in (after["accuracy"], before["accuracy"]):
        return bool(after["accuracy"] >= min(before["accuracy"] + MARGIN, 1 - MARGIN))
    if after["loss"] is None:
        return False
    return before["loss"] is None or bool(after["loss"] <= before["loss"] - MARGIN * abs(before["loss"]))


def is_well(result: JsonDict) -> bool:
    """Whether the sick training itself is as good as its published repair: this seed shows no symptom."""
    sick, repair = result["sick"], result["repair"]
    return bool(repair["published"]) and is_as_well(sick, repair, sick, result["untrained"])


def is_worse(result: JsonDict) -> bool:
    """Whether `treat` left a healthy case worse than its plain training by more than the margin."""
    before, after = result["sick"], result["ways"]["treat"]
    if None not in (before["accuracy"], after["accuracy"]):
        return bool(after["accuracy"] < before["accuracy"] - MARGIN)
    if before["loss"] is None:
        return False
    return after["loss"] is None or bool(after["loss"] > before["loss"] + MARGIN * abs(before["loss"]))


def show(results: list[JsonDict]) -> None:
    """Prints the tables."""
    sick = [each for each in results if each["case"]["label"] != "healthy"]
    shown = [each for each in sick if "learned" not in each["case"]["symptoms_seen"] and not is_well(each)]
    _table("with a published repair, symptom seen", [each for each in shown if each["repair"]["published"]])
    _table("without a published repair: better, first cause gone", [x for x in shown if not x["repair"]["published"]])
    well = [each for each in sick if each not in shown]
    _table("whose symptom did not show, when the corpus was measured or here", well)
    healthy = [each for each in results if each["case"]["label"] == "healthy" and each["ways"]["treat"]]
    if healthy:
        worse = [each["case"]["id"] for each in healthy if is_worse(each)]
        changed = sum(each["ways"]["treat"]["changed"] for each in healthy)
        print(f"\n{len(healthy)} healthy trainings through treat: {changed} changed, {len(worse)} worse {worse or ''}")


def _table(title: str, rows: list[JsonDict]) -> None:
    if not rows:
        return
    print(f"\n## {len(rows)} sick trainings {title}\n")
    print(
        "| way | cured | cured, the repair at as many steps | steps, in plain trainings (median) |\n|---|---|---|---|"
    )
    for way in WAYS:
        done = [each for each in rows if "steps" in (each["ways"][way] or {})]
        if done:
            cured = [is_cured(each, way) for each in done]
            alike = [is_cured(each, way, same_steps=way != "treat") for each in done]
            extra = [each["ways"][way]["steps"] / max(each["sick"]["steps"], 1) for each in done]
            print(f"| {way} | {_share(cured)} | {_share(alike)} | {np.median(extra):.1f} |")
    print(
        "\n| case | seed | first cause | sick | repair | " + " | ".join(WAYS) + " |\n" + "|---" * (5 + len(WAYS)) + "|"
    )
    for each in rows:
        cells = [_cell(each, way) for way in WAYS]
        cause = each["sick"]["causes"][0] if each["sick"]["causes"] else "nothing found"
        repair = _value(each["repair"]) if each["repair"]["published"] else ""
        print(f"| {' | '.join([each['case']['id'], str(each['seed']), cause, _value(each['sick']), repair, *cells])} |")


def _share(hits: list[bool]) -> str:
    return f"{sum(hits)} of {len(hits)} ({100 * np.mean(hits):.0f} %)"


def _cell(result: JsonDict, way: str) -> str:
    after = result["ways"][way]
    if not after:
        return ""
    alike = "at as many steps" if is_cured(result, way, same_steps=way != "treat") else "no"
    return f"{'cured' if is_cured(result, way) else alike} {_value(after)}".strip()


def _value(score: JsonDict) -> str:
    if score.get("accuracy") is not None:
        return f"{100 * score['accuracy']:.0f} %"
    return f"{score['loss']:.3g}" if score.get("loss") is not None else "-"
