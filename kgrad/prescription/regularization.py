"""The regularization knob: a penalty that is small beside the data, or a dropout that leaves units enough."""

from collections.abc import Mapping
from typing import Any

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import layers_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# Srivastava et al. 2014, "Dropout", section A.4: 0.2 for inputs to 0.5 for hidden units.
_DROPOUT = 0.3


def prescribe_regularization(log: RunLog, finding: Finding) -> Prescription | None:
    """Penalties brought down to a hundredth of the data's loss, or dropout to 0.3."""
    if finding.details.get("kind") == "dropout":
        return _dropout(log, finding)
    factor = float(finding.details.get("factor") or 0.0)
    changes: dict[str, dict[str, str]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name in finding.layers:
        layer = log.structure.layer(name)
        for argument, value in layer.config.items():
            if argument.endswith("_regularizer") and isinstance(value, Mapping):
                strengths = {
                    key: float(f"{float(strength) * factor:.2g}")
                    for key, strength in (value.get("config") or {}).items()
                    if isinstance(strength, int | float)
                }
                kind = str(value.get("class_name"))
                inside = ", ".join(f"{key}={strength:g}" for key, strength in strengths.items())
                changes.setdefault(name, {})[argument] = f"keras.regularizers.{kind}({inside})"
                settings.setdefault(name, {})[argument] = {"class_name": kind, "config": strengths}
    if not changes or factor <= 0:
        return None
    return Prescription(
        knob="regularization",
        target=tuple(changes),
        before="the present penalty",
        after=f"{factor:.2g} times as much",
        why="A penalty of a hundredth of the data's loss still prefers small weights and leaves the lead to the data.",
        code=layers_code((log.structure.layer(name), change) for name, change in changes.items()),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"layers": settings},
        effect=_lighter(finding, factor),
    )


def _lighter(finding: Finding, factor: float) -> Effect | None:
    penalty = float(finding.details.get("penalty") or 0.0)
    source = "a penalty is proportional to its strength"
    return Effect("penalty over the data's loss", penalty, penalty * factor, "1", source) if penalty else None


def _dropout(log: RunLog, finding: Finding) -> Prescription:
    names = [log.structure.layer(name).class_name for name in finding.layers]
    lines = [f"keras.layers.{kind}({_DROPOUT})  # {name}" for kind, name in zip(names, finding.layers, strict=True)]
    return Prescription(
        knob="regularization",
        target=finding.layers,
        before=", ".join(f"{log.structure.layer(name).config.get('rate')}" for name in finding.layers),
        after=str(_DROPOUT),
        why="With most units away in every step, hardly anything is left to learn with.",
        code="\n".join(lines),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"layers": {name: {"rate": _DROPOUT} for name in finding.layers}},
        effect=_kept(log, finding),
    )


def _kept(log: RunLog, finding: Finding) -> Effect:
    largest = max(float(log.structure.layer(name).config.get("rate") or 0.0) for name in finding.layers)
    return Effect("units kept in a step", 1 - largest, 1 - _DROPOUT, "share", "Srivastava et al. 2014")
