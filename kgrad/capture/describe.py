"""What `run.json` says of a training beside the model: optimizer, loss, fit arguments, versions."""

import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kgrad
from kgrad.capture.topology import plain


def describe(model: keras.Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that a person needs to reproduce the run, as JSON types.

    Args:
        model: the compiled model.
        params: what Keras tells every callback: `epochs`, `steps`, `verbose`.
    """
    return {
        **describe_machine(),
        "loss": _loss(model),
        "loss_weights": _compiled(model, "loss_weights"),
        "metrics": _metrics(model, "metrics"),
        "weighted_metrics": _metrics(model, "weighted_metrics"),
        "optimizer": _optimizer(model.optimizer),
        "fit": {
            "epochs": params.get("epochs"),
            "steps_per_epoch": params.get("steps"),
            "steps_per_execution": int(model.steps_per_execution),
            "jit_compile": bool(model.jit_compile),
            "run_eagerly": bool(model.run_eagerly),
        },
        "dtype_policy": str(model.dtype_policy.name),
    }


def describe_machine() -> dict[str, Any]:
    """Versions, seeds and devices."""
    return {
        "kgrad_version": kgrad.__version__,
        "seeds": {"keras": _seed()},
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
        "devices": [device.device_type for device in tf.config.get_visible_devices()],
    }


def _loss(model: keras.Model) -> Any:
    loss = getattr(model, "loss", None)
    if loss is None or isinstance(loss, str):
        return loss
    if isinstance(loss, (dict, list, tuple)):
        entries = loss.items() if isinstance(loss, dict) else enumerate(loss)
        return {str(key): _serialized(entry) for key, entry in entries}
    return _serialized(loss)


def _serialized(thing: Any) -> Any:
    """A Keras object as `{"class_name", "config"}`, with `"module"` where it is one's own; else its name."""
    if isinstance(thing, str) or thing is None:
        return thing
    try:
        described = plain(keras.saving.serialize_keras_object(thing))
    except Exception:  # a user's own object need not be serializable
        return getattr(thing, "__name__", type(thing).__name__)
    module = str(getattr(thing, "__module__", ""))
    if isinstance(described, dict) and not module.startswith("keras."):
        described["module"] = module
    return described


def _metrics(model: keras.Model, key: str) -> Any:
    """The metrics as they were compiled, in the same lists and dictionaries; an empty list for none."""
    compiled = getattr(model, "_compile_config", None)
    given = compiled.config.get(key) if compiled is not None else None
    return _each(given) if given is not None else []


def _each(metrics: Any) -> Any:
    if isinstance(metrics, dict):
        return {str(name): _each(each) for name, each in metrics.items()}
    return [_each(each) for each in metrics] if isinstance(metrics, (list, tuple)) else _serialized(metrics)


def _compiled(model: keras.Model, key: str) -> Any:
    try:
        return plain((model.get_compile_config() or {}).get(key))
    except Exception:  # a user's own metric need not be serializable
        return None


def _optimizer(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    described = _serialized(optimizer)
    if isinstance(described, dict):
        return {"class_name": described["class_name"], "config": described["config"]}
    return {"class_name": type(optimizer).__name__, "config": {}}


def _seed() -> int | None:
    seed = keras.src.utils.rng_utils.get_random_seed()
    return int(seed) if seed is not None else None
