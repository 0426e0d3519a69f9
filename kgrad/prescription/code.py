"""Lines of Keras code to paste, made from what `run.json` says of the optimizer and the training."""

from collections.abc import Mapping
from typing import Any

from kgrad.log.present_optimizer import present_optimizer

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
            given.append(f"{name}={plain_code(value)}")
    made = f"keras.optimizers.{optimizer.name}({', '.join(given)})"
    outer = info.get("optimizer") or {}
    if outer.get("class_name") != "LossScaleOptimizer":
        return made
    # Clipping inside: there the gradients have their true size again.
    scale = (outer.get("config") or {}).get("initial_scale")
    return (
        f"keras.optimizers.LossScaleOptimizer({made}{'' if scale is None else f', initial_scale={plain_code(scale)}'})"
    )


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


def plain_code(value: Any) -> str:
    """A number, a text or a list of them as code, floats to six digits.

    >>> plain_code([0.1, 2, None])
    '[0.1, 2, None]'
    """
    if isinstance(value, list):
        return f"[{', '.join(map(plain_code, value))}]"
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else repr(value).replace("'", '"')


def _rate(rate: Any) -> str:
    """A number, or the schedule with its arguments; of one that is not Keras' own only its name is known."""
    if not isinstance(rate, Mapping):
        return plain_code(rate)
    name, config = rate.get("class_name", "schedule"), rate.get("config") or {}
    if name not in _SCHEDULES or not config:
        return f"{name}(...)"
    given = [f"{key}={plain_code(value)}" for key, value in config.items() if key != "name" and value is not None]
    return f"keras.optimizers.schedules.{name}({', '.join(given)})"
