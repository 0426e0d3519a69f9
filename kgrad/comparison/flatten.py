"""What was chosen for a run, flat: one name and one plain value per setting."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kgrad.log.structure import Layer, Structure

Setting = str | int | float | bool | None

# Tags that name a run instead of describing it: a trial's number is no cause of anything.
_IDENTITIES = frozenset(
    {"id", "run", "run_id", "trial", "trial_id", "trial_number", "number", "worker", "host", "name"}
)
_IS_SEED = re.compile(r"(^|.*[_.])(random_)?(seed|random_state)$")
# Parts of a layer's configuration that have a setting of their own, say nothing, or only name the layer.
_NOT_OF_LAYERS = frozenset(
    {"name", "dtype", "trainable", "units", "filters", "activation", "kernel_initializer", "bias_initializer"}
    | {"quantization_config", "batch_shape", "batch_input_shape", "build_config", "seed", "seed_generator"}
)
_NAMES = ("seed", "name")


def settings_of(info: Mapping[str, Any], structure: Structure) -> dict[str, Setting]:
    """The settings of a run by name, seeds left out.

    `depth` counts the hidden layers with a kernel; `initializer`, `activation` and `width` are theirs, values that
    differ between layers joined in order; what else a layer is configured with goes by `"Dropout.rate"` and the like.
    A tag keeps its name, or gets `tag.` before it where a setting of that name says something else.

    Args:
        info: `run.json`.
        structure: the model in it.
    """
    found = _optimizer(info.get("optimizer")) | _model(structure) | _fit(info)
    found["loss_function"] = _plain(info.get("loss"))
    for name, value in _walk(info.get("tags") or {}):
        if name.lower() in _IDENTITIES or _IS_SEED.match(name.lower()):
            continue
        if name not in found:
            found[name] = value
        elif not _says(found[name], value):
            found[f"tag.{name}"] = value
    return found


def _says(setting: Setting, tag: Setting) -> bool:
    """Whether a tag says what the run says of itself: `random_normal` for `random_normal(stddev=0.05)`."""
    return setting == tag or (isinstance(setting, str) and setting.split("(")[0] == tag)


def seed_of(info: Mapping[str, Any]) -> Setting:
    """The seed of a run: its tag, or the one Keras was given; several tags joined; `None` where none is known."""
    tags = [value for name, value in _walk(info.get("tags") or {}) if _IS_SEED.match(name.lower())]
    if not tags:
        return _plain((info.get("seeds") or {}).get("keras"))
    return tags[0] if len(tags) == 1 else _join(tags)


def facts_of(info: Mapping[str, Any]) -> dict[str, Setting]:
    """Where and with what the run was made: versions, devices, host; not what was chosen."""
    kept = {key: info.get(key) for key in ("kgrad_version", "devices", "versions", "started", "ended")}
    return dict(_walk({**kept, "host": (info.get("process") or {}).get("host")}))


def _optimizer(described: Any) -> dict[str, Setting]:
    if not isinstance(described, Mapping):
        return {"optimizer": _plain(described)}
    config = dict(described.get("config") or {})
    inner = config.get("inner_optimizer")
    if isinstance(inner, Mapping):  # LossScaleOptimizer
        return _optimizer(inner) | {"loss_scaled": True}
    found: dict[str, Setting] = {"optimizer": described.get("class_name")}
    return found | {key: _plain(value) for key, value in config.items() if key not in ("name", "is_legacy_optimizer")}


def _model(structure: Structure) -> dict[str, Setting]:
    kernels = [variable for variable in structure.variables if variable.is_kernel]
    layers = {layer.name: layer for layer in structure.layers}
    owners = [name for name in dict.fromkeys(kernel.layer for kernel in kernels) if name in layers]
    hidden = owners[:-1] or owners
    inner = [kernel for kernel in kernels if kernel.layer in hidden]
    biases = [v for v in structure.variables if v.role == "bias" and v.layer in hidden and v.initializer]
    last = [kernel for kernel in kernels if kernel.layer not in hidden]
    return {
        "depth": max(len(owners) - 1, 0),
        "width": _join(dict.fromkeys(layers[name].units for name in hidden)),
        "activation": _join(dict.fromkeys(structure.effective_activation(name) for name in hidden)),
        "initializer": _join(dict.fromkeys(_plain(kernel.initializer) for kernel in inner)),
        "bias_initializer": _join(dict.fromkeys(_plain(bias.initializer) for bias in biases)),
        "output_initializer": _join(dict.fromkeys(_plain(kernel.initializer) for kernel in last)),
        "output_activation": _join(dict.fromkeys(layers[name].activation for name in owners[len(hidden) :])),
        "layers": _join(dict.fromkeys(layer.class_name for layer in structure.layers)),
        "parameters": structure.parameters,
        **_of_layers(structure.layers),
    }


def _of_layers(layers: Iterable[Layer]) -> dict[str, Setting]:
    gathered: dict[str, dict[Setting, None]] = {}
    for layer in layers:
        for key, value in layer.config.items():
            if key not in _NOT_OF_LAYERS:
                gathered.setdefault(f"{layer.class_name}.{key}", {})[_plain(value)] = None
    return {name: _join(values) for name, values in gathered.items()}


def _fit(info: Mapping[str, Any]) -> dict[str, Setting]:
    fit = info.get("fit") or {}
    batch = info.get("batch") or {}
    rows = batch.get("rows") if batch.get("source") == "first training batch" else None
    kept = ("epochs", "steps_per_epoch", "steps_per_execution", "jit_compile", "run_eagerly")
    return {
        "batch_size": fit.get("batch_size", rows),
        "dtype_policy": _plain(info.get("dtype_policy")),
        **{key: _plain(fit.get(key)) for key in kept},
    }


def _walk(tree: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Setting]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and "class_name" not in value:
            yield from _walk(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", _plain(value)


def _plain(value: Any) -> Setting:
    """A value as one word or number; floats to six digits, since 0.001 in float32 is not 0.001."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        if "class_name" not in value:
            return ", ".join(f"{key}={_plain(entry)}" for key, entry in value.items())
        if isinstance(value.get("config"), str):  # a function of Keras' or of one's own: its name
            return str(value["config"])
        # Nothing, zero and off are what Keras takes by itself.
        chosen = {key: entry for key, entry in (value.get("config") or {}).items() if entry and key not in _NAMES}
        inside = ", ".join(f"{key}={_plain(entry)}" for key, entry in chosen.items())
        return _snake(str(value["class_name"])) + (f"({inside})" if inside else "")
    if isinstance(value, (list, tuple)):
        return " x ".join(str(_plain(entry)) for entry in value)
    return str(value)


def _join(values: Iterable[Setting]) -> Setting:
    """The one value there is, or all of them in order."""
    kept = list(values)
    if len(kept) < 2:
        return kept[0] if kept else None
    return " + ".join("none" if value is None else str(value) for value in kept)


def _snake(name: str) -> str:
    """`HeNormal` as a person writes it: `he_normal`.

    >>> _snake("HeNormal"), _snake("MeanSquaredError")
    ('he_normal', 'mean_squared_error')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
