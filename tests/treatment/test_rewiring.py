"""Layers are added, taken out and connected in another way, and the treated model is a Keras model like any other."""

import keras
import numpy as np
import pytest
from keras import layers

from kgrad.treatment import TreatmentError, apply, dry_run
from kgrad.treatment.places import places_of

from .patients import nested, prescription, recurrent, relu, sequential

RNG = np.random.default_rng(0)
X, Y = RNG.normal(7.0, [1, 2, 3, 4, 50, 600], size=(300, 6)).astype("float32"), RNG.integers(0, 3, 300)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def again(model):
    """Through Keras' own configuration, weights included."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def chain(depth=3, width=6):
    model = keras.Sequential([keras.Input((width,))])
    for place in range(depth):
        model.add(layers.Dense(width, activation="tanh", name=f"hidden_{place}"))
    model.add(layers.Dense(1, name="out"))
    model.compile(keras.optimizers.SGD(0.1, clipnorm=2.0), "mse")
    return model


NORMALIZED = prescription("normalization", ["first", "second"], layer="BatchNormalization")


def test_a_normalization_goes_between_the_weights_and_the_activation():
    cured = apply(sequential(), NORMALIZED, seed=0)
    block = ["Dense", "BatchNormalization", "Activation"]
    assert kinds(cured) == [*block, *block, "Dense"]
    assert not cured.get_layer("first").use_bias
    assert cured.layers[2].activation.__name__ == "sigmoid"
    plain = apply(sequential(), [], seed=0)
    assert np.array_equal(cured.get_layer("first").kernel, plain.get_layer("first").kernel)
    before = cured.predict(X, verbose=0)
    assert np.allclose(again(cured).predict(X, verbose=0), before)
    cured.fit(X, Y, verbose=0)


def test_a_treated_model_can_be_treated_again():
    cured = apply(apply(sequential(), NORMALIZED), relu("first"), seed=0)
    assert cured.layers[2].activation.__name__ == "relu"


def test_a_normalization_inside_of_a_shared_nested_model():
    cured = apply(nested(), prescription("normalization", ["head/dense", "shared"], layer="LayerNormalization"))
    assert "head/head_dense_layernormalization" in places_of(cured)
    again(cured)
    cured.fit({"left": X, "right": X}, np.zeros((300, 3)), verbose=0)


def test_inputs_are_brought_to_scale_by_a_layer_that_round_trips():
    cured = apply(sequential(), prescription("input_scaling", (), layer="Normalization"), x=X, seed=0)
    for model in (cured, again(cured), apply(cured, [])):
        scaled = np.asarray(model.layers[0](X))
        assert np.allclose(scaled.mean(0), 0, atol=1e-3)
        assert np.allclose(scaled.std(0), 1, atol=1e-3)
    pixels = apply(nested_input(), prescription("input_scaling", (), layer="Rescaling", scale=1 / 255), seed=0)
    assert np.allclose(pixels.layers[1](np.array([[255.0]])), 1)
    with pytest.raises(TreatmentError, match="x=x"):
        apply(sequential(), prescription("input_scaling", (), layer="Normalization"))
    with pytest.raises(TreatmentError, match="2 inputs"):
        apply(nested(), prescription("input_scaling", (), layer="Rescaling", scale=0.5))


def nested_input():
    start = keras.Input((1,))
    model = keras.Model(start, layers.Dense(1)(start))
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("unit", [1.0, 1e-6], ids=["large", "tiny"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_scaled_outputs_train_as_standardised_targets_do(optimizer, unit):
    x = RNG.normal(size=(64, 6)).astype("float32")
    y = unit * (500 + 30 * x[:, :1])
    patient = chain()
    patient.compile(keras.optimizers.get(optimizer), "mse")
    change = prescription("input_scaling", (), targets="standardise", mean=500.0 * unit, std=30.0 * unit)
    cured, plain = apply(patient, change, seed=0), apply(patient, [], seed=0)
    cured.fit(x, y, epochs=3, shuffle=False, verbose=0)
    plain.fit(x, (y / unit - 500) / 30, epochs=3, shuffle=False, verbose=0)
    assert np.allclose(cured.predict(x, verbose=0) / unit, 500 + 30 * plain.predict(x, verbose=0), atol=0.05)


def test_clipping_follows_the_scale_of_the_outputs():
    change = prescription("input_scaling", (), targets="standardise", mean=0.0, std=10.0)
    cured = apply(chain(), change)
    assert float(cured.optimizer.learning_rate) == pytest.approx(0.001)
    assert cured.optimizer.clipnorm == pytest.approx(200)


def test_descent_that_is_named_anew_follows_the_scale_of_the_outputs_too():
    scaled = prescription("input_scaling", (), targets="standardise", mean=0.0, std=10.0)
    constant = prescription("optimizer", optimizer="SGD", learning_rate=0.1, momentum=0.9)
    cured = apply(chain(), [scaled, constant])
    assert float(cured.optimizer.learning_rate) == pytest.approx(0.001)
    assert cured.optimizer.momentum == 0.9


def test_connections_around_layers():
    names = ["hidden_1", "hidden_2"]
    arguments = {"kernel_initializer": {"scale": 0.0001, "mode": "fan_in"}}
    change = prescription("architecture", names, residual=True, arguments=arguments)
    cured = apply(chain(), change, seed=0)
    assert kinds(cured).count("Add") == 2
    # The branches add next to nothing, so what comes in goes out.
    inside = keras.Model(cured.inputs, [cured.get_layer("hidden_0").output, cured.get_layer("out").input])
    first, last = inside.predict(X, verbose=0)
    assert np.allclose(first, last, atol=0.2)
    again(cured)
    shown = dry_run(chain(), change, X, np.zeros((300, 1)))
    assert {each.layer for each in shown.layers} == {"hidden_0", "hidden_1", "hidden_2", "out"}
    with pytest.raises(TreatmentError, match="another shape"):
        apply(sequential(), prescription("architecture", ["first"], residual=True))


def test_a_gated_cell_takes_the_place_of_a_plain_one():
    cured = apply(recurrent(), prescription("architecture", ["plain"], class_name="GRU"), seed=0)
    assert type(cured.get_layer("plain")).__name__ == "GRU"
    assert cured.get_layer("plain").units == 4
    with pytest.raises(TreatmentError, match="cannot take the place"):
        apply(recurrent(), prescription("architecture", ["last"], class_name="GRU"))
    with pytest.raises(TreatmentError, match="take apart"):
        apply(recurrent(), prescription("architecture", ["spread/inner"], class_name="GRU"))


def test_a_layer_is_taken_out_and_a_loss_told_of_logits():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.Softmax(name="twice")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert kinds(apply(model, prescription("output", ["twice"], remove="twice"))) == ["Dense"]
    told = apply(sequential(), prescription("output", ["last"], from_logits=True))
    assert told.loss.get_config()["from_logits"]


def test_layers_of_a_chain_are_left_out():
    cured = apply(chain(), prescription("architecture", ["hidden_1"], remove=["hidden_1"]), seed=0)
    assert [layer.name for layer in cured.layers if layer.weights] == ["hidden_0", "hidden_2", "out"]
    again(cured)
    with pytest.raises(TreatmentError, match="another shape"):
        apply(sequential(), prescription("architecture", ["first"], remove=["first"]))


def test_several_answers_are_one_prescription():
    parts = [
        prescription("learning_rate", learning_rate=0.5),
        prescription("architecture", ["hidden_1"], remove=["hidden_1"]),
    ]
    cured = apply(chain(), prescription("several", (), parts=[part.to_dict() for part in parts]), seed=0)
    assert float(cured.optimizer.learning_rate) == pytest.approx(0.5)
    assert "hidden_1" not in {layer.name for layer in cured.layers}


def test_inputs_and_targets_are_scaled_at_once_and_a_set_rate_goes_first():
    both = prescription(
        "input_scaling", (), layer="Rescaling", scale=0.5, targets="standardise", mean=1.0, std=10.0, learning_rate=0.04
    )
    cured = apply(chain(), both)
    assert (kinds(cured)[0], kinds(cured)[-1]) == ("Rescaling", "Rescaling")
    assert float(cured.optimizer.learning_rate) == pytest.approx(0.04 / 100)
    set_too = apply(chain(), [both, prescription("learning_rate", learning_rate=0.02)])
    assert float(set_too.optimizer.learning_rate) == pytest.approx(0.02 / 100)


def test_a_batch_size_and_a_push_are_refused():
    for knob, settings in (("batch_size", {"batch_size": 32}), ("optimizer", {"perturbation": 0.01})):
        with pytest.raises(TreatmentError, match="By hand:\nthe code to paste"):
            apply(sequential(), prescription(knob, ("fit",), **settings))


@pytest.mark.parametrize("knob", ["epochs", "learning_rate_schedule", "loss_scaling", "data_cleaning"])
def test_what_is_no_setting_of_the_model_is_refused_with_the_place_where_it_is(knob):
    with pytest.raises(TreatmentError, match="By hand:\nthe code to paste"):
        apply(sequential(), prescription(knob))
