"""Every knob on runs as the rules find them: the first answer goes to the cause, and its code runs as pasted."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.diagnosis.rule import all_rules
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer, Variable
from kgrad.prescription.learning_rate import TARGET_RATIO, steepest_rate
from kgrad.prescription.prescribe import KNOBS, prescribe
from kgrad.prescription.snippet import sections

from ..diagnosis.rules.cases import deep
from ..diagnosis.rules.test_learning_rate_too_high import swinging, thrown
from ..diagnosis.rules.test_learning_rate_too_low import creeping
from ..diagnosis.rules.test_over_regularised import penalised
from ..diagnosis.rules.test_saddle_point import run as saddle

RANDOM = np.random.default_rng(0)
VALUES, LABELS = RANDOM.normal(size=(64, 6)), RANDOM.integers(0, 3, 64)


def named(rule, log, **details):
    """The prescriptions for a finding of the rule, as if it had been found."""
    finding = Finding(rule, "high", "it is sick.", layers=tuple(details.pop("layers", ())), details=details)
    diagnosis = kgrad.diagnose(log)
    outcome = kgrad.diagnosis.Outcome(rule, "found", finding=finding)
    return prescribe(log, replace(diagnosis, outcomes=(outcome,)))


def runs_as_pasted(prescription):
    """Executes the code with what a person has at hand: nothing but Keras, a compiled model and the data."""
    keras.utils.set_random_seed(0)
    x, y = VALUES.astype("float32"), np.repeat(LABELS[:, None], 3, 1).astype("float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    definition, afterwards = sections(prescription.code)
    layers_are_made(definition)
    code = "\n".join(afterwards).replace("epochs=", "verbose=0, epochs=0 * ")
    space = {"keras": keras, "model": model, "x": x, "y": y, "x_val": x, "y_val": y}
    policy = keras.config.dtype_policy()
    exec(code, space)
    keras.config.set_dtype_policy(policy)
    return space


def layers_are_made(definition):
    """Each line makes a layer, or is a statement about the layers that stand for `x` in the model's definition."""
    space = {"keras": keras, "x": keras.Input((8,))}
    for line in definition:
        if line.startswith("keras.layers."):
            made = eval(line, {"keras": keras})
            assert isinstance(made[0] if isinstance(made, tuple) else made, keras.layers.Layer), line
        else:
            assert line.startswith(("# ", "branch = ", "x = ")), line
            exec(line, space)


def test_every_rule_has_an_answer_but_those_that_are_the_code_s_own_matter():
    answered = {name.split(":")[0] for name in KNOBS}
    assert {rule.id for rule in all_rules()} - answered == {"disconnected-weights"}
    assert answered <= {rule.id for rule in all_rules()}


@pytest.mark.parametrize(
    ("fix", "wanted"),
    [
        ({"activation": "sigmoid", "loss": "binary_crossentropy"}, 'Dense(4, activation="sigmoid")'),
        ({"activation": "softmax", "units": 3, "loss": "sparse_categorical_crossentropy"}, "Dense(3"),
        ({"from_logits": False}, "from_logits=False"),
        ({"targets": "integers"}, "astype"),
        ({"loss": "categorical_crossentropy"}, 'loss = "categorical_crossentropy"'),
    ],
)
def test_output(fix, wanted):
    log = deep()
    layers = tuple(replace(layer, config={"units": 4}) for layer in log.structure.layers)
    log = replace(log, structure=replace(log.structure, layers=layers))
    (offered,) = named("output-loss-mismatch", log, output="dense_7", activation="relu", loss="mse", fix=fix)
    assert wanted in offered.code
    runs_as_pasted(offered)


@pytest.mark.parametrize(
    ("fix", "wanted"),
    [
        ({"layer": "Normalization"}, "adapt(x)"),
        ({"layer": "Rescaling", "scale": 1 / 255}, "Rescaling(1 / 255)"),
        ({"targets": "standardise", "mean": 100.0, "std": 20.0}, "y = (y - 100) / 20"),
    ],
)
def test_input_scaling(fix, wanted):
    facts = BatchFacts.of("given", {"": 100 * VALUES}, {"": LABELS}).to_dict()
    log = deep()
    (offered,) = named("unscaled-inputs", replace(log, info={**log.info, "batch": facts}), fix=fix)
    assert wanted in offered.code
    space = runs_as_pasted(offered)
    if "layer" in fix:
        assert space["model"].predict(space["x"], verbose=0).shape == (64, 3)


