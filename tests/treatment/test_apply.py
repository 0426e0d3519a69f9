"""A prescription is applied as a whole, to every kind of model that Keras can rebuild, or not at all."""

import json
import random

import keras
import numpy as np
import pytest
from keras import layers

from kgrad.capture.topology import structure_of
from kgrad.errors import KgradError
from kgrad.prescription.prescription import Prescription
from kgrad.treatment import TreatmentError, apply
from kgrad.treatment.places import places_of

from .patients import everything, nested, picture, prescription, rate, recurrent, relu, same, sequential, weights

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 6)).astype("float32"), RNG.integers(0, 3, 12)


def spread(layer):
    return float(np.std(layer.get_weights()[0]))


def test_activation_and_initializer_of_the_named_layers_alone_change():
    cured = apply(sequential(), relu("first"), seed=0)
    assert [layer.activation.__name__ for layer in cured.layers] == ["relu", "sigmoid", "softmax"]
    kinds = [type(layer.kernel_initializer).__name__ for layer in cured.layers]
    assert kinds == ["HeNormal", "GlorotUniform", "GlorotUniform"]


def test_an_initializer_prescription_reaches_the_weights():
    normal = "keras.initializers.RandomNormal(0.0, stddev=7.0)"
    change = prescription("initializer", ["second"], initializers={"second": {"kernel_initializer": normal}})
    cured = apply(sequential(), change, seed=0)
    assert spread(cured.get_layer("second")) == pytest.approx(7, rel=0.3)
    assert spread(cured.get_layer("first")) < 1


def test_a_bias_prescription_reaches_the_bias():
    cured = apply(picture(), prescription("initializer", ["conv"], bias_initializer="zeros"))
    assert not cured.get_layer("conv").bias.numpy().any()


def test_a_state_is_bounded_with_its_weights_wherever_it_is():
    paths = ["both/forward_lstm", "cell", "plain"]
    settings = {
        "initializers": {path: {"recurrent_initializer": '"orthogonal"'} for path in paths},
        "layers": {path: {"activation": "tanh"} for path in paths},
    }
    model = recurrent()
    for path in paths:
        places_of(model)[path].layer.get_config()
    cured = apply(model, prescription("initializer", paths, **settings), seed=0)
    found = places_of(cured)
    cells = [getattr(found[path].layer, "cell", found[path].layer) for path in paths]
    assert [cell.activation.__name__ for cell in cells] == ["tanh"] * 3
    assert all(type(cell.recurrent_initializer).__name__ == "Orthogonal" for cell in cells)


def test_the_activation_of_a_state_is_not_that_of_the_layer_behind_it():
    inside = [layers.SimpleRNN(4, activation=None, name="state"), layers.Activation("relu", name="behind")]
    model = keras.Sequential([keras.Input((7, 4)), *inside, layers.Dense(1)])
    model.compile("sgd", "mse")
    cured = apply(model, prescription("activation", ["state"], activation="tanh"), seed=0)
    assert cured.get_layer("state").activation.__name__ == "tanh"
    assert cured.get_layer("behind").activation.__name__ == "relu"


def test_recurrent_layers_wrapped_ones_and_cells_included():
    orthogonal = {"recurrent_initializer": '"orthogonal"', "kernel_initializer": '"zeros"'}
    paths = ["both/forward_lstm", "cell", "plain"]
    change = prescription("initializer", paths, initializers=dict.fromkeys(paths, orthogonal))
    cured = apply(recurrent(), [change, relu("spread/inner")], seed=0)
    kernels = {path: place.layer.get_weights()[0] for path, place in places_of(cured).items() if place.layer.weights}
    assert {path for path, kernel in kernels.items() if not kernel.any()} >= set(paths)
    assert kernels["both/backward_lstm"].any()
    assert type(cured.get_layer("plain").cell.recurrent_initializer).__name__ == "Orthogonal"
    assert cured.get_layer("spread").layer.activation.__name__ == "relu"


def test_the_activation_is_changed_where_it_is_also_behind_a_normalization():
    cured = apply(nested(), relu("encoder/dense"), seed=0)
    encoder = cured.get_layer("encoder")
    assert encoder.get_layer("dense").activation.__name__ == "linear"
    assert encoder.get_layer("bend").activation.__name__ == "relu"
    assert type(encoder.get_layer("dense").kernel_initializer).__name__ == "HeNormal"


