"""The model as `run.json` describes it: layers in depth order and their trainable variables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# Layers that pass the distribution of a pre-activation on to the activation that follows them.
_TRANSPARENT = frozenset(
    {
        "BatchNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "UnitNormalization",
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "GaussianDropout",
        "GaussianNoise",
        "Reshape",
        "Flatten",
    }
)
ACTIVATION_LAYERS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
    "ThresholdedReLU": "relu",
}
_ONE_VALUE = frozenset({"Zeros", "Ones", "Constant"})
# Layers that are linear in their input while they have no activation; a batch normalization is, for each batch.
_LINEAR = re.compile(
    r"InputLayer|Dense|EinsumDense|(Separable|Depthwise)?Conv[123]D(Transpose)?|BatchNormalization|Reshape|Flatten"
    r"|(Global)?AveragePooling[123]D|(ZeroPadding|Cropping|UpSampling)[123]D|(Spatial)?Dropout([123]D)?|Permute"
    r"|Gaussian(Noise|Dropout)|Rescaling|Add|Concatenate"
)


@dataclass(frozen=True)
class Layer:
    """One layer of the model.

    Attributes:
        name: unique in the run; nested layers carry their owner, as in `"encoder/dense"`.
        class_name: the Keras class, e.g. `"Dense"`.
        depth: topological rank from the input, counted from 0.
        activation: the layer's own activation, `None` where it has none.
        units: size of the last output axis, `None` where unknown.
        inbound: names of the layers whose output this layer reads.
        parameters: number of parameters of the layer itself.
        trainable: whether any of them is trained.
        config: the layer's serialized Keras configuration, where it has one.
    """

    name: str
    class_name: str
    depth: int
    activation: str | None = None
    units: int | None = None
    inbound: tuple[str, ...] = ()
    parameters: int = 0
    trainable: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dropout_rates(self) -> dict[str, float]:
        """Its rates of dropout that are not 0, by argument; a recurrent layer has two of them inside."""
        arguments = ("rate",) if "Dropout" in self.class_name else ("dropout", "recurrent_dropout")
        given = {name: self.config.get(name) for name in arguments}
        return {name: float(rate) for name, rate in given.items() if isinstance(rate, int | float) and rate}


@dataclass(frozen=True)
class Variable:
    """One trainable weight tensor.

    Attributes:
        name: unique in the run: the Keras path, with `#2` and so on where paths repeat.
        layer: name of the layer that owns it.
        role: `"kernel"`, `"bias"`, `"gamma"`, `"embeddings"`, ...: the last part of the path.
        shape: its shape.
        dtype: its dtype.
        initializer: `{"class_name": ..., "config": {...}}`, `None` where unknown.
    """

    name: str
    layer: str
    role: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    initializer: Mapping[str, Any] | None = None

    @property
    def is_alike(self) -> bool:
        """Whether it is initialized with one value throughout, so that the units of its layer are all alike."""
        return self.shape[-1:] > (1,) and (self.initializer or {}).get("class_name") in _ONE_VALUE

    @property
    def size(self) -> int:
        """How many numbers the variable holds."""
        size = 1
        for axis in self.shape:
            size *= axis
        return size

    @property
    def is_kernel(self) -> bool:
        """Whether it is a weight matrix or tensor, not a bias (a GRU's has two rows), a scale or a table.

        >>> Variable("gru/bias", "gru", "bias", (2, 96)).is_kernel
        False
        """
        return len(self.shape) >= 2 and self.role not in ("embeddings", "bias")

    @property
    def fans(self) -> tuple[int, int]:
        """`(fan_in, fan_out)` as Keras' variance-scaling initializers count them.

        >>> Variable("c/kernel", "c", "kernel", (3, 3, 16, 32)).fans
        (144, 288)
        """
        if len(self.shape) < 2:
            return self.size, self.size
        field_size = 1
        for axis in self.shape[:-2]:
            field_size *= axis
        return self.shape[-2] * field_size, self.shape[-1] * field_size


@dataclass(frozen=True)
class Structure:
    """A model's layers in depth order and its trainable variables in the order of their layers.

    Attributes:
        name: the model's name.
        kind: `"sequential"`, `"functional"` or `"subclassed"`.
        layers: every layer, with or without weights, by depth.
        variables: every trainable variable, by the depth of its layer.
        parameters: number of all parameters, frozen ones included.
    """

    name: str
    kind: str
    layers: tuple[Layer, ...]
    variables: tuple[Variable, ...]
    parameters: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Structure":
        """The structure as `to_dict` wrote it."""
        layers = (Layer(**{**layer, "inbound": tuple(layer["inbound"])}) for layer in data["layers"])
        variables = (Variable(**{**v, "shape": tuple(v["shape"])}) for v in data["variables"])
        return cls(data["name"], data["kind"], tuple(layers), tuple(variables), data["parameters"])

    def to_dict(self) -> dict[str, Any]:
        """The structure as plain JSON types."""
        return asdict(self)

    def layer(self, name: str) -> Layer:
        """The layer with the given name; `KeyError` where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def consumers(self, name: str) -> tuple[Layer, ...]:
        """The layers that read the output of the given one."""
        return tuple(layer for layer in self.layers if name in layer.inbound)

    def effective_activation(self, name: str) -> str | None:
        """The non-linearity that the layer's output goes through: its own, or one that follows it.

        A `Dense` without activation followed by `BatchNormalization` and `ReLU` answers `"relu"`.
        """
        layer, holder = self.layer(name), self.activation_layer(name)
        return layer.activation if holder is layer else ACTIVATION_LAYERS.get(holder.class_name) or holder.activation

    def activation_layer(self, name: str) -> Layer:
        """The layer that holds the non-linearity which `effective_activation` tells: itself, or one that follows it."""
        layer, followers = self.layer(name), self.consumers(name)
        if layer.activation not in (None, "linear") or len(followers) != 1:
            return layer
        (follower,) = followers
        if follower.class_name in ACTIVATION_LAYERS or follower.class_name == "Activation":
            return follower
        if follower.class_name not in _TRANSPARENT:
            return layer
        behind = self.activation_layer(follower.name)
        return layer if behind is follower else behind

    def is_normalized(self, name: str) -> bool:
        """Whether only normalizations read the layer's output, so that its scale means nothing.

        That takes an activation that passes a factor on: none, or a ReLU with or without a leak.
        """
        followers = self.consumers(name)
        homogeneous = self.layer(name).activation in (None, "linear", "relu", "leaky_relu")
        return homogeneous and bool(followers) and all("Normalization" in each.class_name for each in followers)

    @property
    def linear_layers(self) -> tuple[str, ...]:
        """The hidden layers of a model that is linear up to its output; empty where anything in it is not linear.

        Layers without a non-linearity between them are together one linear map, whatever their number.
        """
        *hidden, output = self.weighted_layers or (None,)
        for layer in self.layers:
            if layer is output:
                return tuple(each.name for each in hidden if each.class_name != "BatchNormalization")
            if not _is_linear(layer):
                return ()
        return ()

    @property
    def softmax_layers(self) -> tuple[str, ...]:
        """The hidden dense layers of a chain with a softmax behind them; where others read them it may be a gate."""
        if self.kind not in ("sequential", "functional") or not in_a_row(self.layers):
            return ()
        dense = [each.name for each in self.weighted_layers[:-1] if each.class_name == "Dense"]
        return tuple(name for name in dense if self.effective_activation(name) == "softmax")

    @property
    def lone_layer(self) -> str | None:
        """The output layer of a model that has no other weights and is linear up to it; `None` where there is more."""
        if self.kind not in ("sequential", "functional") or len(self.weighted_layers) != 1:
            return None
        (output,) = self.weighted_layers
        before = self.layers[: self.layers.index(output)]
        frozen = any(layer.parameters and "Normalization" not in layer.class_name for layer in before)
        is_alone = output.class_name == "Dense" and not frozen and all(map(_is_linear, before))
        return output.name if is_alone and in_a_row((*before, output)) else None

    def indices_of(self, layer: str) -> list[int]:
        """Positions in `variables` of what the layer owns."""
        return [i for i, variable in enumerate(self.variables) if variable.layer == layer]

    @property
    def weighted_layers(self) -> tuple[Layer, ...]:
        """The layers that own a trainable variable, by depth."""
        owners = {variable.layer for variable in self.variables}
        return tuple(layer for layer in self.layers if layer.name in owners)


def in_a_row(layers: Sequence[Layer]) -> bool:
    """Whether each of them reads the one before it and nothing else, and the first one nothing."""
    before = ((), *((layer.name,) for layer in layers))
    return all(layer.inbound == read for layer, read in zip(layers, before, strict=False))


def _is_linear(layer: Layer) -> bool:
    return bool(_LINEAR.fullmatch(layer.class_name)) and layer.activation in (None, "linear")
