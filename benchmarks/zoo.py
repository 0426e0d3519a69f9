"""The models that `overhead.py` measures, with data they can learn.

Learnable data matters: where the loss stands still, kgrad takes the curvature, which is measured apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """A model with the shape of one row of its input.

    Attributes:
        steps: how many steps `overhead.py` makes between two looks at the clock; a multiple of 80, where they are
            short, so that each lap has about as many steps of every kind (one in 10; one in 32 of those recorded), and
            so many that the first calls of a lap, which find the caches full of other ways' work, do not count.
    """

    build: Callable[[], keras.Model]
    shape: tuple[int, ...]
    batch: int = 32
    steps: int = 80

    def data(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows for so many steps: noise of deviation 1 about one mean per class and feature (the last axis).

        The likeliest class is a linear function of the row (equal Gaussians), so every model here can learn it.
        """
        generator = np.random.default_rng(0)
        labels = generator.integers(0, CLASSES, steps * self.batch)
        means = generator.normal(size=(CLASSES, *[1] * (len(self.shape) - 1), self.shape[-1]))
        rows = generator.normal(size=(len(labels), *self.shape)) + means[labels]
        return rows.astype("float32"), labels

    def compiled(self, kind: type[keras.Model] = keras.Model) -> keras.Model:
        """The model, the same weights every time, as an instance of `kind`."""
        keras.utils.set_random_seed(0)
        built = self.build()
        model = kind(built.inputs, built.outputs)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.optimizer.build(model.trainable_variables)
        return model


def mlp(depth: int, width: int) -> keras.Model:
    hidden = [layers.Dense(width, activation="relu", kernel_initializer="he_normal") for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(CLASSES, activation="softmax")])


def cnn() -> keras.Model:
    blocks = []
    for filters in (32, 64, 64):
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    head = [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(CLASSES, activation="softmax")]
    return keras.Sequential([keras.Input((32, 32, 3)), *blocks, *head])


def lstm() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((32, 16)),
            layers.LSTM(64, return_sequences=True),
            layers.LSTM(64),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def transformer(blocks: int = 2, width: int = 64, heads: int = 4) -> keras.Model:
    """An encoder, normalized before each part (Xiong et al., 2020), without positions."""
    inputs = keras.Input((32, 16))
    x = layers.Dense(width)(inputs)
    for _ in range(blocks):
        normal = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(normal, normal)])
        wide = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(wide)])
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(pooled))


def resnet() -> keras.Model:
    return keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=CLASSES)


SUBJECTS = {
    "MLP-3": Subject(lambda: mlp(3, 128), (64,), steps=640),
    "MLP-20": Subject(lambda: mlp(20, 64), (64,), steps=640),
    "CNN": Subject(cnn, (32, 32, 3)),
    "LSTM": Subject(lstm, (32, 16)),
    "Transformer": Subject(transformer, (32, 16)),
    "ResNet-50": Subject(resnet, (32, 32, 3), steps=10),
}
