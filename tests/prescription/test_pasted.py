"""Every prescription's code runs as pasted: with Keras, the compiled model and the data, and nothing else."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.objective import objectives
from kgrad.prescription.compile_code import compile_code, loss_code
from kgrad.prescription.input_scaling import prescribe_input_scaling
from kgrad.prescription.loss_scaling import prescribe_loss_scaling
from kgrad.prescription.optimizer import prescribe_optimizer
from kgrad.prescription.output import prescribe_output
from kgrad.prescription.snippet import sections
from kgrad.prescription.together import joined, parts_of

from .test_knobs import layers_are_made

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(256, 6)).astype("float32")
CLASSES = (ROWS[:, 0] > 0).astype("float32")
VALUES = ROWS[:, 1] + ROWS[:, 2]


def own_loss(y, answer):
    return keras.ops.mean(keras.ops.square(y - answer), axis=-1)


def mean_squared_error(y, answer):
    """One's own, by the name of one of Keras'."""
    return own_loss(y, answer)


class OwnLoss(keras.losses.Loss):
    def __init__(self, function):
        super().__init__(name="own")
        self.function = function

    def call(self, y, answer):
        return self.function(y, answer)


class OwnDescent(keras.optimizers.SGD):
    pass


class OwnSchedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 1e-4

    def get_config(self):
        return {}


def network(units=1, depth=2, activation="tanh", last=None, width=8, **compiled):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(width, activation=activation) for _ in range(depth)]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(units, activation=last)])
    model.compile(**compiled)
    return model


def two_outputs(**compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="sigmoid")(inputs)
    outputs = [layers.Dense(1, name="value")(hidden), layers.Dense(1, activation="sigmoid", name="kind")(hidden)]
    model = keras.Model(inputs, outputs)
    model.compile(**compiled)
    return model


def descent(rate=1e-5, **settings):
    return keras.optimizers.SGD(rate, **settings)


BOTH = {"value": VALUES, "kind": CLASSES}
CASES = {
    "raw inputs, own loss": lambda: (network(optimizer=descent(), loss=own_loss, metrics=["mae"]), 100 * ROWS, VALUES),
    "raw inputs, known loss": lambda: (network(optimizer="adam", loss="mse", metrics=["mae"]), 100 * ROWS, VALUES),
    "raw inputs and targets": lambda: (network(optimizer=descent(1e-9), loss="mse"), 100 * ROWS, 1e4 * VALUES),
    "own loss class": lambda: (network(optimizer=descent(), loss=OwnLoss(own_loss)), 100 * ROWS, VALUES),
    "own optimizer": lambda: (network(optimizer=OwnDescent(1e-6), loss="mse"), 100 * ROWS, VALUES),
    "own schedule": lambda: (network(optimizer=descent(OwnSchedule()), loss="mse"), 100 * ROWS, VALUES),
    "deep sigmoids": lambda: (
        network(
            depth=10,
            activation="sigmoid",
            optimizer=descent(0.01),
            loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0), keras.metrics.AUC(from_logits=True), own_loss],
        ),
        ROWS,
        CLASSES,
    ),
    "a rate too high": lambda: (
        network(depth=4, activation="relu", optimizer=descent(100.0, momentum=0.9), loss="mse"),
        ROWS,
        VALUES,
    ),
    "a wrong output": lambda: (
        network(units=2, last="relu", optimizer="adam", loss="mse", metrics=["accuracy"]),
        ROWS,
        np.stack([CLASSES, 1 - CLASSES], 1),
    ),
    "logits": lambda: (
        network(units=1, last="sigmoid", optimizer="adam", loss=keras.losses.BinaryCrossentropy(from_logits=True)),
        ROWS,
        CLASSES,
    ),
    "a narrow recurrent one": lambda: (recurrent(), ROWS[:, :, None], CLASSES),
    "two outputs by name": lambda: (
        two_outputs(
            optimizer=descent(),
            loss={"value": "mse", "kind": keras.losses.BinaryCrossentropy()},
            loss_weights={"value": 1.0, "kind": 0.5},
            metrics={"kind": ["accuracy"]},
        ),
        100 * ROWS,
        BOTH,
    ),
    "two outputs in a list": lambda: (
        two_outputs(optimizer=descent(), loss=["mse", own_loss], metrics=[["mae"], ["accuracy"]]),
        100 * ROWS,
        [VALUES, CLASSES],
    ),
}


def recurrent():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 1)), layers.SimpleRNN(3), layers.Dense(1, activation="sigmoid")])
    model.compile(descent(1e-4), "binary_crossentropy", metrics=["accuracy"])
    return model


def recorded(model, x, y, folder):
    monitor = kgrad.GradientMonitor(folder, report=False, verbose=0, curvature="never")
    model.fit(x, y, epochs=4, verbose=0, callbacks=[monitor])
    return kgrad.examine(folder)


def pasted(code, model, x, y):
    """What is run with the model, after the lines for its definition were made alone."""
    definition, afterwards = sections(code)
    layers_are_made(definition)
    space = {"keras": keras, "model": model, "x": x, "y": y, "x_val": x, "y_val": y}
    exec(re.sub(r"epochs=\d+", "epochs=1, verbose=0", "\n".join(afterwards)), space)
    return space


@pytest.mark.parametrize("name", CASES)
def test_the_code_of_every_prescription_runs(name, tmp_path):
    model, x, y = CASES[name]()
    found = recorded(model, x, y, tmp_path / "run")
    assert found.prescriptions
    for each in found.prescriptions:
        made, _, _ = CASES[name]()
        optimizer = made.optimizer
        space = pasted(each.code, made, x, y)
        compiled = space["model"]
        if "model.compile(" not in each.code:
            assert compiled.optimizer is optimizer
            continue
        assert compiled.optimizer is not optimizer, each.code
        if not any(part.changes_loss for part in parts_of([each])):
            compiled.fit(space["x"], space["y"], epochs=1, verbose=0)
            assert same(compiled.loss, made.loss), each.code


def same(loss, other):
    plain = keras.saving.serialize_keras_object
    return loss is other or str(plain(loss)) == str(plain(other)) or "BinaryCrossentropy" in str(plain(loss))


def line(model, folder):
    model.fit(ROWS, VALUES, verbose=0, callbacks=[kgrad.GradientMonitor(folder, report=False, verbose=0)])
    return compile_code(kgrad.read_run(folder).info)


@pytest.mark.parametrize(
    ("compiled", "wanted"),
    [
        ({"loss": "mse", "metrics": ["mae"]}, 'loss="mse", metrics=["mae"]'),
        ({"loss": keras.losses.Huber(delta=2.0)}, "loss=model.loss"),  # Keras forgets `delta`
        (
            {"loss": keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), "metrics": ["acc"]},
            'loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), metrics=["acc"]',
        ),
        ({"loss": keras.losses.mean_absolute_error}, 'loss="mean_absolute_error"'),
        ({"loss": own_loss, "metrics": [own_loss]}, "loss=model.loss"),
        ({"loss": mean_squared_error}, "loss=model.loss"),
        ({"loss": lambda y, answer: own_loss(y, answer)}, "loss=model.loss"),
        ({"loss": OwnLoss(own_loss)}, "loss=model.loss"),
        ({"loss": "mse", "metrics": [keras.metrics.MeanMetricWrapper(own_loss), "mae"]}, 'loss="mse", metrics=["mae"]'),
        ({"loss": "mse", "weighted_metrics": ["mae"]}, 'loss="mse", weighted_metrics=["mae"]'),
        (
            {"loss": "mse", "loss_weights": 0.5, "metrics": [keras.metrics.RootMeanSquaredError(name="off")]},
            'loss="mse", loss_weights=0.5, metrics=[keras.metrics.RootMeanSquaredError(name="off")]',
        ),
    ],
)
def test_the_model_is_compiled_with_the_run_s_own_loss_and_metrics(compiled, wanted, tmp_path):
    model = network(optimizer="sgd", **compiled)
    assert line(model, tmp_path / "run") == f"model.compile(optimizer=optimizer, {wanted})"


@pytest.mark.parametrize(("info", "loss"), [({}, ", loss=model.loss"), ({"loss": None}, ""), ({"loss": "x"}, None)])
def test_a_run_that_knows_less_is_compiled_as_the_model_was(info, loss):
    loss = ", loss=model.loss" if loss is None else loss
    assert compile_code(info) == f"model.compile(optimizer=optimizer{loss})"


def log_of(model, folder, x=ROWS, y=VALUES):
    model.fit(x, y, verbose=0, callbacks=[kgrad.GradientMonitor(folder, report=False, verbose=0, curvature="never")])
    return kgrad.read_run(folder)


def test_in_a_loop_of_one_s_own_nothing_is_compiled(tmp_path):
    log = log_of(network(optimizer=descent(), loss=own_loss), tmp_path / "run", x=100 * ROWS)
    log = replace(log, info={name: each for name, each in log.info.items() if name not in ("optimizer", "loss")})
    raw = Finding("unscaled-inputs", "high", "raw.", details={"fix": {"layer": "Normalization"}})
    slow = Finding("plateau", "high", "it stands.")
    assert "optimizer" not in prescribe_input_scaling(log, raw).code
    assert prescribe_optimizer(log, slow).code.startswith("optimizer = keras.optimizers.Adam(")
    assert "compile" not in prescribe_optimizer(log, slow).code


def test_of_several_changes_each_says_its_part_once(tmp_path):
    log = log_of(network(optimizer=descent(), loss=own_loss, metrics=["mae", "accuracy"]), tmp_path / "run")
    output = objectives(log)[0].layer
    fix = {"activation": "softmax", "units": 2, "loss": "sparse_categorical_crossentropy"}
    wrong = Finding("output-loss-mismatch", "high", "wrong.", details={"output": output, "fix": fix})
    raw = Finding("unscaled-inputs", "high", "raw.", details={"fix": {"layer": "Normalization"}})
    slow = Finding("plateau", "high", "it stands.")
    parts = prescribe_input_scaling(log, raw), prescribe_output(log, wrong), prescribe_optimizer(log, slow)
    assert "loss = model.loss" in parts[0].code
    code = joined(parts, "").code
    definition, afterwards = sections(code)
    assert len(definition) == 1
    assert afterwards[0] == 'loss = "sparse_categorical_crossentropy"'
    assert afterwards[1].startswith("optimizer = keras.optimizers.Adam(")
    assert (
        afterwards[-1] == 'model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])'
    )  # `mae` has one shape
    assert [code.count(each) for each in ("\nloss = ", "\noptimizer = ", "model.compile(")] == [1, 1, 1]
    built = network(units=2, last="softmax", optimizer="sgd", loss=own_loss)
    pasted(code, built, ROWS, CLASSES)["model"].fit(ROWS, CLASSES, verbose=0)
    assert joined([joined(parts[:2], ""), parts[2]], "").code == code


def test_a_new_loss_of_one_output_leaves_those_of_the_others(tmp_path):
    model = two_outputs(optimizer="sgd", loss={"value": "mse", "kind": "mse"})
    log = log_of(model, tmp_path / "run", y=BOTH)
    finding = Finding("output-loss-mismatch", "high", "wrong.", details={"output": "kind", "fix": {"loss": "bce"}})
    offered = prescribe_output(log, finding)
    assert offered.code.startswith('loss = {"value": "mse", "kind": "bce"}\n')
    pasted(offered.code, model, ROWS, BOTH)["model"].fit(ROWS, BOTH, verbose=0)


@pytest.mark.parametrize(("policy", "before"), [("float32", "float32"), ("mixed_float16", "float16")])
def test_a_loss_is_scaled_once_and_only_where_digits_are_few(policy, before, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = network(optimizer=keras.optimizers.LossScaleOptimizer(descent()), loss="mse")
        log = log_of(model, tmp_path / "run")
        offered = prescribe_loss_scaling(log, Finding("loss-scale-trouble", "high", "trouble."))
        space = pasted(offered.code.replace("# in float16, instead: ", ""), model, ROWS, VALUES)
    finally:
        keras.config.set_dtype_policy("float32")
    assert offered.before.endswith(before)
    optimizer = space["optimizer"]
    if policy == "float32":
        assert type(optimizer) is keras.optimizers.SGD
        assert space["model"].optimizer is optimizer
    else:
        assert type(optimizer.inner_optimizer) is keras.optimizers.SGD


def test_losses_and_metrics_are_named_as_keras_names_them():
    for axis in (None, -1):
        described = keras.losses.serialize(keras.losses.Dice(axis=axis))
        again = eval(loss_code({each: described[each] for each in ("class_name", "config")}))
        assert again.get_config()["axis"] == axis
    for name in ("top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy", "f1_score", "auc", "mse"):
        assert f'metrics=["{name}"]' in compile_code({"optimizer": {}, "loss": "mse", "metrics": [name]})
