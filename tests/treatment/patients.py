"""Small networks and hand-written prescriptions for the tests of this room."""

import keras
import numpy as np
from keras import layers

from kgrad.prescription import Prescription


def prescription(knob, target=("optimizer",), code="the code to paste", **settings):
    """A prescription by hand; only what `treatment` reads matters."""
    return Prescription(knob, tuple(target), "before", "after", "why", code, "a-rule", settings=settings)


def relu(*target):
    return prescription("activation", target, activation="relu", kernel_initializer='"he_normal"')


def rate(value):
    return prescription("learning_rate", learning_rate=value)


def sequential(optimizer="adam"):
    """Two sigmoid layers and a softmax."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="sigmoid", name="first"),
            layers.Dense(8, activation="sigmoid", name="second"),
            layers.Dense(3, activation="softmax", name="last"),
        ],
        name="patient",
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def nested():
    """Two inputs that share an encoder, which holds a normalization between a layer and its activation."""
    signal = keras.Input((6,), name="signal")
    hidden = layers.Dense(5, name="dense")(signal)
    hidden = layers.BatchNormalization(name="norm")(hidden)
    encoder = keras.Model(signal, layers.Activation("tanh", name="bend")(hidden), name="encoder")
    head = keras.Sequential([layers.Dense(4, activation="tanh", name="dense"), layers.Dropout(0.5)], name="head")
    shared = layers.Dense(5, activation="tanh", name="shared")
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    both = layers.Concatenate(name="both")([shared(encoder(left)), shared(encoder(right))])
    both = keras.ops.multiply(both, 0.5)
    model = keras.Model({"left": left, "right": right}, layers.Dense(3, name="last")(head(both)), name="twins")
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def recurrent():
    """Recurrent layers, bare, in a wrapper and around a cell."""
    model = keras.Sequential(
        [
            keras.Input((7, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
            layers.TimeDistributed(layers.Dense(5, activation="tanh", name="inner"), name="spread"),
            layers.RNN(layers.SimpleRNNCell(4), return_sequences=True, name="cell"),
            layers.SimpleRNN(4, name="plain"),
            layers.Dense(1, name="last"),
        ],
        name="recurrent",
    )
    model.compile("sgd", "mse")
    return model


def picture():
    """Convolutions with their activations behind them."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.DepthwiseConv2D(3, name="depth"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="bend"),
            layers.Conv2D(3, 3, activation="relu", bias_initializer=keras.initializers.Constant(-1.0), name="conv"),
            layers.Flatten(),
            layers.Dense(2, name="last"),
        ],
        name="picture",
    )
    model.compile("sgd", "mse")
    return model


def weights(model):
    return {variable.path: np.array(variable) for variable in model.weights}


def everything(model):
    """All numbers of a model: weights, seeds, metrics and the state of the optimizer."""
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