def test_an_activation_layer_gives_way_to_another_kind():
    leaky = prescription("activation", ["depth"], activation="leaky_relu", kernel_initializer='"he_normal"')
    cured = apply(picture(), leaky, seed=0)
    assert cured.get_layer("bend").activation.__name__ == "leaky_relu"
    assert type(cured.get_layer("depth").depthwise_initializer).__name__ == "HeNormal"


def test_clipping_replaces_whatever_clipping_there_was():
    model = sequential(keras.optimizers.RMSprop(0.01, rho=0.8, global_clipnorm=3.0))
    optimizer = apply(model, prescription("clipping", clipnorm=0.5)).optimizer
    assert (optimizer.clipnorm, optimizer.global_clipnorm) == (0.5, None)
    assert (type(optimizer).__name__, optimizer.rho) == ("RMSprop", 0.8)
    assert apply(model, prescription("clipping", clipvalue=0.1)).optimizer.clipvalue == 0.1


def test_a_learning_rate_is_set_and_nothing_else():
    model = nested()
    optimizer = apply(model, rate(0.003)).optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.003)
    assert optimizer.momentum == 0.9
    assert optimizer is not model.optimizer


def test_inside_a_loss_scale_wrapper_the_inner_optimizer_changes():
    wrapped = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=64.0)
    changes = [prescription("clipping", clipnorm=0.5), rate(0.02)]
    optimizer = apply(sequential(wrapped), changes).optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert optimizer.initial_scale == 64.0
    assert optimizer.inner_optimizer.clipnorm == 0.5
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.02)


def test_several_prescriptions_are_applied_together():
    cured = apply(sequential(), [relu("first", "second"), relu("first"), rate(0.5)])
    assert [layer.activation.__name__ for layer in cured.layers] == ["relu", "relu", "softmax"]
    assert float(cured.optimizer.learning_rate) == 0.5


def test_the_original_is_untouched_bit_for_bit_and_so_is_the_users_randomness():
    model = nested()
    model.fit({"left": X, "right": X}, np.zeros((12, 3)), verbose=0)
    before, config, compiled = everything(model), str(model.get_config()), str(model.get_compile_config())
    random.seed(5), np.random.seed(5)
    cured = apply(model, [relu("encoder/dense", "head/dense"), rate(0.5)], seed=1, keep_weights=True)
    drawn = random.random(), np.random.random()
    cured.fit({"left": X, "right": X}, np.zeros((12, 3)), verbose=0)
    random.seed(5), np.random.seed(5)
    assert drawn == (random.random(), np.random.random())
    assert same(before, everything(model))
    assert (config, compiled) == (str(model.get_config()), str(model.get_compile_config()))


def test_layers_that_nobody_changes_start_the_same_from_the_same_seed():
    plain, cured = (weights(apply(sequential(), each, seed=3)) for each in ([], relu("first")))
    other = weights(apply(sequential(), [], seed=4))
    equal = {path for path in plain if np.array_equal(plain[path], cured[path])}
    assert set(plain) - equal == {"patient/first/kernel"}
    assert not np.array_equal(plain["patient/last/kernel"], other["patient/last/kernel"])
    again = weights(apply(sequential(), relu("first"), seed=3))
    assert all(np.array_equal(cured[path], again[path]) for path in cured)


def test_a_change_that_draws_less_leaves_the_layers_behind_it_as_they_were():
    change = prescription("initializer", ["first"], initializers={"first": {"kernel_initializer": '"zeros"'}})
    plain, cured = (weights(apply(sequential(), each, seed=3)) for each in ([], change))
    assert not cured["patient/first/kernel"].any()
    assert np.array_equal(plain["patient/second/kernel"], cured["patient/second/kernel"])


def test_weights_of_untouched_layers_are_kept_on_request():
    model = nested()
    model.fit({"left": X, "right": X}, np.zeros((12, 3)), verbose=0)
    cured = apply(model, relu("encoder/dense"), seed=1, keep_weights=True)
    before, after = weights(model), weights(cured)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert {path.rsplit("/", 1)[0] for path in changed} == {"dense"}
    assert "norm/moving_mean" in set(before) - changed
    assert changed == {"dense/kernel", "dense/bias"}


def test_shared_layers_stay_shared():
    model = nested()
    cured = apply(model, relu("shared"), seed=0)
    assert len(cured.weights) == len(model.weights)
    assert len(cured.get_layer("shared")._inbound_nodes) == 2
    assert cured.get_layer("shared").activation.__name__ == "relu"


