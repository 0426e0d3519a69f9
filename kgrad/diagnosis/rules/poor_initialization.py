"""The rule `poor-initialization`."""

import math
from collections.abc import Iterable

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, is_held_back
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure, Variable

LARGE = Limit(
    "signal over that of sound weights",
    10.0,
    "1",
    "a decade too much drives tanh and sigmoid to their flat ends and a softmax to certainty in the first step, from "
    "where there is no way back (Glorot & Bengio 2010, section 3).",
)
SMALL = Limit(
    "signal of sound weights over that of these",
    100.0,
    "1",
    "small weights grow by themselves, the slower the more layers share the factor (Saxe et al. 2014, section 2): one "
    "layer a decade too small recovers, so two decades over the hidden layers is the limit.",
)
FORGETS = Limit(
    "what a recurrent layer keeps of its state over ten steps",
    0.01,
    "share",
    "as for small weights, two decades: what came ten steps ago hardly counts, and its gradient neither (Pascanu et "
    "al. 2013, section 2.1); an orthogonal kernel keeps all of it (Saxe et al. 2014).",
)
SCALES = Limit(
    "inputs of ordinary scale, at most",
    10.0,
    "1",
    "as in unscaled-inputs; beyond it the inputs' own scale is part of the signal.",
)

# Decades that a sigmoid takes from a signal by itself: its greatest slope is 1/4.
_OF_SIGMOID = math.log10(4)
_FULL = ("Dense", "Conv1D", "Conv2D", "Conv3D")
_GATED = ("LSTM", "GRU")
_MEMORY = 10  # steps over which a state is looked at
_MOST = 300.0  # decades that a float can hold
_BOUNDED = frozenset({"tanh", "sigmoid", "hard_sigmoid", "hard_tanh", "softsign", "softmax"})


@rule(columns=("weight_norm",), optional=("loss",), limits=(LARGE, SMALL, FORGETS, SCALES))
def poor_initialization(log: RunLog) -> Finding | None:
    """The initial weights are all equal, or so large or small that signals explode or fade before they arrive.

    Measured: the norm of each hidden kernel before the first step. Its root mean square is compared with what the
    usual initializers give for its fans, from Glorot's or LeCun's for the larger fan to He's for the smaller; the
    factors outside that range are multiplied along the graph, from the inputs' own scale on, starting anew behind
    a normalization. Where sigmoids take more from the signal than small weights do, the weights are a note. Kernels
    of one value keep all units of a layer alike for ever. A SimpleRNN multiplies by its recurrent kernel once per step
    of the sequence: without a bounded activation its signals grow, and a small kernel forgets. Large kernels
    hold the gates of an LSTM or a GRU open or shut. The severity follows the harm; it is low where half was learned or
    more with large weights, but not most, and the loss falls still.

    Blind spot: within the range the fit of gain and activation is not judged (a deep sigmoid network fades with any
    of the usual initializers: that is `vanishing-gradient`); small weights of gated layers and attention are not looked
    at.
    """
    if not len(log) or int(log.steps[0]) != 0:
        raise NotApplicable("the initial weights are not known: the first recorded step is not the run's first")
    recurrent = _recurrent(log)
    if recurrent is not None:
        return recurrent
    norms = log["weight_norm"][0]
    hidden = [i for i in signals.kernels(log)[:-1] if _class_of(log.structure, i) in _FULL]
    states = _constant_states(log, norms)
    if not hidden and not states:
        raise NotApplicable("the model has no hidden dense or convolutional layer that is trained")
    alike = [*states, *(i for i in hidden if _is_constant(log.structure.variables[i], norms[i]))]
    if alike:
        return _constant(log, alike, norms)
    deviation = {
        log.structure.variables[i].layer: _deviation(log.structure.variables[i], norms[i])
        for i in hidden
        if np.isfinite(norms[i]) and norms[i] > 0 and not log.structure.is_normalized(log.structure.variables[i].layer)
    }
    return _faded_or_grown(log, deviation) if any(deviation.values()) else None


