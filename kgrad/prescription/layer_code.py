"""Lines of Keras code that make a layer as the run describes it, with some of its arguments changed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kgrad.log.structure import Layer
from kgrad.prescription.code import plain_code

# Arguments in the order a person writes them, with Keras' defaults: what equals them is not worth a word.
_ARGUMENTS: dict[str, Any] = {
    "units": None,
    "filters": None,
    "kernel_size": None,
    "input_dim": None,
    "output_dim": None,
    "num_heads": None,
    "key_dim": None,
    "value_dim": None,
    "strides": 1,
    "padding": "valid",
    "output_padding": None,
    "data_format": "channels_last",
    "dilation_rate": 1,
    "groups": 1,
    "depth_multiplier": 1,
    "mask_zero": False,
    "return_sequences": False,
    "return_state": False,
    "go_backwards": False,
    "stateful": False,
    "unroll": False,
    "use_bias": True,
    "unit_forget_bias": True,
    "reset_after": True,
    "recurrent_activation": "sigmoid",
    "recurrent_dropout": 0.0,
    "dropout": 0.0,
    "negative_slope": None,
    "max_value": None,
    "threshold": 0.0,
}
# By default linear, but for these.
_OF_TANH = ("SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_ACTIVATIONS = {
    *("relu", "leaky_relu", "relu6", "softmax", "celu", "elu", "selu", "softplus", "softsign", "squareplus"),
    *("soft_shrink", "sparse_plus", "silu", "swish", "gelu", "glu", "tanh", "tanh_shrink", "threshold", "sigmoid"),
    *("sparse_sigmoid", "exponential", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "hard_shrink"),
    *("linear", "mish", "log_softmax", "log_sigmoid", "sparsemax"),
}
_WITH_UNITS = ("Dense", "SimpleRNN", "LSTM", "GRU")
# They say by an equation what others say by their units.
_BY_EQUATION = ("equation", "output_shape", "bias_axes")
_POSITIONAL = ("units", "filters", "kernel_size", "input_dim", "output_dim")
# Objects among the arguments end so; behind each, where their classes are and what Keras takes by default.
_OBJECTS = {"_initializer": "initializers", "_regularizer": "regularizers", "_constraint": "constraints"}
_DEFAULT_STARTS = {
    "kernel_initializer": "glorot_uniform",
    "depthwise_initializer": "glorot_uniform",
    "pointwise_initializer": "glorot_uniform",
    "recurrent_initializer": "orthogonal",
    "bias_initializer": "zeros",
    "embeddings_initializer": "keras.initializers.RandomUniform(minval=-0.05, maxval=0.05)",
}
_KERAS = {
    *("Constant", "Identity", "Ones", "Zeros", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal"),
    *("VarianceScaling", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
    *("L1", "L2", "L1L2", "OrthogonalRegularizer", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
}


def layer_code(layer: Layer, **changes: str) -> str:
    """The line that makes the layer, with some arguments changed and all others as they are.

    Args:
        layer: the layer as the run describes it.
        changes: argument -> code of its new value, e.g. `activation='"relu"'`.
    """
    given = []
    known = {"units": layer.units, **layer.config} if layer.class_name in _WITH_UNITS else layer.config
    for name, default in _ARGUMENTS.items():
        if name in _POSITIONAL and name in changes:
            given.append(changes.pop(name))
            continue
        value = known.get(name)
        if value is None or name in changes or _is_everywhere(value, default):
            continue
        text = repr(tuple(value) if isinstance(value, list) else value).replace("'", '"')
        given.append(text if name in _POSITIONAL else f"{name}={text}")
    if layer.class_name == "EinsumDense":
        given += [f"{name}={plain_code(known[name])}" for name in _BY_EQUATION if known.get(name) is not None]
    plain = layer.activation is None or (layer.activation == "linear" and layer.class_name not in _OF_TANH)
    if not plain and "activation" not in changes:
        quote = '"' if layer.activation in _ACTIVATIONS else ""  # one's own goes by its name
        given.append(f"activation={quote}{layer.activation}{quote}")
    given += [f"{name}={value}" for name, value in changes.items()]
    without_bias = not known.get("use_bias", True) or changes.get("use_bias") == "False"
    for name, value in known.items():
        if name not in changes and value is not None and not (without_bias and name.startswith("bias_")):
            given += _object(name, value)
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


def _is_everywhere(value: Any, default: Any) -> bool:
    """Whether the value is the default, alone or along each axis."""
    return bool(value == default or (isinstance(value, (list, tuple)) and set(value) == {default}))


def _object(name: str, value: Any) -> list[str]:
    """The argument with an initializer, a regularizer or a constraint, unless it is Keras' default."""
    room = next((room for ending, room in _OBJECTS.items() if name.endswith(ending)), None)
    if room is None:
        return []
    default = _DEFAULT_STARTS.get(name)
    code = repr(value).replace("'", '"') if isinstance(value, str) else _made(room, value)
    return [] if default is not None and code.strip('"') == default else [f"{name}={code}"]


def _made(room: str, value: Mapping[str, Any]) -> str:
    """Code of a serialized Keras object; of one that is not Keras' own only its name is known."""
    name = str(value.get("class_name"))
    config = {key: each for key, each in (value.get("config") or {}).items() if each is not None}
    if name not in _KERAS:
        return f"{name}(...)"
    if room == "initializers" and (not config or (name == "Orthogonal" and config == {"gain": 1.0})):
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        return f'"{snake}"'
    return f"keras.{room}.{name}({', '.join(f'{key}={plain_code(each)}' for key, each in config.items())})"