def test_a_layer_shared_with_a_nested_model_stays_shared():
    shared = layers.Dense(6, activation="tanh", name="shared")
    inner_input, outer_input = keras.Input((6,)), keras.Input((6,))
    inner = keras.Model(inner_input, shared(inner_input), name="inner")
    model = keras.Model(outer_input, inner(shared(outer_input)))
    model.compile("sgd", "mse")
    cured = apply(model, rate(0.5))
    assert len(cured.weights) == 2
    assert cured.get_layer("shared") is cured.get_layer("inner").get_layer("shared")


def test_no_prescription_makes_a_copy_that_computes_the_same():
    for model, x in ((sequential(), X), (nested(), {"left": X, "right": X[::-1]})):
        twin = apply(model, [], keep_weights=True)
        assert np.array_equal(model.predict(x, verbose=0), twin.predict(x, verbose=0))
        assert twin.name == model.name


def test_compile_settings_are_carried_over():
    def own_loss(y, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred - y), axis=-1)

    class Own(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(keras.ops.abs(y_pred))

    model = sequential()
    metric = Own(name="size")
    model.compile("sgd", own_loss, metrics=[metric, "mae"], steps_per_execution=3, run_eagerly=True)
    model.fit(X, np.zeros((12, 3)), verbose=0)
    total = float(metric.total)
    cured = apply(model, rate(0.25))
    assert cured.loss is own_loss
    assert (cured.steps_per_execution, cured.run_eagerly) == (3, True)
    assert set(cured.evaluate(X, np.zeros((12, 3)), verbose=0, return_dict=True)) == {"loss", "size", "mae"}
    assert float(metric.total) == total > 0


def test_the_present_rate_counts_and_not_the_one_of_compile():
    model = sequential("adam")
    model.optimizer.learning_rate = 0.125
    assert float(apply(model, []).optimizer.learning_rate) == 0.125


@pytest.mark.filterwarnings("error:The object being serialized")
def test_custom_layers_and_activations_need_not_be_registered():
    def bent(x):
        return keras.ops.minimum(x, 1.0)

    class Scale(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.scale

    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, activation=bent), Scale(), layers.Lambda(lambda x: x + 1), layers.Dense(3)]
    )
    model.compile("sgd", lambda y, y_pred: keras.ops.mean((y_pred - y) ** 2))
    cured = apply(model, rate(0.5), keep_weights=True)
    assert np.array_equal(model.predict(X, verbose=0), cured.predict(X, verbose=0))


def test_several_outputs_keep_their_losses_and_metrics():
    inputs = keras.Input((6,))
    outputs = {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(1, name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    mean = keras.metrics.MeanAbsoluteError(name="own")
    losses = {"a": keras.losses.Huber(0.1), "b": "mse"}
    model.compile("sgd", losses, loss_weights={"a": 2.0, "b": 1.0}, metrics={"a": [mean], "b": None})
    targets = {"a": np.ones(12), "b": np.ones(12)}
    cured = apply(model, rate(0.5), keep_weights=True)
    assert cured.evaluate(X, targets, verbose=0) == pytest.approx(model.evaluate(X, targets, verbose=0))
    assert len(cured.evaluate(X, targets, verbose=0)) == 4


@pytest.mark.parametrize(("scaled", "kind"), [(True, "LossScaleOptimizer"), (False, "SGD")])
def test_loss_scaling_is_as_the_model_was_compiled(scaled, kind):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="half")])
        model.compile(keras.optimizers.SGD(0.1), "mse", auto_scale_loss=scaled)
        cured = apply(model, rate(0.5))
    finally:
        keras.config.set_dtype_policy("float32")
    assert type(model.optimizer).__name__ == type(cured.optimizer).__name__ == kind
    assert type(getattr(cured.optimizer, "inner_optimizer", cured.optimizer)) is keras.optimizers.SGD
    assert float(cured.optimizer.learning_rate) == 0.5
    assert cured.get_layer("half").compute_dtype == "float16"


