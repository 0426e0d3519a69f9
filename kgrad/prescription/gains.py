"""Gains: how much weight variance an activation needs so that signals neither fade nor grow."""

import math

# Gain squared = variance of the weights times fan-in.
# Sources: ReLU and its kin: He et al. 2015, "Delving Deep into Rectifiers", eq. 10 and 15 (a leak of slope a
# makes it 2 / (1 + a^2)); linear and tanh (unit slope at the origin) and sigmoid (slope 1/4, hence gain 4):
# Glorot & Bengio 2010, section 4.2.1; SELU: Klambauer et al. 2017 (LeCun-normal). GELU and SiLU equal ReLU
# for large inputs and are given He's gain.
GAINS = {
    "linear": 1.0,
    "tanh": 1.0,
    "softsign": 1.0,
    "selu": 1.0,
    "softmax": 1.0,
    "relu": math.sqrt(2.0),
    "relu6": math.sqrt(2.0),
    "leaky_relu": math.sqrt(2.0 / (1.0 + 0.2**2)),
    "prelu": math.sqrt(2.0),
    "elu": math.sqrt(2.0),
    "gelu": math.sqrt(2.0),
    "silu": math.sqrt(2.0),
    "swish": math.sqrt(2.0),
    "mish": math.sqrt(2.0),
    "softplus": math.sqrt(2.0),
    "sigmoid": 4.0,
    "hard_sigmoid": 4.0,
}


def gain(activation: str | None) -> float:
    """The gain for an activation; that of a linear layer for one we do not know.

    >>> round(gain("relu"), 3)
    1.414
    """
    return GAINS.get(activation or "linear", 1.0)


def initializer(activation: str | None) -> str:
    """The Keras initializer that suits the activation, as code.

    >>> initializer("relu"), initializer("tanh"), initializer("selu")
    ('"he_normal"', '"glorot_uniform"', '"lecun_normal"')
    """
    if activation == "selu":
        return '"lecun_normal"'
    needed = gain(activation)
    if needed == 4.0:
        return 'keras.initializers.VarianceScaling(16.0, mode="fan_in")'
    return '"glorot_uniform"' if needed == 1.0 else '"he_normal"'
