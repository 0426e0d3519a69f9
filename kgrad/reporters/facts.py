"""The facts of a run: what it takes to make it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kgrad.log.run_log import RunLog
from kgrad.reporters.wording import clip, counted

_LONGEST = 300


@dataclass(frozen=True)
class ModelRow:
    """One layer of the model, weights or not."""

    name: str
    kind: str
    activation: str
    units: str
    parameters: str
    initializer: str


def facts_of(log: RunLog) -> tuple[tuple[str, str], ...]:
    """What is known of the run, as name and value."""
    info, model = log.info, log.structure
    facts: dict[str, Any] = {
        "Model": f"{clip(model.name)} ({model.kind}), {counted(model.parameters, 'parameter')}",
        "Loss": _class_name(info.get("loss")),
        "Optimizer": _call(info.get("optimizer")),
        "Fit": _pairs(info.get("fit")),
        "Precision": info.get("dtype_policy"),
        "Seeds": _pairs(info.get("seeds")),
        "Versions": _pairs(info.get("versions"), " "),
        "kgrad": info.get("kgrad_version"),
        "Devices": ", ".join(str(each) for each in info.get("devices") or ()),
        "Tags": _pairs(info.get("tags")),
        "Recorded": f"{counted(len(log), 'step')}{_every(info)}",
        "Started": _moment(info.get("started")),
        "Took": _took(info.get("started"), info.get("ended")),
    }
    return tuple((name, clip(str(value), _LONGEST)) for name, value in facts.items() if value not in (None, ""))


def events_of(log: RunLog) -> tuple[str, ...]:
    """What happened while kgrad watched, in words."""
    events = [each for each in log.info.get("events") or () if isinstance(each, Mapping)]
    return tuple(
        clip(
            f"step {each['step']}: {each.get('message', '')}" if "step" in each else str(each.get("message", "")),
            _LONGEST,
        )
        for each in events
    )


def model_rows(log: RunLog) -> tuple[ModelRow, ...]:
    """The model's layers by depth."""
    initializers = _initializers(log)
    return tuple(
        ModelRow(
            clip(layer.name),
            clip(layer.class_name),
            clip(layer.activation or ""),
            "" if layer.units is None else f"{layer.units:,}",
            f"{layer.parameters:,}{'' if layer.trainable else ' frozen'}",
            initializers.get(layer.name, ""),
        )
        for layer in log.structure.layers
    )


def _initializers(log: RunLog) -> dict[str, str]:
    kernels = [variable for variable in log.structure.variables if variable.is_kernel]
    return {each.layer: clip(_call(each.initializer), 80) for each in reversed(kernels)}


def _class_name(value: Any) -> Any:
    return value.get("class_name", "") if isinstance(value, Mapping) else value


def _call(value: Any) -> str:
    """A serialized Keras object as the call that makes it, without what is unset."""
    if not isinstance(value, Mapping):
        return str(value or "")
    config = value.get("config") or {}
    told = {key: entry for key, entry in config.items() if entry not in (None, False) and key != "name"}
    return f"{value.get('class_name', '')}({_pairs(told)})"


def _pairs(values: Any, between: str = "=") -> str:
    """Names and values in one line; the learning rate that float32 stored as 0.0010000000474974513 is 0.001."""
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{key}{between}{_short(value)}" for key, value in values.items() if value is not None)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(_class_name(value))


def _moment(written: Any) -> str:
    """A time stamp as people read it.

    >>> _moment("2026-11-24T14:57:49+00:00")
    '2026-11-24 14:57:49 UTC'
    """
    try:
        return f"{datetime.fromisoformat(str(written)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return "" if written is None else str(written)


def _took(started: Any, ended: Any) -> str:
    """How long it took, in its two largest units.

    >>> _took("2026-11-24T14:57:49+00:00", "2026-11-24T16:00:00+00:00"), _took("2026-11-24", None)
    ('1 h 2 min', '')
    """
    try:
        seconds = round((datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(started))).total_seconds())
    except (TypeError, ValueError):  # never written, not a time, or only one of them with a time zone
        return ""
    sizes = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = [
        f"{seconds % above // size} {unit}"
        for (unit, size), above in zip(sizes, (10**9, 86_400, 3_600, 60), strict=True)
    ]
    first = next((place for place, (_, size) in enumerate(sizes) if seconds >= size), 3)
    return " ".join(parts[first : first + 2])


def _every(info: Mapping[str, Any]) -> str:
    every = (info.get("monitor") or {}).get("every", 1)
    return "" if every == 1 else f", one in {every}"
