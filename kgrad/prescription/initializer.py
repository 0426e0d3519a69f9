"""The initializer knob: weights whose variance keeps signals at their size through depth."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Variable
from kgrad.prescription.code import layers_code
from kgrad.prescription.gains import gain, initializer
from kgrad.prescription.prescription import Prescription

# A weight spread within a factor 1.5 of what theory asks for is left alone: Glorot, LeCun and He
# differ by no more than that (sqrt(2)) for square layers, and all three train.
_TOLERANCE = 1.5


def prescribe_initializer(log: RunLog, finding: Finding) -> Prescription | None:
    """New initializers for the kernels whose first weights were too small or too large.

    The measured spread is the root mean square of the weights before the first recorded update;
    the wanted one is `gain / sqrt(fan_in)`. Source: He et al. 2015; Glorot & Bengio 2010.
    """
    if "weight_norm" not in log or not len(log) or log.steps[0] > 0:
        return None
    off = {
        variable.layer: ratio for variable, ratio in _ratios(log) if not 1 / _TOLERANCE < ratio < _TOLERANCE
    }
    if not off:
        return None
    layers = [log.structure.layer(name) for name in off]
    code_of = {layer.name: initializer(log.structure.effective_activation(layer.name)) for layer in layers}
    worst = max(off, key=lambda name: abs(math.log(off[name])))
    size = "small" if off[worst] < 1 else "large"
    factor = max(off[worst], 1 / off[worst])
    present = next(v for v in log.structure.variables if v.layer == worst and v.role == "kernel")
    return Prescription(
        knob="initializer",
        target=tuple(off),
        before=_named(present),
        after=", ".join(dict.fromkeys(code_of.values())),
        why=(
            f"The first weights of {_count(len(off))} are up to {factor:.3g} times too {size} "
            "for their fan-in and activation, so signals change size at every layer."
        ),
        code=layers_code((layer, {"kernel_initializer": code_of[layer.name]}) for layer in layers),
        finding=finding.rule,
        evidence=tuple(
            Evidence(f"weight spread of {name}, measured / needed", off[name], "1", 1.0) for name in off
        ),
        settings={"kernel_initializer": code_of},
    )


def _ratios(log: RunLog) -> list[tuple[Variable, float]]:
    """Measured over wanted spread for each kernel that is not the output layer's."""
    kernels = [(i, v) for i, v in enumerate(log.structure.variables) if v.role == "kernel" and v.is_kernel]
    found = []
    for place, variable in kernels[:-1] or kernels:
        spread = float(log["weight_norm"][0, place]) / math.sqrt(variable.size)
        needed = gain(log.structure.effective_activation(variable.layer)) / math.sqrt(variable.fans[0])
        if math.isfinite(spread) and spread > 0:
            found.append((variable, spread / needed))
    return found


def _named(variable: Variable) -> str:
    if not variable.initializer:
        return "unknown"
    config = variable.initializer.get("config") or {}
    shown = {
        key: value for key, value in config.items() if key in ("mean", "stddev", "scale", "gain", "value")
    }
    arguments = ", ".join(
        f"{key}={value:g}" for key, value in shown.items() if isinstance(value, (int, float))
    )
    return f"{variable.initializer['class_name']}({arguments})"


def _count(layers: int) -> str:
    return "one layer" if layers == 1 else f"{layers} layers"
