"""Lines of Keras code to paste, made from what `run.json` says of the layers and the optimizer."""

from collections.abc import Iterable, Mapping
from typing import Any

from kgrad.log.structure import Layer
from kgrad.prescription.present_optimizer import present_optimizer

# Arguments that say what a layer is, in the order a person writes them, with Keras' defaults.
_LAYER_ARGUMENTS: dict[str, Any] = {
    "units": None,
    "filters": None,
    "kernel_size": None,
    "input_dim": None,
    "output_dim": None,
    "strides": (1, None),
    "padding": "valid",
    "return_sequences": False,
    "use_bias": True,
    "recurrent_dropout": 0.0,
    "dropout": 0.0,
}
_WITH_UNITS = ("Dense", "EinsumDense", "SimpleRNN", "LSTM", "GRU")
_POSITIONAL = ("units", "filters", "kernel_size", "input_dim", "output_dim")

# Keras' defaults of optimizer arguments: what equals them is not worth a line of code.
_OPTIMIZER_DEFAULTS: dict[str, Any] = {
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-07,
    "amsgrad": False,
    "rho": 0.9,
    "centered": False,
    "initial_accumulator_value": 0.1,
}


# Keras' own learning-rate schedules.
_SCHEDULES = (
    *("CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay"),
    "PolynomialDecay",
)


def number(value: float) -> str:
    """A number as a person would type it: two significant digits.

    >>> number(0.012345), number(3.0), number(1234.5)
    ('0.012', '3.0', '1200.0')
    """
    return repr(float(f"{value:.2g}"))


def layer_code(layer: Layer, **changes: str) -> str:
    """The line that makes the layer, with some arguments changed.

    Args:
        layer: the layer as the run describes it.
        changes: argument -> code of its new value, e.g. `activation='"relu"'`.
    """
    given = []
    known = {"units": layer.units, **layer.config} if layer.class_name in _WITH_UNITS else layer.config
    for name, default in _LAYER_ARGUMENTS.items():
        if name in _POSITIONAL and name in changes:
            given.append(changes.pop(name))
            continue
        value = known.get(name)
        if value is None or value == default or (name == "strides" and set(_as_tuple(value)) == {1}):
            continue
        text = repr(tuple(value) if isinstance(value, list) else value).replace("'", '"')
        given.append(text if name in _POSITIONAL else f"{name}={text}")
    if layer.activation not in (None, "linear") and "activation" not in changes:
        given.append(f'activation="{layer.activation}"')
    given += [f"{name}={value}" for name, value in changes.items()]
    return f"keras.layers.{layer.class_name}({', '.join(given)})"


def layers_code(layers: Iterable[tuple[Layer, Mapping[str, str]]]) -> str:
    """One line per kind of layer, each with a comment that says which layers it is for."""
    owners: dict[str, list[str]] = {}
    for layer, changes in layers:
        owners.setdefault(layer_code(layer, **changes), []).append(layer.name)
    return "\n".join(f"{line}  # {comment_of(names)}" for line, names in owners.items())


def comment_of(names: list[str]) -> str:
    """The names for a comment: all, or the first and last of many. A name cannot end the comment."""
    plain = [" ".join(name.split()) for name in names]
    return ", ".join(plain) if len(plain) <= 4 else f"{plain[0]} ... {plain[-1]}, {len(plain)} layers"


def optimizer_code(info: Mapping[str, Any], **changes: float | None) -> str:
    """The line that makes the run's optimizer, with some arguments changed.

    Args:
        info: `run.json`.
        changes: argument -> new value; `None` takes it out. A `LossScaleOptimizer` stays around the optimizer.
    """
    optimizer = present_optimizer(info)
    config = {**optimizer.config, **changes}
    rate = config.pop("learning_rate", None)
    given = [f"learning_rate={_rate(rate)}"] if rate is not None else []
    for name, value in config.items():
        if name in _OPTIMIZER_DEFAULTS and value is not None and value != _OPTIMIZER_DEFAULTS[name]:
            given.append(f"{name}={_short(value)}")
    made = f"keras.optimizers.{optimizer.name}({', '.join(given)})"
    outer = info.get("optimizer") or {}
    if outer.get("class_name") != "LossScaleOptimizer":
        return made
    # Clipping inside: there the gradients have their true size again.
    scale = (outer.get("config") or {}).get("initial_scale")
    return f"keras.optimizers.LossScaleOptimizer({made}{'' if scale is None else f', initial_scale={_short(scale)}'})"


def compiled_code(optimizer: str) -> str:
    """The lines that make this optimizer and compile the model with it."""
    return f"optimizer = {optimizer}\nmodel.compile(optimizer=optimizer, loss=loss)"


def fit_code(settings: Mapping[str, Any]) -> str:
    """The call of `fit` with these arguments; `monitor` and `patience` become a callback that ends it.

    >>> fit_code({"batch_size": 32})
    'model.fit(x, y, batch_size=32)'
    """
    given = [f"{name}={settings[name]}" for name in ("batch_size", "epochs") if name in settings]
    start = f"model.fit({', '.join(['x', 'y', *given])}"
    if "patience" not in settings:
        return f"{start})"
    watched = f'monitor="{settings["monitor"]}", patience={settings["patience"]}, restore_best_weights=True'
    data = ", validation_data=(x_val, y_val)" if settings["monitor"] == "val_loss" else ""
    return f"{start}{data}, callbacks=[\n    keras.callbacks.EarlyStopping({watched})\n])"


def _rate(rate: Any) -> str:
    """A number, or the schedule with its arguments; of one that is not Keras' own only its name is known."""
    if not isinstance(rate, Mapping):
        return _short(rate)
    name, config = rate.get("class_name", "schedule"), rate.get("config") or {}
    if name not in _SCHEDULES or not config:
        return f"{name}(...)"
    given = [f"{key}={_short(value)}" for key, value in config.items() if key != "name" and value is not None]
    return f"keras.optimizers.schedules.{name}({', '.join(given)})"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else repr(value)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
