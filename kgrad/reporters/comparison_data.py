"""What the script of the comparison page draws from: numbers of every run, each said once."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from kgrad.comparison import Comparison, RunSummary
from kgrad.comparison.flatten import Setting
from kgrad.log.strict_json import strict


def page_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison for the script, in JSON types.

    Args:
        comparison: the comparison.

    Returns:
        `runs`: name, mark (a disease, `"healthy"` or why it is not judged) and group of each; `steps`: the distinct
        lists of steps of the curves, `layers`: the distinct lists of layer names, and `curves`: which of them each run
        has, with its loss, global norm and layer profile; `axes`: what parallel coordinates show; `fields`: all that
        differs between two runs, as the distinct values and which of them each run has.
    """
    runs = comparison.runs
    group_of = {place: number for number, each in enumerate(comparison.groups) for place in each.runs}
    steps = list(dict.fromkeys(run.curve_steps for run in runs))
    layers = list(dict.fromkeys(run.layers for run in runs))
    step_place, layer_place = ({each: place for place, each in enumerate(lists)} for lists in (steps, layers))
    data = {
        "measure": comparison.measure,
        "runs": [{"name": r.name, "mark": mark(r), "group": group_of.get(i, -1)} for i, r in enumerate(runs)],
        "groups": [each.label for each in comparison.groups],
        "steps": steps,
        "layers": layers,
        "curves": [
            {
                "steps": step_place[run.curve_steps],
                "layers": layer_place[run.layers],
                "loss": run.loss,
                "norm": run.global_norm,
                "profile": run.profile,
            }
            for run in runs
        ],
        "axes": [*_setting_axes(comparison), *_result_axes(comparison)],
        "fields": _fields(comparison),
    }
    return dict(strict(data))


def mark(run: RunSummary) -> str:
    """The one word for a run: its first disease, `"healthy"`, or why it is not judged."""
    if not run.is_judged:
        return "unreadable" if run.status == "unreadable" else "no step"
    return next(iter(run.causes), run.found[0].rule if run.is_sick else "healthy")


def shown(value: Setting) -> str:
    """A setting in a table."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _setting_axes(comparison: Comparison) -> list[dict[str, Any]]:
    return [_axis(name, comparison.runs) for name in comparison.differing]


def _axis(name: str, runs: Sequence[RunSummary]) -> dict[str, Any]:
    values = [run.settings.get(name) for run in runs]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == sum(bool(run.settings) for run in runs) and len(set(numbers)) > 2:
        return {"name": name, "kind": "number", "values": values, "wide": _is_wide(numbers)}
    words = [shown(value) if run.settings else None for run, value in zip(runs, values, strict=True)]
    return {"name": name, "kind": "words", "values": words}


def _result_axes(comparison: Comparison) -> list[dict[str, Any]]:
    last = [_last(run, comparison.measure) for run in comparison.runs]
    finite = [value for value in last if value is not None]
    return [
        {"name": "diagnosis", "kind": "words", "values": [mark(run) for run in comparison.runs]},
        {"name": f"last {comparison.measure}", "kind": "number", "values": last, "wide": _is_wide(finite)},
    ]


def _last(run: RunSummary, measure: str) -> float | None:
    metric = run.metrics.get(measure)
    return metric.last if metric and math.isfinite(metric.last) else None


def _is_wide(numbers: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows more."""
    return bool(numbers) and min(numbers) > 0 and max(numbers) > 30 * min(numbers)


def _fields(comparison: Comparison) -> list[dict[str, Any]]:
    runs = comparison.runs
    settings = dict.fromkeys(name for run in runs for name in run.settings)
    facts = dict.fromkeys(name for run in runs for name in run.facts)
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    found = [
        *(_field("setting", name, (shown(r.settings.get(name)) for r in runs)) for name in settings),
        _field("setting", "seed", (shown(run.seed) for run in runs)),
        _field("diagnosis", "verdict", (run.verdict or run.problem for run in runs)),
        _field("diagnosis", "diseases", (_found(run) for run in runs)),
        _field("diagnosis", "phases", (_phases(run) for run in runs)),
        *(_field("result", f"last {name}", (_number(run, name, "last") for run in runs)) for name in metrics),
        *(_field("result", f"best {name}", (_number(run, name, "best") for run in runs)) for name in metrics),
        *(_field("result", f"step of best {name}", (_number(r, name, "best_step") for r in runs)) for name in metrics),
        _field("result", "recorded steps", (str(run.steps) for run in runs)),
        _field("run", "status", (run.status for run in runs)),
        _field("run", "folder", (run.path for run in runs)),
        *(_field("run", name, (shown(run.facts.get(name)) for run in runs)) for name in facts),
    ]
    return [field for field in found if len(field["values"]) > 1]


def _field(section: str, name: str, values: Iterable[str]) -> dict[str, Any]:
    place: dict[str, int] = {}
    index = [place.setdefault(value, len(place)) for value in values]
    return {"section": section, "name": name, "values": list(place), "index": index}


def _found(run: RunSummary) -> str:
    """All that the rules found, symptoms with their causes."""
    said = (
        f"{each.rule} ({each.severity}{f', caused by {each.caused_by}' * (each.caused_by is not None)})"
        for each in run.found
    )
    return ", ".join(said) or "none"


def _phases(run: RunSummary) -> str:
    return ", ".join(f"{name} {first} to {last}" for name, first, last in run.phases)


def _number(run: RunSummary, metric: str, part: str) -> str:
    value = getattr(run.metrics[metric], part) if metric in run.metrics else math.nan
    return f"{value:.6g}" if math.isfinite(value) else "not finite" if metric in run.metrics else "none"