def test_a_model_without_a_declared_input_is_treated_once_it_is_built():
    model = keras.Sequential([layers.Dense(4, activation="sigmoid", name="first"), layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((12, 3)), verbose=0)
    cured = apply(model, relu("first"), keep_weights=True)
    assert cured.get_layer("first").activation.__name__ == "relu"
    assert np.array_equal(cured.layers[1].kernel, model.layers[1].kernel)


def test_masks_go_through_the_copy():
    words = keras.Input((5,), dtype="int32")
    hidden = layers.LSTM(4, name="read")(layers.Embedding(9, 3, mask_zero=True, name="words")(words))
    model = keras.Model(words, layers.Dense(1, name="last")(hidden))
    model.compile("sgd", "mse")
    sentences = RNG.integers(0, 3, (8, 5))
    twin = apply(model, [], keep_weights=True)
    assert np.array_equal(model.predict(sentences, verbose=0), twin.predict(sentences, verbose=0))


def test_an_activation_may_go_by_another_of_its_names():
    cured = apply(sequential(), prescription("activation", ["first"], activation="swish"))
    assert cured.get_layer("first").activation.__name__ == "silu"


def test_a_frozen_layer_stays_frozen():
    model = nested()
    model.get_layer("encoder").trainable = False
    model.compile("sgd", "mse")
    cured = apply(model, rate(0.5))
    assert [v.path for v in cured.trainable_variables] == [v.path for v in model.trainable_variables]


def test_a_model_with_a_training_step_of_its_own_keeps_it():
    class Own(keras.Model):
        def train_step(self, data):
            return {"loss": 42.0}

    inputs = keras.Input((6,))
    model = Own(inputs, layers.Dense(1, name="dense")(inputs))
    model.compile("sgd", "mse")
    assert apply(model, relu("dense")).train_on_batch(X, Y) == 42.0


@pytest.mark.parametrize("make", [sequential, nested, recurrent, picture])
def test_what_was_cured_survives_saving(make, tmp_path):
    model = make()
    target = next(path for path, place in places_of(model).items() if place.layer.weights and path != "both")
    change = prescription("initializer", [target], bias_initializer="ones") if make is recurrent else relu(target)
    cured = apply(model, [change, rate(0.5)], seed=0)
    cured.save(tmp_path / "cured.keras")
    loaded = keras.models.load_model(tmp_path / "cured.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(cured.get_config())
    assert same([w.numpy() for w in cured.weights], [w.numpy() for w in loaded.weights])
    assert float(loaded.optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("make", [sequential, nested, recurrent, picture])
def test_layers_have_the_names_that_a_run_gives_them(make):
    model = make()
    names = [layer.name for layer in structure_of(model, model.trainable_variables).layers]
    assert set(names) <= set(places_of(model))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, name="dense")

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_is_told_what_to_change_by_hand():
    model = Subclassed()
    model.compile("sgd", "mse")
    model(X)
    with pytest.raises(TreatmentError, match=r"subclassed model \(Subclassed\)[\s\S]*the code to paste"):
        apply(model, rate(0.5))
    assert issubclass(TreatmentError, KgradError)


def test_a_layer_inside_a_nested_subclassed_model_is_left_to_the_hand():
    inputs = keras.Input((6,))
    block = Subclassed()
    model = keras.Model(inputs, block(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(TreatmentError, match=r"does not tell where[\s\S]*the code to paste"):
        apply(model, init(f"{block.name}/dense", kernel_initializer='"zeros"'))


def test_a_class_that_keras_would_rebuild_as_another_is_refused():
    class Own(keras.Model):
        def __init__(self, units):
            inputs = keras.Input((6,))
            super().__init__(inputs, layers.Dense(units)(inputs))

    model = Own(3)
    model.compile("sgd", "mse")
    with pytest.raises(TreatmentError, match="without what its own class adds"):
        apply(model, rate(0.5))


def init(path, **arguments):
    return prescription("initializer", [path], initializers={path: arguments})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([relu("third")], "no layer 'third'"),
        ([init("third", kernel_initializer='"zeros"')], "no layer 'third'"),
        ([prescription("magic")], "cannot turn the knob 'magic'"),
        ([rate(0.1), rate(0.2)], "learning_rate of the optimizer to different"),
        ([prescription("clipping", clipnorm=1.0), prescription("clipping", clipvalue=1.0)], "different values"),
        ([relu("first"), init("first", kernel_initializer='"zeros"')], "kernel_initializer of layer 'first'"),
        ([prescription("clipping", clipnorm=1.0, clipvalue=1.0)], "sets 2"),
        ([rate(float("nan"))], "positive number"),
        ([rate(-1)], "positive number"),
        ([init("first", kernel_initializer='"magic"')], "no initializer of Keras"),
        ([init("first", kernel_initializer="__import__('os').getcwd()")], "no initializer of Keras"),
        ([init("first", kernel_initializer="keras.initializers.VarianceScaling(open)")], "no initializer of Keras"),
        ([init("first", recurrent_initializer='"zeros"')], "has no argument 'recurrent_initializer'"),
        ([init("first")], "names no initializer"),
        ([prescription("activation", ["first"], activation="magic")], "no activation of Keras"),
        ([prescription("activation", ["first"])], "no activation of Keras"),
        ([prescription("optimizer", optimizer="Adam"), prescription("optimizer", momentum=0.9)], "no optimizer 'Adam'"),
    ],
)
def test_what_cannot_be_applied_is_refused_with_the_reason(changes, reason):
    model = sequential()
    before = everything(model)
    with pytest.raises(TreatmentError, match=reason):
        apply(model, [rate(0.1), *changes])
    assert same(before, everything(model))


def test_an_activation_that_lies_outside_of_a_nested_model_is_not_guessed():
    inner_input, outer_input = keras.Input((6,)), keras.Input((6,))
    inner = keras.Model(inner_input, layers.Dense(4, name="dense")(inner_input), name="inner")
    model = keras.Model(outer_input, layers.Activation("sigmoid")(inner(outer_input)))
    model.compile("sgd", "mse")
    with pytest.raises(TreatmentError, match="cannot see which activation follows"):
        apply(model, relu("inner/dense"))


def test_a_schedule_is_not_overwritten_by_a_number():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = sequential(keras.optimizers.SGD(schedule))
    with pytest.raises(TreatmentError, match="follows a schedule"):
        apply(model, rate(0.1))
    clipped = apply(model, prescription("clipping", clipnorm=1.0)).optimizer
    assert isinstance(clipped._learning_rate, keras.optimizers.schedules.ExponentialDecay)


def test_a_model_that_is_not_ready_is_told_so():
    with pytest.raises(TreatmentError, match="not built"):
        apply(keras.Sequential([layers.Dense(1)]), [])
    with pytest.raises(TreatmentError, match="not compiled"):
        apply(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), [])


def test_a_compile_of_its_own_is_not_called():
    class Own(keras.Model):
        def compile(self, critic=None, **settings):
            super().compile(**settings)

    inputs = keras.Input((6,))
    model = Own(inputs, layers.Dense(1)(inputs))
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(TreatmentError, match="compile\\(\\) of its own"):
        apply(model, rate(0.5))


def simple(outputs=1, activation="relu", loss="mse"):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", name="hidden", kernel_regularizer=keras.regularizers.L2(1.0)),
            keras.layers.Dense(outputs, activation=activation, name="out"),
        ]
    )
    model.compile("sgd", loss)
    return model


