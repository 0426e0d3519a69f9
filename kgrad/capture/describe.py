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
        "metrics": _compiled(model, "metrics") or [],
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
    """A Keras object as `{"class_name", "config"}`, a function as its name."""
    if isinstance(thing, str) or thing is None:
        return thing
    try:
        return plain(keras.saving.serialize_keras_object(thing))
    except Exception:  # a user's own object need not be serializable
        return getattr(thing, "__name__", type(thing).__name__)


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
