from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis.reach import unreachable
from kgrad.log.batch import BatchFacts, TensorFacts
from kgrad.log.objective import Loss, objectives
from kgrad.log.structure import Layer, Structure
from kgrad.prescription.output import prescribe_output

from ...log.factory import run_log
from .cases import outcome

RULE = "output-loss-mismatch"
RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 3, 64)
ONE_HOT = np.eye(3)[CLASSES]
BINARY = RANDOM.integers(0, 2, (64, 1)).astype(float)
SEVERAL = np.maximum(ONE_HOT, ONE_HOT[::-1])
VALUES = RANDOM.normal(0, 1.4, (64, 1))


def case(activation, units, loss, targets=None, learned=False, tail=(), policy="float32"):
    """A two-layer model with the given output; `tail` adds layers behind it."""
    layers = [Layer("hidden", "Dense", 0, "relu", 8), Layer("out", "Dense", 1, activation, units, ("hidden",))]
    for depth, (class_name, own) in enumerate(tail, 2):
        layers.append(Layer(class_name.lower(), class_name, depth, own, units, (layers[-1].name,)))
    log = run_log(100) if learned else run_log(100, loss=np.full(100, 2.3))
    info = {**log.info, "loss": loss, "dtype_policy": policy}
    if targets is not None:
        info["batch"] = BatchFacts.of("given", {"": np.zeros((len(targets), 2))}, {"": targets}).to_dict()
    return replace(log, info=info, structure=Structure("m", "sequential", tuple(layers), log.structure.variables))


def crossentropy(kind="Categorical", **config):
    return {"class_name": f"{kind}Crossentropy", "config": config}


SICK = [
    ("softmax", 1, "mse", VALUES, "softmax-on-one-unit", {"activation": "linear"}),
    ("softmax", 1, "binary_crossentropy", None, "softmax-on-one-unit", {"activation": "sigmoid"}),
    ("sigmoid", 1, "categorical_crossentropy", CLASSES[:, None], "one-unit-for-classes", {"units": 3}),
    ("linear", 3, "categorical_crossentropy", ONE_HOT, "no-probabilities", {"activation": "softmax"}),
    ("relu", 3, "sparse_categorical_crossentropy", CLASSES, "no-probabilities", {"activation": "softmax"}),
    ("tanh", 1, "binary_crossentropy", BINARY, "no-probabilities", {"activation": "sigmoid"}),
    ("softplus", 1, "binary_crossentropy", BINARY, "no-probabilities", {"activation": "sigmoid"}),
    ("softmax", 3, "mse", VALUES.repeat(3, 1), "targets-out-of-reach", {"activation": "linear"}),
    ("relu", 1, "mae", VALUES, "targets-out-of-reach", {"activation": "linear"}),
    ("sigmoid", 1, "mse", VALUES, "targets-out-of-reach", {"activation": "linear"}),
    ("sigmoid", 1, "binary_crossentropy", CLASSES[:, None], "classes-under-binary", {"units": 3}),
    ("sigmoid", 1, "binary_crossentropy", VALUES, "values-under-crossentropy", {"loss": "mean_squared_error"}),
    ("softmax", 3, "categorical_crossentropy", VALUES.repeat(3, 1), "values-under-crossentropy", {}),
    ("sigmoid", 1, "binary_crossentropy", 2 * BINARY - 1, "signs-under-crossentropy", {}),
    ("softmax", 2, "sparse_categorical_crossentropy", CLASSES, "labels-beyond-units", {"units": 3}),
    ("softmax", 3, "sparse_categorical_crossentropy", CLASSES / 255, "labels-not-whole", {}),
    ("softmax", 3, "mse", SEVERAL, "softmax-for-several", {"activation": "sigmoid"}),
    ("sigmoid", 1, "cosine_similarity", BINARY, "one-unit-for-classes", {"activation": "sigmoid"}),
    ("linear", 1, "cosine_similarity", VALUES, "one-unit-for-classes", {"activation": "linear"}),
    ("linear", 1, "cosine_similarity", VALUES, "one-unit-for-classes", {"loss": "mean_squared_error"}),
    ("sigmoid", 1, "kl_divergence", BINARY, "one-unit-for-classes", {"loss": "binary_crossentropy"}),
    ("sigmoid", 3, "categorical_crossentropy", SEVERAL, "classes-of-several", {"loss": "binary_crossentropy"}),
    ("linear", 1, "hinge", VALUES, "hinge-of-values", {"loss": "mean_squared_error"}),
    ("tanh", 1, "squared_hinge", VALUES, "hinge-of-values", {"activation": "linear"}),
    ("linear", 4, "mse", VALUES, "one-target-for-units", {"units": 1}),
    ("linear", 4, "mse", VALUES[:, 0], "one-target-for-units", {"units": 1}),
    ("softmax", 3, "mse", CLASSES, "one-target-for-units", {"loss": "sparse_categorical_crossentropy"}),
    ("sigmoid", 1, "mape", BINARY, "percentage-of-zero", {"loss": "mean_absolute_error"}),
    ("sigmoid", 1, "poisson", CLASSES[:, None].astype(float) * 3, "targets-out-of-reach", {"activation": "softplus"}),
    ("sigmoid", 1, "msle", 5 + np.abs(VALUES), "targets-out-of-reach", {"activation": "softplus"}),
    ("softplus", 1, "poisson", VALUES, "counts-below-zero", {"loss": "mean_squared_error", "activation": "linear"}),
    ("linear", 1, "msle", VALUES, "counts-below-zero", {"loss": "mean_squared_error"}),
    ("softmax", 3, "hinge", ONE_HOT, "hinge-on-probabilities", {"loss": "categorical_crossentropy"}),
]


