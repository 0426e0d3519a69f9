"""Each story: a network that trains on the digits, and what is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import initializers, layers, optimizers


@dataclass(frozen=True)
class Story:
    """A training to watch.

    Attributes:
        name: what `kgrad demo` calls it.
        about: one line for the terminal.
        build: makes the network, not yet compiled.
        optimizer: makes the optimizer.
        epochs: how long it trains.
    """

    name: str
    about: str
    build: Callable[[], keras.Model]
    optimizer: Callable[[], Any]
    epochs: int = 30

    def compiled(self, seed: int = 0) -> keras.Model:
        """The network, compiled, the same for the same seed."""
        keras.backend.clear_session()  # so that layers have the same names each time
        keras.utils.set_random_seed(seed)
        model = self.build()
        model.compile(self.optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


def _dense_network(name: str, depth: int, activation: str, **settings: Callable[[], Any]) -> keras.Model:
    hidden = [
        layers.Dense(64, activation=activation, **{key: make() for key, make in settings.items()}) for _ in range(depth)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, activation="softmax")], name=name)


def _vanishing() -> keras.Model:
    """Ten sigmoid layers under small weights: each multiplies the gradient by about 0.1."""
    return _dense_network("vanishing", 10, "sigmoid", kernel_initializer=lambda: initializers.RandomNormal(stddev=0.05))


def _exploding() -> keras.Model:
    """A recurrent network that reads a digit row by row and triples its state at each."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8)),
            layers.SimpleRNN(64, activation="relu", recurrent_initializer=initializers.RandomNormal(stddev=0.4)),
            layers.Dense(10, activation="softmax"),
        ],
        name="exploding",
    )


def _plateau() -> keras.Model:
    """Small weights in every layer: the start lies on a flat stretch that SGD needs long to leave."""
    return _dense_network("plateau", 5, "tanh", kernel_initializer=lambda: initializers.RandomNormal(stddev=0.03))


def _dead_relu() -> keras.Model:
    """ReLU units whose bias starts so low that no input wakes them."""
    return _dense_network(
        "dead_relu",
        3,
        "relu",
        kernel_initializer=lambda: initializers.HeNormal(),
        bias_initializer=lambda: initializers.Constant(-1.5),
    )


def _healthy() -> keras.Model:
    """Three ReLU layers, He-initialized."""
    return _dense_network("healthy", 3, "relu", kernel_initializer=lambda: initializers.HeNormal())


STORIES = {
    story.name: story
    for story in (
        Story(
            "vanishing",
            "ten sigmoid layers under small random weights",
            _vanishing,
            lambda: optimizers.Adam(1e-3),
        ),
        Story(
            "exploding",
            "a recurrent ReLU network with large weights",
            _exploding,
            lambda: optimizers.SGD(0.03),
            10,
        ),
        Story("plateau", "five tanh layers that start on a flat stretch", _plateau, lambda: optimizers.SGD(0.1)),
        Story("dead-relu", "ReLU layers whose biases start at -1.5", _dead_relu, lambda: optimizers.Adam(1e-3)),
        Story("healthy", "three ReLU layers, He-initialized, Adam", _healthy, lambda: optimizers.Adam(1e-3)),
    )
}
