"""The line that makes a layer makes that layer: what nobody changes stays as the run had it."""

import keras
import pytest
from keras import layers

from kgrad.capture.topology import structure_of
from kgrad.log.structure import Layer
from kgrad.prescription.layer_code import layer_code

L2 = keras.regularizers.L2(0.001)
LAYERS = {
    "plain": ((6,), layers.Dense(4, "relu")),
    "penalty": ((6,), layers.Dense(4, "relu", kernel_regularizer=L2, activity_regularizer=keras.regularizers.L1(0.01))),
    "constraint": ((6,), layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(2, axis=0))),
    "own start": ((6,), layers.Dense(4, "tanh", kernel_initializer=keras.initializers.RandomNormal(0.0, 0.3, seed=1))),
    "bias": ((6,), layers.Dense(4, "tanh", bias_initializer=keras.initializers.Constant(0.1))),
    "he": ((6,), layers.Dense(4, "relu", kernel_initializer="he_normal")),
    "scaled": ((6,), layers.Dense(4, kernel_initializer=keras.initializers.VarianceScaling(0.1, "fan_out"))),
    "without bias": ((6,), layers.Dense(4, use_bias=False)),
    "dilated": ((9, 9, 4), layers.Conv2D(4, 3, padding="same", dilation_rate=2, groups=2, activation="relu")),
    "strided": ((9, 9, 4), layers.Conv2D(4, (3, 2), (2, 1), kernel_initializer=keras.initializers.Orthogonal(2.0))),
    "lstm": ((5, 3), layers.LSTM(4, go_backwards=True, unit_forget_bias=False, recurrent_regularizer=L2, dropout=0.1)),
    "linear rnn": ((5, 3), layers.SimpleRNN(4, activation=None)),
    "einsum": ((5, 3), layers.EinsumDense("abc,cd->abd", output_shape=(5, 7), bias_axes="d")),
    "leaky": ((6,), layers.LeakyReLU(0.1)),
    "gru": ((5, 3), layers.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid")),
    "embedding": ((5,), layers.Embedding(9, 4, mask_zero=True, embeddings_regularizer=L2)),
}


def built(shape, layer):
    model = keras.Sequential([keras.Input(shape), layer, layers.Flatten(name="flat"), layers.Dense(1, name="end")])
    return next(each for each in structure_of(model, model.trainable_variables).layers if each.name == layer.name)


def settings(layer):
    return {name: value for name, value in layer.get_config().items() if name not in ("name", "seed")}


@pytest.mark.parametrize("case", LAYERS)
def test_its_line_makes_it_again(case):
    shape, layer = LAYERS[case]
    code = layer_code(built(shape, layer))
    assert settings(eval(code, {"keras": keras})) == settings(layer), code


@pytest.mark.parametrize("case", ["penalty", "bias", "dilated", "lstm", "own start"])
def test_one_change_is_one_change(case):
    shape, layer = LAYERS[case]
    code = layer_code(built(shape, layer), kernel_initializer='"he_uniform"')
    made, wanted = (settings(each) for each in (eval(code, {"keras": keras}), layer))
    assert made.pop("kernel_initializer")["class_name"] == "HeUniform"
    wanted.pop("kernel_initializer")
    assert made == wanted, code


def test_what_is_usual_is_not_worth_a_word():
    assert layer_code(built(*LAYERS["plain"])) == 'keras.layers.Dense(4, activation="relu")'
    assert layer_code(built(*LAYERS["he"])) == (
        'keras.layers.Dense(4, activation="relu", kernel_initializer="he_normal")'
    )


def test_of_a_class_of_ones_own_only_its_name_is_known():
    class Mine(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    code = layer_code(built((6,), layers.Dense(4, kernel_initializer=Mine())))
    assert code == "keras.layers.Dense(4, kernel_initializer=Mine(...))"


def test_an_activation_of_ones_own_goes_by_its_name():
    def bent(x):
        return keras.ops.tanh(x)

    assert layer_code(built((6,), layers.Dense(4, activation=bent))) == "keras.layers.Dense(4, activation=bent)"


def test_attention_keeps_its_heads():
    attention = layers.MultiHeadAttention(2, 4, value_dim=3, dropout=0.9)
    config = {**attention.get_config(), "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"}
    code = layer_code(Layer("attention", "MultiHeadAttention", 0, config=config), dropout="0.2")
    assert code == "keras.layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3, dropout=0.2)"


def test_without_a_bias_it_has_no_start():
    shape, layer = LAYERS["bias"]
    assert "bias_initializer" not in layer_code(built(shape, layer), use_bias="False")
