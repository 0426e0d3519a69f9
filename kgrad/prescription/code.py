"""Lines of Keras code to paste, made from what `run.json` says of the optimizer and the training."""

import json
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
    "learning_rate_power": -0.5,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
    "l2_shrinkage_regularization_strength": 0.0,
    "beta": 0.0,
    "beta_2_decay": -0.8,
    "epsilon_1": 1e-30,
    "epsilon_2": 0.001,
    "clip_threshold": 1.0,
    "relative_step": True,
}
_OPTIMIZERS = {
    *("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam", "Ftrl", "Lion", "Lamb"),
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


def optimizer_code(info: Mapping[str, Any], **changes: Any) -> str:
    """The expression that makes the run's optimizer, with some arguments changed.

    Args:
        info: `run.json`.
        changes: argument -> new value; `None` takes it out. A `LossScaleOptimizer` stays around the optimizer.
    """
    made = unscaled_code(info, **changes)
    if not scales_loss(info):
        return made
    # Clipping inside: there the gradients have their true size again.
    scale = (info["optimizer"].get("config") or {}).get("initial_scale")
    return (
        f"keras.optimizers.LossScaleOptimizer({made}{'' if scale is None else f', initial_scale={plain_code(scale)}'})"
    )


def unscaled_code(info: Mapping[str, Any], **changes: Any) -> str:
    """The same without a `LossScaleOptimizer` around it; what is not Keras' own is made from what the model has."""
    optimizer = present_optimizer(info)
    config = {**optimizer.config, **changes}
    if optimizer.name not in _OPTIMIZERS or not _is_of_keras(config.get("learning_rate")):
        present = "model.optimizer.inner_optimizer" if scales_loss(info) else "model.optimizer"
        new = {name: _rate(value) if name == "learning_rate" else plain_code(value) for name, value in changes.items()}
        if not _is_of_keras(config.get("learning_rate")):
            new["learning_rate"] = f"{present}._learning_rate"  # the schedule itself: its class may not be registered
        inside = ", ".join([f"**{present}.get_config()", *(f'"{name}": {code}' for name, code in new.items())])
        return f"type({present}).from_config({{{inside}}})"
    return optimizer_words(info, **changes)


def optimizer_words(info: Mapping[str, Any], **changes: Any) -> str:
    """The optimizer and its arguments for people; of what is not Keras' own only the name is known."""
    optimizer = present_optimizer(info)
    config = {**optimizer.config, **changes}
    rate = config.pop("learning_rate", None)
    given = [f"learning_rate={_rate(rate)}"] if rate is not None else []
    for name, value in config.items():
        if name in _OPTIMIZER_DEFAULTS and value is not None and value != _OPTIMIZER_DEFAULTS[name]:
            given.append(f"{name}={plain_code(value)}")
    return f"keras.optimizers.{optimizer.name}({', '.join(given)})"


def scales_loss(info: Mapping[str, Any]) -> bool:
    """Whether a `LossScaleOptimizer` is around the run's optimizer."""
    return (info.get("optimizer") or {}).get("class_name") == "LossScaleOptimizer"


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
    """A number, a text, or a list or dictionary of them as code, floats to six digits.

    >>> plain_code([0.1, 2, None]), plain_code({"a": 0.5})
    ('[0.1, 2, None]', '{"a": 0.5}')
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(plain_code, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{plain_code(key)}: {plain_code(each)}' for key, each in value.items())}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else repr(value)


def _is_of_keras(rate: Any) -> bool:
    """Whether it is a number, or a schedule that code can make."""
    return not isinstance(rate, Mapping) or (rate.get("class_name") in _SCHEDULES and bool(rate.get("config")))


def _rate(rate: Any) -> str:
    """A number, or the schedule with its arguments; of one that is not Keras' own only its name is known."""
    if not isinstance(rate, Mapping):
        return plain_code(rate)
    name, config = rate.get("class_name", "schedule"), rate.get("config") or {}
    if not _is_of_keras(rate):
        return f"{name}(...)"
    given = [f"{key}={plain_code(value)}" for key, value in config.items() if key != "name" and value is not None]
    return f"keras.optimizers.schedules.{name}({', '.join(given)})"
