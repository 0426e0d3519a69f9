"""The regularization knob: a penalty that is small beside the data, or a dropout that leaves units enough."""

from collections.abc import Mapping
from typing import Any

from kgrad.diagnosis.finding import Finding
from kgrad.diagnosis.rules.over_regularised import SILENT, silenced
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import layers_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# Srivastava et al. 2014, "Dropout", section A.4: 0.2 for inputs to 0.5 for hidden units.
_DROPOUT = 0.3


def prescribe_regularization(log: RunLog, finding: Finding) -> Prescription | None:
    """Penalties at a hundredth of the data's loss; dropout of 0.3, or none where that would take whole layers."""
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
    present = {name: float(log.structure.layer(name).config.get("rate") or 0.0) for name in finding.layers}
    wanted = {name: _rate(log, name, rate) for name, rate in present.items()}
    return Prescription(
        knob="regularization",
        target=finding.layers,
        before=", ".join(f"{rate:.3g}" for rate in present.values()),
        after=", ".join(f"{rate:.3g}" for rate in dict.fromkeys(wanted.values())),
        why="With most units away in every step, or all of a layer in some, hardly anything is left to learn with.",
        code="\n".join(f"keras.layers.Dropout({rate})  # {name}" for name, rate in wanted.items()),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"layers": {name: {"rate": rate} for name, rate in wanted.items()}},
        effect=_kept(max(present.values()), max(wanted.values())),
    )


def _rate(log: RunLog, name: str, present: float) -> float:
    """The usual rate where it is less than the present one and leaves the layer units, else none."""
    return _DROPOUT if present > _DROPOUT and silenced(log, name, _DROPOUT) < SILENT.value else 0.0


def _kept(before: float, after: float) -> Effect:
    return Effect("units kept in a step", 1 - before, 1 - after, "share", "Srivastava et al. 2014")