def answers(log, rule):
    found = kgrad.examine(log)
    assert rule in {finding.rule for finding in found.diagnosis.findings}
    return [each for each in found.prescriptions if each.finding == rule]


@pytest.mark.parametrize(
    ("log", "rule", "knobs"),
    [
        (creeping(), "learning-rate-too-low", ["optimizer", "learning_rate", "optimizer"]),
        (swinging(), "learning-rate-too-high", ["learning_rate", "learning_rate_schedule"]),
        (thrown(), "learning-rate-too-high", ["learning_rate", "learning_rate_schedule"]),
        (penalised("L2"), "over-regularised", ["regularization"]),
        (penalised("L1"), "over-regularised", ["regularization"]),
        (penalised(strength=0, rate=0.9), "over-regularised", ["regularization"]),
    ],
    ids=["low", "swinging", "thrown", "l2", "l1", "dropout"],
)
def test_answers_to_what_the_rules_find(log, rule, knobs):
    offered = answers(log, rule)
    assert [each.knob for each in offered] == knobs
    for each in offered:
        runs_as_pasted(each)


def test_a_saddle_is_left_with_another_optimizer():
    offered = answers(saddle(), "saddle-point")
    assert [each.knob for each in offered][:2] == ["optimizer", "optimizer"]
    assert "Adam" in offered[0].code
    for each in offered[:2]:
        runs_as_pasted(each)


def test_more_epochs_until_the_weights_have_gone_their_size():
    log = deep()
    log = replace(log, info={**log.info, "fit": {"epochs": 5}})
    offered = named("slow-convergence", log, path=0.1)
    assert offered[0].settings == {"epochs": 50, "monitor": "loss", "patience": 10}
    for each in offered:
        runs_as_pasted(each)


def test_noise_is_answered_by_larger_batches():
    (offered,) = named("noisy-gradient", deep(), ratio=100.0, batch=32)
    assert offered.settings == {"gradient_accumulation_steps": 16}
    assert runs_as_pasted(offered)["optimizer"].gradient_accumulation_steps == 16


def test_a_tight_bound_is_loosened_to_the_run_s_own_norms():
    log = deep(gradient_norm=np.full((200, 16), 5.0))
    (offered,) = named("clipping-too-tight", log)
    assert offered.settings == {"clipnorm": 5.0}
    runs_as_pasted(offered)


def test_loss_scaling():
    (offered,) = named("loss-scale-trouble", deep())
    runs_as_pasted(offered)


def test_a_deep_chain_that_vanishes_gets_a_way_around_and_normalization():
    offered = named("vanishing-gradient", deep(layers=12, activation="tanh"))
    assert {"activation", "architecture", "normalization"} <= {each.knob for each in offered}
    for each in offered:
        if each.knob in ("architecture", "normalization"):
            runs_as_pasted(each)