def _recurrent(log: RunLog) -> Finding | None:
    """Growth and loss through time: the root mean square of the singular values, to the power of the steps."""
    lengths = [facts.shape[0] for facts in (log.batch.inputs if log.batch else ()) if len(facts.shape) == 2]
    for i, variable in enumerate(log.structure.variables):
        owner = next((each for each in log.structure.layers if each.name == variable.layer), None)
        if owner is None or variable.role != "recurrent_kernel" or not lengths:
            continue
        if owner.class_name in _GATED and (excess := _excess(log, owner.name)) >= LARGE.value:
            text = f"The weights of {owner.name} are {excess:.3g} times too large: its gates begin wide open or shut."
            seen = (Evidence("weights over those of sound ones", excess, "1", LARGE.value),)
            return _finding(log, (owner.name,), "too-large", text, seen, 0.85, {"factor": excess})
        if owner.class_name != "SimpleRNN":
            continue
        gain = float(log["weight_norm"][0, i]) / math.sqrt(variable.shape[0])
        if gain > 0 and gain ** min(_MEMORY, max(lengths)) < FORGETS.value:
            return _forgetful(log, owner.name, gain, max(lengths))
        gain /= math.sqrt(2) if owner.activation == "relu" else 1.0  # a relu passes half of the signal's square
        if owner.activation not in ("linear", "relu", None) or not 1 < gain < math.inf:
            continue
        decades = min(max(lengths) * math.log10(gain), _MOST)
        if decades >= math.log10(LARGE.value):
            text = f"{owner.name} multiplies by {gain:.3g} at each of {max(lengths)} steps: signals grow by a factor of"
            seen = (Evidence(LARGE.name, 10**decades, "1", LARGE.value),)
            summary = f"{text} {power(10**decades)}."
            return _finding(log, (owner.name,), "recurrent", summary, seen, 0.9, {"factor": 10**decades})
    return None


def _excess(log: RunLog, name: str) -> float:
    """How many times larger the kernels of a gated layer are than Glorot's and orthogonal ones, the larger of both."""
    factors = []
    for i, variable in enumerate(log.structure.variables):
        if variable.layer == name and variable.role in ("kernel", "recurrent_kernel"):
            fan_in, gates = variable.shape[0], variable.shape[-1]
            sound = 1 / gates if variable.role == "recurrent_kernel" else 2 / (fan_in + gates)
            factors.append(float(log["weight_norm"][0, i]) / math.sqrt(variable.size * sound))
    return max(factors, default=0.0) if all(map(math.isfinite, factors)) else 0.0


def _forgetful(log: RunLog, name: str, gain: float, steps: int) -> Finding:
    within = min(_MEMORY, steps)
    kept = gain**within
    text = f"{name} multiplies its state by {gain:.2g} at each step: after {within} of them {power(kept)} is left."
    return _finding(
        log, (name,), "forgetful", text, (Evidence(FORGETS.name, kept, "share", FORGETS.value),), 0.75, {"gain": gain}
    )


def _class_of(structure: Structure, column: int) -> str:
    variable = structure.variables[column]
    owner = [layer for layer in structure.layers if layer.name == variable.layer]
    return owner[0].class_name if owner and variable.role == "kernel" else ""


def _is_constant(variable: Variable, norm: float) -> bool:
    return variable.shape[-1] > 1 and (norm == 0 or (variable.is_alike and bool(np.isfinite(norm))))


def _constant_states(log: RunLog, norms: np.ndarray) -> list[int]:
    """Kernels of recurrent layers whose recurrent kernel is of one value as well: no two units ever differ."""
    places = {(variable.layer, variable.role): i for i, variable in enumerate(log.structure.variables)}
    alike = {key for key, i in places.items() if _is_constant(log.structure.variables[i], norms[i])}
    states = {name for name, role in alike if role == "recurrent_kernel"}
    units = {name: log.structure.variables[places[name, "recurrent_kernel"]].shape[0] for name in states}
    return [places[key] for key in sorted(alike) if key[1] == "kernel" and units.get(key[0], 0) > 1]


def _constant(log: RunLog, columns: list[int], norms: np.ndarray) -> Finding:
    names = tuple(log.structure.variables[i].layer for i in columns)
    zero = bool((norms[columns] == 0).all())
    value = "zero" if zero else "one and the same number"
    return _finding(
        log,
        names,
        "zero" if zero else "constant",
        f"All initial weights of {', '.join(names[:2])} are {value}, so that its units all learn the same.",
        (Evidence("largest root mean square among them", float(_rms(log, columns, norms).max()), "weight"),),
        0.95,
        {},
    )