@pytest.mark.parametrize(("activation", "units", "loss", "targets", "kind", "fix"), SICK, ids=lambda v: str(v)[:30])
def test_what_does_not_fit_is_grave_where_nothing_is_learned(activation, units, loss, targets, kind, fix):
    finding = outcome(RULE, case(activation, units, loss, targets)).finding
    assert (finding.severity, finding.details["kind"], finding.layers) == ("high", kind, ("out",))
    assert fix.items() <= finding.details["fix"].items()


HEALTHY = [
    ("softmax", 3, "categorical_crossentropy", ONE_HOT),
    ("softmax", 3, "CategoricalCrossentropy", 0.9 * ONE_HOT + 0.1 / 3),
    ("softmax", 3, "sparse_categorical_crossentropy", CLASSES),
    ("softmax", 3, "binary_crossentropy", ONE_HOT),
    ("linear", 3, crossentropy(from_logits=True), ONE_HOT),
    ("softplus", 3, "categorical_crossentropy", ONE_HOT),
    ("sigmoid", 1, "binary_crossentropy", BINARY),
    ("sigmoid", 4, "binary_crossentropy", RANDOM.random((64, 4))),
    ("sigmoid", 3, "binary_crossentropy", np.maximum(ONE_HOT, ONE_HOT[::-1])),
    ("linear", 1, "mse", VALUES),
    ("leaky_relu", 1, "mse", VALUES),
    ("relu", 1, "mse", np.abs(VALUES)),
    ("tanh", 1, "mse", np.tanh(VALUES)),
    ("sigmoid", 1, "mse", RANDOM.random((64, 1))),
    ("tanh", 1, "hinge", 2 * BINARY - 1),
    ("linear", 3, "categorical_hinge", 0.7 * ONE_HOT + 0.3 * ONE_HOT[::-1] * RANDOM.random((64, 1))),
    ("linear", 1, "my_own_loss", VALUES),
    ("softmax", 3, "my_own_loss", CLASSES),
]


@pytest.mark.parametrize(("activation", "units", "loss", "targets"), HEALTHY, ids=lambda v: str(v)[:30])
def test_what_fits_is_left_alone(activation, units, loss, targets):
    assert outcome(RULE, case(activation, units, loss, targets)).status == "clear"
    assert outcome(RULE, case(activation, units, loss)).status == "clear"


@pytest.mark.parametrize(("units", "loss", "last"), [(3, "categorical", "softmax"), (1, "binary", "sigmoid")])
def test_scores_that_a_rectifier_cuts_off(units, loss, last):
    targets = ONE_HOT if units > 1 else BINARY
    log = case("relu", units, f"{loss}_crossentropy", targets, tail=[("Activation", last)])
    said = outcome(RULE, log).finding
    assert (said.severity, said.details["kind"], said.details["output"]) == ("medium", "rectified-scores", "out")
    offered = prescribe_output(log, said)
    assert (offered.target, offered.settings) == (("out",), {"activation": "linear"})
    assert offered.before == "activation relu"
    fine = case("linear", units, f"{loss}_crossentropy", targets, tail=[("Activation", last)])
    assert outcome(RULE, fine).status == "clear"
    assert said.layers == ("out",)
    apart = case("linear", units, f"{loss}_crossentropy", targets, tail=[("ReLU", None), ("Activation", last)])
    assert outcome(RULE, apart).status == "clear"  # a layer of its own is not judged
    learned = case("relu", units, f"{loss}_crossentropy", targets, learned=True, tail=[("Activation", last)])
    assert outcome(RULE, learned).finding.severity == "info"


def test_what_learns_all_the_same_is_less_grave():
    linear = case("linear", 3, "categorical_crossentropy", ONE_HOT, learned=True)
    constant = case("softmax", 1, "binary_crossentropy", BINARY, learned=True)
    assert outcome(RULE, linear).finding.severity == "medium"
    assert outcome(RULE, constant).finding.severity == "high"


def test_a_loss_that_takes_logarithms_wants_answers_above_zero():
    counts = np.arange(64.0)[:, None]
    stuck = outcome(RULE, case("linear", 1, "poisson", counts)).finding
    learns = outcome(RULE, case("linear", 1, "poisson", counts, learned=True)).finding
    assert (stuck.details["kind"], stuck.severity, learns.severity) == ("logarithm-of-any", "high", "info")
    for activation in ("exponential", "softplus", "relu"):
        assert outcome(RULE, case(activation, 1, "poisson", counts)).status == "clear"


