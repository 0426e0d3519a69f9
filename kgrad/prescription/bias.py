"""The initializer knob on units that start asleep: their biases, and weights that lie to one side of zero."""

import math
from collections.abc import Mapping
from typing import Any

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.gains import initializer
from kgrad.prescription.layer_code import layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

# Dead at the very first step, before any update: then it is the start that killed them.
_BORN_DEAD = 0.5


def prescribe_zero_bias(log: RunLog, finding: Finding) -> Prescription | None:
    """Zero biases where units are dead from the first step and the biases did not start at zero."""
    if "weight_norm" not in log or log.steps[0] > 0:
        return None
    found = []
    for place, variable in enumerate(log.structure.variables):
        if variable.role == "bias" and variable.layer in finding.layers:
            dead, norm = float(log["zero_fraction"][0, place]), float(log["weight_norm"][0, place])
            if dead > _BORN_DEAD and norm > 0:
                found.append((variable, dead, norm / variable.size**0.5))
    if not found:
        return None
    spread = max(size for _, _, size in found)
    return Prescription(
        knob="initializer",
        target=tuple(variable.layer for variable, _, _ in found),
        before=f"biases of magnitude {spread:.3g}",
        after='bias_initializer="zeros"',
        why="These units are dead before the first update: their biases start so far off that no input wakes them.",
        code=snippet(layers_code((log.structure.layer(v.layer), {"bias_initializer": '"zeros"'}) for v, _, _ in found)),
        finding=finding.rule,
        evidence=tuple(
            Evidence(f"units of {v.layer} without gradient at the first step", d, "share") for v, d, _ in found
        ),
        settings={"bias_initializer": "zeros"},
    )


def prescribe_centred_weights(log: RunLog, finding: Finding) -> Prescription | None:
    """Weights around zero where units get no gradient from the first step and their weights lie to one side of it.

    Inputs of one sign then drive all units of a layer the same way: where that is down no ReLU is ever on, and sigmoids
    go to their flat ends. What keeps variance through rectifiers takes weights that are symmetric about zero (He et
    al. 2015, section 2.2). All weights that lie so are made anew.
    """
    if not len(log) or log.steps[0] > 0:
        return None
    lying = [(i, v) for i, v in enumerate(log.structure.variables) if v.role == "kernel" and _lean(v.initializer) >= 1]
    dead = {v.layer: float(log["zero_fraction"][0, i]) if "zero_fraction" in log else 0.0 for i, v in lying}
    # Of what lies at the flat ends there are small gradients.
    saturated = finding.rule == "saturated-activation" and finding.first_step <= int(log.steps[0]) + 1
    asleep = [name for name in dead if name in finding.layers and (saturated or dead[name] > _BORN_DEAD)]
    found = {v.layer: _lean(v.initializer) for _, v in lying}
    if not asleep:
        return None
    changes = {
        name: {"kernel_initializer": initializer(log.structure.effective_activation(name) or "linear")}
        for name in found
    }
    worst = max(found.values())
    return Prescription(
        knob="initializer",
        target=tuple(found),
        before="weights to one side of zero",
        after=", ".join(dict.fromkeys(each["kernel_initializer"] for each in changes.values())),
        why=f"These units {'saturate' if saturated else 'are dead'} before the first update: their weights lie to "
        "one side of zero, and so does what they get.",
        code=snippet(layers_code((log.structure.layer(name), change) for name, change in changes.items())),
        finding=finding.rule,
        evidence=tuple(
            Evidence(f"mean of the weights of {name} over their spread", found[name], "1", 1.0)
            if saturated
            else Evidence(f"weights of {name} without gradient at the first step", dead[name], "share")
            for name in asleep
        ),
        settings={"initializers": changes},
        effect=Effect("mean of the weights over their spread", worst, 0.0, "1", "He et al. 2015, section 2.2")
        if math.isfinite(worst)
        else None,
    )


def _lean(initializer: Mapping[str, Any] | None) -> float:
    """The mean of what the initializer draws over its standard deviation; infinite for one value."""
    initializer = initializer or {}
    config = {key: value for key, value in (initializer.get("config") or {}).items() if isinstance(value, int | float)}
    if initializer.get("class_name") == "RandomUniform":
        low, high = config.get("minval", -0.05), config.get("maxval", 0.05)
        mean, spread = abs(low + high) / 2, (high - low) / math.sqrt(12)
    else:
        mean, spread = abs(config.get("mean", 0.0)), config.get("stddev", 0.0)
    return float(mean / spread) if spread > 0 else math.inf if mean > 0 else 0.0