def _rms(log: RunLog, columns: Iterable[int], norms: np.ndarray) -> np.ndarray:
    return np.array([norms[i] / math.sqrt(log.structure.variables[i].size) for i in columns])


def _deviation(variable: Variable, norm: float) -> float:
    """Decades by which the root mean square lies above (positive) or under the range of sound initializers."""
    rms = float(norm) / math.sqrt(variable.size)
    low, high = 1 / math.sqrt(max(variable.fans)), math.sqrt(2 / min(variable.fans))
    return (
        max(math.log10(rms / low), -_MOST) if rms < low else min(math.log10(rms / high), _MOST) if rms > high else 0.0
    )


def _faded_or_grown(log: RunLog, deviation: dict[str, float]) -> Finding | None:
    start = _input_scale(log)
    signal = _signals(log, deviation, start)
    faint = _signals(log, deviation, max(start, 0.0))  # that inputs are small is no fault of the weights
    largest = max(deviation, key=lambda name: signal[name])
    smallest = min(deviation, key=lambda name: faint[name])
    if signal[largest] >= math.log10(LARGE.value) and any(value > 0 for value in deviation.values()):
        kind, factor, limit, size, verb = "too-large", 10 ** min(signal[largest], _MOST), LARGE, "large", "grow"
        names = tuple(name for name, value in deviation.items() if value > 0)
    elif faint[smallest] <= -math.log10(SMALL.value) and any(value < 0 for value in deviation.values()):
        kind, factor, limit, size, verb = "too-small", 10 ** min(-faint[smallest], _MOST), SMALL, "small", "fade"
        names = tuple(name for name, value in deviation.items() if value < 0)
    else:
        return None
    worst = 10 ** max(abs(deviation[name]) for name in names)
    many = "one layer" if len(names) == 1 else f"{len(names)} layers"
    sigmoids = sum(log.structure.effective_activation(name) in ("sigmoid", "hard_sigmoid") for name in names)
    slight = kind == "too-small" and math.log10(factor) <= sigmoids * _OF_SIGMOID
    return _finding(
        log,
        names,
        kind,
        f"The initial weights of {many} are up to {power(worst)} times too {size} for the fan-in of each; "
        f"through all of them in a row signals {verb} by a factor of {power(factor)} against sound weights.",
        (Evidence(limit.name, factor, "1", limit.value), Evidence("worst single layer", worst, "1")),
        0.9,
        {"factor": factor},
        slight,
    )


def _signals(log: RunLog, deviation: dict[str, float], start: float) -> dict[str, float]:
    """Decades by which the signal deviates from that of sound weights, in front of each layer's activation.

    Args:
        log: the run.
        deviation: decades by which each layer's weights deviate.
        start: decades by which the inputs do.
    """
    behind: dict[str, float] = {}
    at: dict[str, float] = {}
    graph = any(layer.inbound for layer in log.structure.layers)
    previous = start
    for layer in log.structure.layers:
        read = [behind[name] for name in layer.inbound if name in behind] if graph else [previous]
        signal = max(read, default=start) + deviation.get(layer.name, 0.0)
        at[layer.name] = signal
        previous = behind[layer.name] = _passed(log.structure, layer, signal)
    return at


def _passed(structure: Structure, layer: Layer, signal: float) -> float:
    if "Normalization" in layer.class_name:
        return 0.0
    return min(signal, 0.0) if structure.effective_activation(layer.name) in _BOUNDED else signal


def _input_scale(log: RunLog) -> float:
    inputs = log.data.inputs if log.data else ()
    scales = [max(f.feature_std_maximum or 0.0, f.feature_mean_maximum or 0.0) for f in inputs]
    largest = max(scales, default=1.0)
    return math.log10(largest) if largest >= SCALES.value or 0 < largest <= 1 / SCALES.value else 0.0


def _finding(
    log: RunLog,
    layers: tuple[str, ...],
    kind: str,
    summary: str,
    evidence: tuple[Evidence, ...],
    confidence: float,
    details: dict[str, float],
    slight: bool = False,
) -> Finding:
    severity = "info" if slight else harm(log) if "loss" in log else "medium"
    if severity == "info" and kind == "too-large" and is_held_back(log):  # small ones grow, and a plateau shows it
        severity = "low"
    return Finding(
        rule="poor-initialization",
        severity=severity,
        summary=summary,
        layers=layers,
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=evidence,
        confidence=confidence,
        details={"kind": kind, **details},
    )