def test_a_rectifier_that_answers_classes_by_distance_may_be_stuck():
    assert outcome(RULE, case("relu", 3, "mse", ONE_HOT)).finding.severity == "medium"
    assert outcome(RULE, case("relu", 3, "mse", ONE_HOT, learned=True)).finding.severity == "info"


def test_squared_errors_on_classes_are_a_note_where_they_learn():
    learned = outcome(RULE, case("sigmoid", 1, "mse", BINARY, learned=True)).finding
    stuck = outcome(RULE, case("sigmoid", 1, "mse", BINARY)).finding
    median = outcome(RULE, case("sigmoid", 1, "mae", BINARY)).finding
    assert [learned.severity, stuck.severity, median.severity] == ["info", "info", "medium"]


def test_a_linear_output_on_classes_is_a_note_that_names_the_activation_too():
    finding = outcome(RULE, case("linear", 3, "mse", ONE_HOT)).finding
    assert finding.severity == "info"
    assert finding.details["fix"] == {"loss": "categorical_crossentropy", "activation": "softmax"}


def test_sigmoids_under_a_categorical_loss_are_a_note():
    assert outcome(RULE, case("sigmoid", 3, "categorical_crossentropy", ONE_HOT)).finding.severity == "info"


def test_keras_finds_the_logits_behind_a_layers_own_softmax_and_behind_nothing_else():
    told = crossentropy(from_logits=True)
    mended = outcome(RULE, case("softmax", 3, told, ONE_HOT)).finding
    layer = outcome(RULE, case("linear", 3, told, ONE_HOT, tail=[("Softmax", None)])).finding
    half = outcome(RULE, case("softmax", 3, told, ONE_HOT, policy="mixed_float16")).finding
    assert (mended.severity, layer.severity, half.severity) == ("info", "high", "high")
    assert layer.details["kind"] == half.details["kind"] == "squashed-twice"
    assert layer.layers == ("softmax",)


def test_two_softmaxes_in_a_row_are_seen():
    twice = case("softmax", 3, "categorical_crossentropy", ONE_HOT, tail=[("Activation", "softmax")])
    assert outcome(RULE, twice).finding.details["kind"] == "squashed-twice"


def test_logits_must_not_be_bounded():
    assert outcome(RULE, case("relu", 3, crossentropy(from_logits=True))).finding.details["kind"] == "bounded-logits"


def test_an_unknown_ending_is_not_applicable():
    unknown = case("linear", 3, "categorical_crossentropy", ONE_HOT, tail=[("Lambda", None)])
    assert outcome(RULE, unknown).status == "not applicable"


def test_padding_is_not_taken_for_rows_without_a_label():
    padded = np.concatenate([ONE_HOT[:40], np.zeros((24, 3))]).reshape(16, 4, 3)
    assert outcome(RULE, case("softmax", 3, "categorical_crossentropy", padded)).status == "clear"


def test_every_output_has_its_own_loss_and_targets():
    log = case("softmax", 3, {"out": "categorical_crossentropy", "value": "mse"})
    value = Layer("value", "Dense", 2, "relu", 1, ("hidden",))
    facts = BatchFacts.of("given", {"": np.zeros((64, 2))}, {"out": ONE_HOT, "value": VALUES})
    structure = replace(log.structure, layers=(*log.structure.layers, value))
    log = replace(log, structure=structure, info={**log.info, "batch": facts.to_dict()})
    finding = outcome(RULE, log).finding
    assert (finding.layers, finding.details["kind"]) == (("value",), "targets-out-of-reach")


def test_a_layer_read_by_an_operation_is_no_output():
    """`x + y` is no layer, so that its inputs look like outputs; the deepest one is taken."""
    log = case("softmax", 3, "categorical_crossentropy")
    stray = Layer("stray", "Dense", 0, "relu", 3, ("input",))
    log = replace(log, structure=replace(log.structure, layers=(stray, *log.structure.layers)))
    assert [each.layer for each in objectives(log)] == ["out"]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("MSE", "mean_squared_error"),
        ("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"),
        ({"class_name": "function", "config": "mean_absolute_error"}, "mean_absolute_error"),
        ({"class_name": "Huber", "config": {"delta": 1.0}}, "huber"),
    ],
)
def test_a_loss_goes_by_one_name(entry, name):
    assert Loss.parse(entry).name == name


@pytest.mark.parametrize(("activation", "low", "high"), [("relu", 0, np.inf), ("tanh", -1, 1), ("sigmoid", 0, 1)])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 2.0), (-3.0, 1.0)])
def test_the_unreachable_share_is_that_of_normal_targets(activation, low, high, mean, std):
    values = np.random.default_rng(1).normal(mean, std, 400_000)
    facts = TensorFacts.of("", values)
    true = min(1.0, np.mean((values - np.clip(values, low, high)) ** 2) / values.var())
    assert unreachable(facts, activation) == pytest.approx(true, abs=0.01)