@pytest.mark.parametrize("rule", ["vanishing-gradient", "plateau"])
def test_a_plain_recurrent_layer_is_gated(rule):
    log = deep(layers=2)
    log = replace(log, info={**log.info, "optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.001}}})
    recurrent = Layer(
        "rnn", "SimpleRNN", 0, "tanh", 8, config={"units": 8, "return_sequences": True, "go_backwards": True}
    )
    variables = (Variable("rnn/kernel", "rnn", "kernel", (4, 8)), *log.structure.variables[1:])
    structure = replace(log.structure, layers=(recurrent, *log.structure.layers[1:]), variables=variables)
    offered = named(rule, replace(log, structure=structure))
    gated = next(each for each in offered if each.knob == "architecture")
    assert rule != "plateau" or offered[0] is gated
    assert "\nkeras.layers.LSTM(8, return_sequences=True, go_backwards=True)" in gated.code
    runs_as_pasted(gated)


def test_an_activation_that_grows_faster_than_its_input_is_the_first_to_go():
    for rule in ("exploding-gradient", "nonfinite-gradient"):
        offered = named(rule, deep(activation="exponential"))
        assert offered[0].settings["activation"] == "elu"  # eight layers of four units: ReLU would be born dead
        assert "dense_7" not in offered[0].target
    assert named("exploding-gradient", deep(activation="elu"))[0].knob != "activation"


def test_a_linear_stack_on_a_plateau_gets_an_activation():
    layers = tuple(f"dense_{place}" for place in range(7))
    first = named("plateau", deep(activation="linear"), kind="linear", layers=layers)[0]
    assert (first.knob, first.target, first.before) == ("activation", layers, "linear")
    assert first.settings["activation"] == "elu"  # in layers of four units ReLU would be born dead
    runs_as_pasted(first)


def test_rows_that_hold_no_numbers_are_left_out_and_nothing_else_is_tried():
    log = deep()
    holed = VALUES.copy()
    holed[3, 2] = np.nan
    facts = BatchFacts.of("given", {"": holed}, {"": LABELS}).to_dict()
    log = replace(log, info={**log.info, "batch": facts})
    log.columns["nonfinite_count"][:] = 1
    (offered,) = answers(log, "nonfinite-gradient")
    assert offered.knob == "data_cleaning"
    space = {"x": holed, "y": LABELS}
    exec(offered.code, space)
    assert len(space["x"]) == len(space["y"]) == 63
    assert np.isfinite(space["x"]).all()


def test_a_rate_is_taken_from_the_first_step_and_not_from_the_explosion_after_it():
    log = thrown(ratio=50.0)
    log.columns["update_norm"][0] = 0.2  # a tenth of the weights
    (rate, *_) = answers(log, "learning-rate-too-high")
    assert rate.settings["learning_rate"] == pytest.approx(0.01 * 3e-2 / 0.1)


@pytest.mark.parametrize(("rows", "rate"), [(2, 0.0013), (8, 0.005), (32, 0.012)])
def test_batches_of_a_few_rows_bear_no_more_than_their_share_of_the_usual_rate(rows, rate):
    log = deep()
    optimizer = {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}}
    log = replace(log, info={**log.info, "optimizer": optimizer, "fit": {"batch_size": rows}})
    first = named("learning-rate-too-high", log, suggested=0.012, learning_rate=0.1)[0]
    assert first.settings["learning_rate"] == rate
    assert (f"batches of {rows} rows" in first.why) is (rows < 16)


def test_a_rate_that_is_too_low_is_brought_to_the_middle_of_what_is_sound():
    (offered,) = [each for each in answers(creeping(), "learning-rate-too-low") if each.knob == "learning_rate"]
    assert offered.effect.after == pytest.approx(TARGET_RATIO, rel=0.05)


@pytest.mark.parametrize(("nesterov", "bound"), [(False, 1.9), (True, 1.9 / 2.8)])
def test_the_rate_that_suits_the_steepest_direction_is_stable(nesterov, bound):
    """Half of the largest rate, found here by descending a parabola of curvature 10."""
    config = {"learning_rate": 0.01, "momentum": 0.9, "nesterov": nesterov}
    log = deep()
    table = {"step": np.array([0]), "largest": np.array([10.0])}
    info = {**log.info, "optimizer": {"class_name": "SGD", "config": config}}
    rate, _ = steepest_rate(replace(log, info=info, tables={"curvature": table}), 10)
    assert rate == pytest.approx(bound / 10)
    for factor, stays in ((1.9, True), (2.1, False)):
        weight = keras.Variable(1.0)
        optimizer = keras.optimizers.SGD(factor * rate, momentum=0.9, nesterov=nesterov)
        for _ in range(300):
            optimizer.apply([10.0 * weight.value], [weight])
        assert (abs(float(weight.value)) < 1.0) == stays


@pytest.mark.parametrize(
    ("layers", "activation", "code"), [(10, "linear", '"orthogonal"'), (5, "linear", '"glorot_uniform"')]
)
def test_square_matrices_of_a_deep_linear_chain_become_orthogonal(layers, activation, code):
    log = deep(layers=layers, activation=activation)
    log = replace(log, columns=log.columns | {"weight_norm": np.full_like(log["weight_norm"], 12.0)})
    changed = named("poor-initialization", log)[0].settings["initializers"]
    assert {changed[name]["kernel_initializer"] for name in ("dense_0", "dense_3")} == {code}
