"""The bias knob: units that start asleep."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import layers_code
from kgrad.prescription.prescription import Prescription

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
        code=layers_code((log.structure.layer(v.layer), {"bias_initializer": '"zeros"'}) for v, _, _ in found),
        finding=finding.rule,
        evidence=tuple(
            Evidence(f"units of {v.layer} without gradient at the first step", d, "share") for v, d, _ in found
        ),
        settings={"bias_initializer": "zeros"},
    )
