"""The regularization knob: a penalty that is small beside the data, or a dropout that leaves units enough."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kgrad.diagnosis.finding import Finding
from kgrad.diagnosis.skill import planned_steps
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.layer_code import layer_code, layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled
from kgrad.prescription.snippet import snippet

# Srivastava et al. 2014, "Dropout", section A.4: 0.2 to 0.5. Here the least of it, and none of the inputs: a regression
# on ten of them got an R² of 0.69 with 0.3 everywhere, and of 0.92 with 0.3 on the hidden units alone.
_DROPOUT, _OF_INPUTS = 0.2, 0.0


# What decay may take of the weights over a whole training (own choice), and Keras' default for AdamW.
_TAKEN, _USUAL_DECAY = 0.1, 0.004


def prescribe_regularization(log: RunLog, finding: Finding) -> Prescription | None:
    """Penalties of a hundredth of the data's loss, dropout of 0.2 and none of the inputs, or the usual decay."""
    if finding.details.get("kind") == "decay":
        return _decay(log, finding)
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
        code=snippet(layers_code((log.structure.layer(name), change) for name, change in changes.items())),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"layers": settings},
        effect=_lighter(finding, factor),
    )


def _lighter(finding: Finding, factor: float) -> Effect | None:
    penalty = float(finding.details.get("penalty") or 0.0)
    source = "a penalty is proportional to its strength"
    return Effect("penalty over the data's loss", penalty, penalty * factor, "1", source) if penalty else None


def _decay(log: RunLog, finding: Finding) -> Prescription | None:
    present = present_optimizer(log).weight_decay
    path = float(np.nansum(log["learning_rate"])) * planned_steps(log) / len(log)
    if not present or path <= 0:
        return None
    wanted = float(number(min(_USUAL_DECAY, _TAKEN / path)))
    return recompiled(
        log,
        finding,
        {"weight_decay": wanted},
        knob="optimizer",
        before=f"weight_decay={present:g}",
        after=f"weight_decay={wanted:g}",
        why=f"Each step takes the learning rate times {present:g} of every weight away, whatever the data say.",
        evidence=finding.evidence[:1],
        effect=Effect(
            "weights left by decay alone",
            math.exp(-present * path),
            math.exp(-wanted * path),
            "share",
            "Loshchilov & Hutter 2019, algorithm 2",
        ),
    )


def _dropout(log: RunLog, finding: Finding) -> Prescription:
    present = {name: log.structure.layer(name).dropout_rates for name in finding.layers}
    wanted = {
        name: {argument: _wanted(log.structure, name, argument) for argument in rates}
        for name, rates in present.items()
    }
    said = {_DROPOUT: str(_DROPOUT), _OF_INPUTS: "no dropout of the inputs"}
    given = {rate for rates in wanted.values() for rate in rates.values()}
    return Prescription(
        knob="regularization",
        target=finding.layers,
        before=", ".join(f"{rate}" for rates in present.values() for rate in rates.values()),
        after="; ".join(said[rate] for rate in said if rate in given),
        why="With most units away in every step, hardly anything is left to learn with.",
        code=snippet("\n".join(_dropout_code(log.structure.layer(name), rates) for name, rates in wanted.items())),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"layers": wanted},
        effect=_kept(present, wanted),
    )


def _wanted(structure: Structure, name: str, argument: str) -> float:
    of_inputs = argument != "recurrent_dropout" and _takes_inputs(structure, name)
    return _OF_INPUTS if of_inputs else _DROPOUT


def _dropout_code(layer: Layer, rates: Mapping[str, float]) -> str:
    if "rate" in rates:
        return f"keras.layers.{layer.class_name}({rates['rate']})  # {layer.name}"
    return f"{layer_code(layer, **{name: str(rate) for name, rate in rates.items()})}  # {layer.name}"


def _takes_inputs(structure: Structure, name: str) -> bool:
    """Whether the graph is known and no layer with trained weights comes before it."""
    names = [layer.name for layer in structure.layers]
    trained = {variable.layer for variable in structure.variables}
    return structure.kind in ("sequential", "functional") and not trained & set(names[: names.index(name)])


def _kept(present: Mapping[str, Mapping[str, float]], wanted: Mapping[str, Mapping[str, float]]) -> Effect:
    """Of the layer that drops most."""
    name, argument = max(((n, a) for n, rates in present.items() for a in rates), key=lambda at: present[at[0]][at[1]])
    kept = 1 - present[name][argument], 1 - wanted[name][argument]
    return Effect("units kept in a step", *kept, "share", "Srivastava et al. 2014")
