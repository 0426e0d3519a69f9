"""The compile settings of a model, carried over to its copy with a new optimizer."""

from collections.abc import Mapping
from typing import Any

import keras

from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.plan import Plan


def compile_like(model: keras.Model, copy: keras.Model, plan: Plan) -> None:
    """Compiles the copy as the model is, but for what the plan changes.

    Args:
        model: the compiled original.
        copy: what is compiled.
        plan: its `optimizer`, `optimizer_class` and `compiled`.

    Raises:
        TreatmentError: the optimizer or a metric cannot be made anew with these arguments.
    """
    settings = {**model._compile_config.config, **plan.compiled}
    settings["optimizer"] = _optimizer(model.optimizer, plan)
    for name in ("metrics", "weighted_metrics"):
        settings[name] = keras.tree.map_structure(_anew, settings.get(name))
    # A wrapper that Keras once put around the optimizer is part of it now.
    copy.compile(**settings, auto_scale_loss=False)
    copy.optimizer.build(copy.trainable_variables)  # as after loading: a saved model holds all of its state


def _optimizer(optimizer: Any, plan: Plan) -> Any:
    """A new optimizer with the same configuration but for the changes; inside a loss-scale wrapper, the inner one."""
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        del config["inner_optimizer"]
        return type(optimizer)(_optimizer(optimizer.inner_optimizer, plan), **config)
    if plan.optimizer_class is not None:
        return _other(plan)
    changes = dict(plan.optimizer)
    if plan.scaled_rate is not None:
        changes.setdefault("learning_rate", plan.scaled_rate)
    _check(optimizer, config, changes)
    try:
        return type(optimizer).from_config(_scaled({**config, **changes}, type(optimizer), plan))
    except (TypeError, ValueError) as error:
        raise TreatmentError(f"The optimizer cannot be made anew: {error}") from error


def _scaled(config: dict[str, Any], kind: Any, plan: Plan) -> dict[str, Any]:
    """The settings for outputs brought to the scale of the targets, whose loss is the square of it times as large."""
    factor = plan.output_scale[0] ** 2 if plan.output_scale is not None else 1.0
    for name in ("clipnorm", "global_clipnorm", "clipvalue", "epsilon"):  # all of the gradient's own size
        if config.get(name) is not None:
            config[name] *= factor
    if factor != 1 and kind is keras.optimizers.SGD:
        if not isinstance(config.get("learning_rate"), (int, float)):
            raise TreatmentError("Standardise the targets by hand: the learning rate follows a schedule.")
        config["learning_rate"] /= factor
    return config


def _other(plan: Plan) -> Any:
    kind = getattr(keras.optimizers, str(plan.optimizer_class), None)
    try:
        return kind(**_scaled(dict(plan.optimizer), kind, plan))  # type: ignore[misc]
    except (TypeError, ValueError) as error:  # Keras raises the one or the other for arguments it does not know
        raise TreatmentError(f"Keras has no optimizer {plan.optimizer_class!r} with these settings: {error}") from error


def _check(optimizer: Any, config: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    unknown = [name for name in changes if name not in config]
    if unknown:
        raise TreatmentError(f"The optimizer ({type(optimizer).__name__}) has no argument {', '.join(unknown)}.")
    if "learning_rate" in changes and not isinstance(config["learning_rate"], (int, float)):
        raise TreatmentError(
            "The learning rate follows a schedule, which one number cannot replace. Change the schedule by hand, "
            f"so that it is about {changes['learning_rate']:g} where the finding lies."
        )


def _anew(metric: Any) -> Any:
    """A metric of its own for the copy: metrics hold sums. Names and functions are shared."""
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        return type(metric).from_config(metric.get_config())
    except Exception as error:  # a user's metric can raise anything
        raise TreatmentError(f"The metric {metric.name!r} cannot be made anew: {error}") from error
