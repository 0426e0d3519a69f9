"""The initializer knob: weights whose variance keeps signals at their size through depth."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Variable
from kgrad.prescription.effect import Effect
from kgrad.prescription.gains import gain, initializer
from kgrad.prescription.layer_code import layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recurrent_state import unbounded_states
from kgrad.prescription.snippet import snippet

# A weight spread within a factor 1.5 of what theory asks for is left alone: Glorot, LeCun and He
# differ by no more than that (sqrt(2)) for square layers, and all three train.
_TOLERANCE = 1.5
# A head may be small, and zero too; one this many times too large is sure of its answers before it has learned any.
_LARGE_HEAD = 3.0
# From so many square layers on it matters that no singular value differs from the gain.
_DEEP = 8


@dataclass(frozen=True)
class _Misfit:
    """A kernel whose first weights are not of the size that theory asks for."""

    variable: Variable
    ratio: float
    argument: str
    code: str


def prescribe_initializer(log: RunLog, finding: Finding) -> Prescription | None:
    """New initializers for the kernels whose first weights were too small or too large.

    The measured spread is the root mean square of the weights before the first recorded update; the wanted one is
    `gain / sqrt(fan_in)`. Source: He et al. 2015; Glorot & Bengio 2010. A recurrent kernel should neither grow nor
    shrink its state, which an orthogonal matrix does exactly: Saxe et al. 2014; Le et al. 2015 for ReLU.
    """
    return _of_misfits(log, finding, _misfits(log))


def misfit_layers(log: RunLog) -> set[str]:
    """The layers whose first weights are off, the output layer too."""
    return {misfit.variable.layer for misfit in _misfits(log)}


def prescribe_smaller_initializer(log: RunLog, finding: Finding) -> Prescription | None:
    """The same where signals or gradients grow: for kernels that were too large, since larger ones shrink nothing."""
    return _of_misfits(log, finding, [each for each in _misfits(log) if each.ratio > 1])


def prescribe_bounded_start(log: RunLog, finding: Finding) -> Prescription | None:
    """The same where a state without a bound grows over time, with `tanh` in these layers.

    A kernel that is orthogonal at first does not stay so, and `tanh` alone is driven to its flat ends by a kernel that
    makes its state grow. In twelve such trainings (six programs of the corpora, two seeds) new weights alone were not
    finite again in two; with both all ended as well or better.
    """
    misfits = _misfits(log)
    wrong = {*finding.layers, *(each.variable.layer for each in misfits)}
    unbounded = [name for name in unbounded_states(log) if name in wrong]
    weights = _of_misfits(log, finding, misfits, unbounded)
    if weights is None or not unbounded:
        return None
    return replace(
        weights,
        after=f"{weights.after}, tanh in {', '.join(unbounded)}",
        why=f"{weights.why} A state without a bound grows again once its kernel does; tanh bounds it.",
        settings={**weights.settings, "layers": {name: {"activation": "tanh"} for name in unbounded}},
    )


def _of_misfits(
    log: RunLog, finding: Finding, misfits: list[_Misfit], bounded: Collection[str] = ()
) -> Prescription | None:
    """New weights for these kernels; the code of the bounded layers has `tanh` too."""
    if not misfits:
        return None
    worst = max(misfits, key=lambda misfit: abs(math.log(misfit.ratio)) if misfit.ratio else math.inf)
    changes: dict[str, dict[str, str]] = {}
    for misfit in misfits:
        changes.setdefault(misfit.variable.layer, {})[misfit.argument] = misfit.code
    shown = {name: {**change} for name, change in changes.items()}
    for name in bounded:
        shown.setdefault(name, {})["activation"] = '"tanh"'
    return Prescription(
        knob="initializer",
        target=tuple(shown),
        before=_named(worst.variable),
        after=", ".join(dict.fromkeys(misfit.code for misfit in misfits)),
        why=_why(misfits, worst.ratio, len(changes)),
        code=snippet(layers_code((log.structure.layer(name), change) for name, change in shown.items())),
        finding=finding.rule,
        evidence=tuple(
            Evidence(f"weight spread of {misfit.variable.name}, measured / needed", misfit.ratio, "1", 1.0)
            for misfit in misfits
        ),
        settings={"initializers": changes},
        effect=_kept_size(misfits),
    )


def _kept_size(misfits: list[_Misfit]) -> Effect | None:
    """The factor that these layers together put on the size of the signal, by the spread of their weights."""
    feedforward = [each.ratio for each in misfits if each.argument == "kernel_initializer"]
    if not feedforward:
        return None
    factor = float(np.prod(np.array(feedforward, dtype=np.float64)))
    if not math.isfinite(factor):
        return None
    quantity = f"factor on the signal through {_count(len(feedforward))}"
    return Effect(quantity, factor, 1.0, "1", "He et al. 2015, equations 10 and 14")


def prescribe_orthogonal(log: RunLog, finding: Finding) -> Prescription | None:
    """Orthogonal matrices with the gain of the activation in the square layers of a deep chain.

    All singular values of such a matrix are the gain itself, so that no direction fades or grows beside the others, as
    some do with random entries (Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning").
    """
    square = _square_layers(log)
    hidden = [each for each in log.structure.weighted_layers if each.name in square]
    present = {v.layer: (v.initializer or {}).get("class_name") for v in log.structure.variables if v.role == "kernel"}
    wanted = [each for each in hidden if not str(present[each.name]).startswith("Orthogonal")]
    if len(hidden) < _DEEP or not wanted:
        return None
    changes = {
        each.name: {"kernel_initializer": _orthogonal(gain(log.structure.effective_activation(each.name)))}
        for each in wanted
    }
    return Prescription(
        knob="initializer",
        target=tuple(changes),
        before=", ".join(dict.fromkeys(str(present[each.name]) for each in wanted)),
        after=", ".join(dict.fromkeys(code["kernel_initializer"] for code in changes.values())),
        why=f"The singular values of {len(wanted)} random matrices spread; those of orthogonal ones are all the gain.",
        code=snippet(layers_code((log.structure.layer(name), change) for name, change in changes.items())),
        finding=finding.rule,
        evidence=(Evidence("square layers in a chain", float(len(hidden)), "layers", float(_DEEP)),),
        settings={"initializers": changes},
        effect=Effect(
            "largest singular value over that of an orthogonal matrix",
            2.0,
            1.0,
            "1",
            "Marchenko & Pastur 1967, for square matrices of random entries of the same spread",
        ),
    )


def _square_layers(log: RunLog) -> set[str]:
    """Hidden dense layers with as many units as inputs."""
    square = {v.layer for v in log.structure.variables if v.role == "kernel" and v.shape[0] == v.shape[-1]}
    hidden = (each.name for each in log.structure.weighted_layers[:-1] if each.class_name == "Dense")
    return square.intersection(hidden)


def _orthogonal(scale: float) -> str:
    return f"keras.initializers.Orthogonal(gain={scale:.3g})"


def prescribe_forget_bias(log: RunLog, finding: Finding) -> Prescription | None:
    """A forget gate that starts open: with a bias of 1 the state of an LSTM keeps most of itself at every step.

    With a bias of 0 it keeps half, so that after `t` steps `2^-t` of the gradient is left (Gers et al. 2000, "Learning
    to Forget"; Jozefowicz et al. 2015 found it the most useful change of an LSTM's start).
    """
    shut = [
        layer
        for layer in log.structure.weighted_layers
        if layer.class_name == "LSTM" and layer.config.get("unit_forget_bias") is False
    ]
    if not shut:
        return None
    return Prescription(
        knob="initializer",
        target=tuple(layer.name for layer in shut),
        before="unit_forget_bias=False",
        after="unit_forget_bias=True",
        why="A forget gate whose bias starts at 0 keeps half of the state at every time step; at 1 it keeps 73 %.",
        code=snippet(layers_code((layer, {"unit_forget_bias": "True"}) for layer in shut)),
        finding=finding.rule,
        evidence=(Evidence("share of the state kept per time step at the start", 0.5, "share", 0.73),),
        settings={"layers": {layer.name: {"unit_forget_bias": True} for layer in shut}},
        effect=Effect("state kept per time step at the start", 0.5, 0.73, "share", "the sigmoid at 0 and at 1"),
    )


def _why(misfits: list[_Misfit], worst: float, layers: int) -> str:
    if worst == 0:
        return f"The first weights of {_count(layers)} are zero or far off; units that start alike stay alike."
    if all(each.variable.is_alike for each in misfits):
        return f"The first weights of {_count(layers)} are one and the same number; units that start alike stay alike."
    size, factor = ("small", 1 / worst) if worst < 1 else ("large", worst)
    return (
        f"The first weights of {_count(layers)} are up to {factor:.3g} times too {size} "
        "for their fan-in and activation, so signals change size at every layer."
    )


def _misfits(log: RunLog) -> list[_Misfit]:
    """Kernels off by more than the tolerance, or of one value; the output layer's only where it is too large.

    Square matrices of many linear or tanh layers become orthogonal: random ones of the same spread keep the
    mean size of signals, and not that of each direction (see `prescribe_orthogonal`).
    """
    if "weight_norm" not in log or not len(log) or log.steps[0] > 0:
        return []
    recurrent = {variable.layer for variable in log.structure.variables if variable.role == "recurrent_kernel"}
    kernels = [(i, v) for i, v in enumerate(log.structure.variables) if v.is_kernel]
    square = _square_layers(log)
    isometric = len(square) >= _DEEP and all(
        log.structure.effective_activation(name) in (None, "linear", "tanh") for name in square
    )
    found = []
    for place, variable in kernels:
        spread = float(log["weight_norm"][0, place]) / math.sqrt(variable.size)
        activation = log.structure.effective_activation(variable.layer)
        if variable.role == "recurrent_kernel":
            argument, needed, code = "recurrent_initializer", 1.0, '"orthogonal"'
        elif variable.role == "kernel" and variable.layer in recurrent:  # Keras' own, over all its gates
            needed = math.sqrt(2 * variable.shape[0] / (variable.shape[0] + variable.shape[-1]))
            argument, code = "kernel_initializer", '"glorot_uniform"'
        elif variable.role == "kernel":
            argument, needed = "kernel_initializer", gain(activation)
            code = '"orthogonal"' if isometric and variable.layer in square else initializer(activation)
        else:
            continue
        ratio = spread * math.sqrt(variable.fans[0]) / needed
        fits = 1 / _TOLERANCE < ratio < _TOLERANCE and not variable.is_alike
        if argument == "kernel_initializer" and variable.layer in recurrent:  # what is small here does little harm
            fits = ratio < _LARGE_HEAD and not variable.is_alike
        if len(kernels) > 1 and variable is kernels[-1][1]:
            fits = ratio < _LARGE_HEAD
        if math.isfinite(ratio) and not fits and not _is(variable, code):
            found.append(_Misfit(variable, ratio, argument, code))
    return found


def _is(variable: Variable, code: str) -> bool:
    """Whether the initializer is the prescribed one already: its size is then that of its own rule for the fans."""
    present = variable.initializer or {}
    named = "".join(part.capitalize() for part in code.strip('"').split("_")) == present.get("class_name")
    return named and (present.get("config") or {}).get("gain", 1.0) == 1.0


def _named(variable: Variable) -> str:
    if not variable.initializer:
        return "unknown"
    config = variable.initializer.get("config") or {}
    shown = {key: value for key, value in config.items() if key in ("mean", "stddev", "scale", "gain", "value")}
    arguments = ", ".join(f"{key}={value:g}" for key, value in shown.items() if isinstance(value, (int, float)))
    return f"{variable.initializer['class_name']}({arguments})"


def _count(layers: int) -> str:
    return "one layer" if layers == 1 else f"{layers} layers"