def prescribed(knob, target, **settings):
    return Prescription(knob, target, "", "", "", "code", "a-rule", settings=settings)


def test_output_units_and_loss_are_changed_together():
    changed = apply(
        simple(),
        prescribed("output", ("out",), activation="softmax", units=3, loss="sparse_categorical_crossentropy"),
        seed=0,
    )
    assert changed.layers[-1].units == 3
    assert changed.layers[-1].activation.__name__ == "softmax"
    assert changed.loss == "sparse_categorical_crossentropy"
    changed.fit(np.zeros((8, 6)), np.zeros(8), verbose=0)


def test_targets_are_not_the_model_s_to_change():
    with pytest.raises(TreatmentError, match="by hand"):
        apply(simple(), prescribed("output", ("out",)))


def test_another_optimizer():
    changed = apply(simple(), prescribed("optimizer", ("optimizer",), optimizer="Adam", learning_rate=0.002))
    assert type(changed.optimizer).__name__ == "Adam"
    assert float(changed.optimizer.learning_rate) == pytest.approx(0.002)
    momentum = apply(simple(), prescribed("optimizer", ("optimizer",), momentum=0.9, nesterov=True))
    assert momentum.optimizer.get_config()["momentum"] == 0.9
    with pytest.raises(TreatmentError, match="no optimizer"):
        apply(simple(), prescribed("optimizer", ("optimizer",), optimizer="Nonesuch"))


def test_accumulation_and_a_weaker_penalty():
    changed = apply(
        simple(),
        [
            prescribed("batch_size", ("optimizer",), gradient_accumulation_steps=4),
            prescribed(
                "regularization",
                ("hidden",),
                layers={"hidden": {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}}}},
            ),
        ],
    )
    assert changed.optimizer.gradient_accumulation_steps == 4
    assert float(changed.get_layer("hidden").kernel_regularizer.l2) == pytest.approx(0.01)
