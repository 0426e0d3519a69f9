"""The models whose training `overhead.py` times: small ones, where every operation launched counts, and larger ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

CLASSES = 10
TOKENS = 1000

Ends = tuple[Any, Any]


@dataclass(frozen=True)
class Subject:
    """A model with its data.

    Attributes:
        build: input and output of the model.
        shape: of one example.
        batch: examples in a step.
        steps: steps that are timed, a multiple of 40 so that 1 in 8 and 1 in 10 both come out even.
        tokens: whether the examples are token numbers.
    """

    build: Callable[[], Ends]
    shape: tuple[int, ...]
    batch: int
    steps: int
    tokens: bool = False

    def data(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Random examples and labels for so many steps."""
        generator = np.random.default_rng(0)
        rows = (steps * self.batch, *self.shape)
        x = generator.integers(0, TOKENS, rows) if self.tokens else generator.normal(size=rows).astype("float32")
        return x, generator.integers(0, CLASSES, rows[0])


def _head(inputs: Any, hidden: Any) -> Ends:
    return inputs, layers.Dense(CLASSES, activation="softmax")(hidden)


def mlp(depth: int, width: int) -> Ends:
    """Dense layers."""
    inputs = hidden = keras.Input((64,))
    for _ in range(depth - 1):
        hidden = layers.Dense(width, activation="relu")(hidden)
    return _head(inputs, hidden)


def cnn() -> Ends:
    """Three convolutions and a dense layer, as in the tutorials for CIFAR-10."""
    inputs = hidden = keras.Input((32, 32, 3))
    for filters in (32, 64, 64):
        hidden = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden))
    return _head(inputs, layers.Dense(64, activation="relu")(layers.Flatten()(hidden)))


def lstm() -> Ends:
    """Two LSTM layers over 32 time steps."""
    inputs = keras.Input((32, 32))
    return _head(inputs, layers.LSTM(128)(layers.LSTM(128, return_sequences=True)(inputs)))


def transformer(width: int = 128, blocks: int = 2) -> Ends:
    """Blocks of four heads and a feed-forward part, over 64 tokens."""
    inputs = keras.Input((64,), dtype="int32")
    hidden = layers.Embedding(TOKENS, width)(inputs)
    for _ in range(blocks):
        attended = layers.MultiHeadAttention(4, width // 4)(hidden, hidden)
        hidden = layers.LayerNormalization()(layers.Add()([hidden, attended]))
        wide = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(hidden))
        hidden = layers.LayerNormalization()(layers.Add()([hidden, wide]))
    return _head(inputs, layers.GlobalAveragePooling1D()(hidden))


def resnet(blocks: int = 8) -> Ends:
    """The residual network for 32x32 pictures of 6 * blocks + 2 layers: He et al. 2016, section 4.2."""
    inputs = keras.Input((32, 32, 3))
    hidden = _convolved(inputs, 16, 1)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = _convolved(hidden, filters, stride)
            inner = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(inner))
            if hidden.shape != inner.shape:
                hidden = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(hidden)
            hidden = layers.ReLU()(layers.Add()([hidden, inner]))
    return _head(inputs, layers.GlobalAveragePooling2D()(hidden))


def _convolved(hidden: Any, filters: int, stride: int) -> Any:
    hidden = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(hidden)
    return layers.ReLU()(layers.BatchNormalization()(hidden))


SUBJECTS = {
    "MLP-3": Subject(lambda: mlp(3, 128), (64,), batch=32, steps=320),
    "MLP-20": Subject(lambda: mlp(20, 64), (64,), batch=32, steps=320),
    "CNN": Subject(cnn, (32, 32, 3), batch=32, steps=80),
    "LSTM": Subject(lstm, (32, 32), batch=32, steps=80),
    "Transformer": Subject(transformer, (64,), batch=16, steps=80, tokens=True),
    "ResNet-50": Subject(resnet, (32, 32, 3), batch=16, steps=40),
}
