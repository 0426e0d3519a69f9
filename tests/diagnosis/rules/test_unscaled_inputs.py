from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer, Structure, Variable

from ...log.factory import run_log
from .cases import outcome

RULE = "unscaled-inputs"
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (64, 8, 8, 1)).astype(float)
LABELS = RANDOM.integers(0, 3, 64)
STUCK = np.full(100, 1.1)


def case(inputs, *first, targets=LABELS, loss="sparse_categorical_crossentropy", curve=STUCK, units=3):
    """A model whose layers of the given classes stand between input and a dense softmax."""
    names = ["InputLayer", *first, "Dense"]
    layers = tuple(
        Layer(f"{name.lower()}_{i}", name, i, inbound=(f"{names[i - 1].lower()}_{i - 1}",) if i else ())
        for i, name in enumerate(names)
    )
    last = replace(layers[-1], activation="softmax" if units > 1 else "linear", units=units)
    kernels = tuple(
        Variable(f"{layer.name}/kernel", layer.name, "kernel", (4, 4))
        for layer in layers
        if layer.class_name in ("Dense", "Conv2D")
    )
    facts = BatchFacts.of("given", {"": inputs}, {"": targets}).to_dict()
    log = run_log(len(curve), loss=curve)
    structure = Structure("m", "functional", (*layers[:-1], last), kernels)
    return replace(log, info={**log.info, "loss": loss, "batch": facts}, structure=structure)


def test_raw_pixels_where_nothing_is_learned():
    finding = outcome(RULE, case(PIXELS, "Conv2D", "Flatten")).finding
    assert (finding.severity, finding.details["kind"], finding.layers) == ("high", "large-inputs", ("conv2d_1",))
    assert finding.details["fix"] == {"layer": "Rescaling", "scale": 1 / 255}


def test_it_is_a_note_where_the_run_learns_and_a_flaw_where_it_began_far_off():
    learns, far = np.geomspace(1.1, 0.05, 100), np.geomspace(100, 0.05, 100)
    assert outcome(RULE, case(PIXELS, curve=learns)).finding.severity == "info"
    assert outcome(RULE, case(PIXELS, curve=far)).finding.severity == "low"


def test_a_far_start_does_not_count_as_learning():
    """The loss falls by 99 % and ends where a constant answer is."""
    assert outcome(RULE, case(PIXELS, curve=np.geomspace(110, 1.1, 100))).finding.severity == "high"


@pytest.mark.parametrize("layer", ["Rescaling", "BatchNormalization", "Normalization", "Embedding", "StringLookup"])
def test_a_first_layer_that_takes_any_scale_is_enough(layer):
    assert outcome(RULE, case(PIXELS, layer)).status == "clear"
    assert outcome(RULE, case(PIXELS, "Reshape", "Dropout", layer)).status == "clear"


def test_a_layer_that_nobody_knows_may_scale_the_inputs():
    assert outcome(RULE, case(PIXELS, "Lambda")).status == "clear"


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_ordinary_inputs_are_left_alone(scale):
    assert outcome(RULE, case(RANDOM.normal(0, scale, (64, 5)))).status == "clear"


def test_small_inputs_and_inputs_off_their_centre():
    small = outcome(RULE, case(RANDOM.normal(0, 0.01, (64, 5)))).finding
    centre = outcome(RULE, case(RANDOM.normal(5, 0.1, (64, 5)))).finding
    assert (small.details["kind"], centre.details["kind"]) == ("small-inputs", "off-centre")


def test_one_large_feature_among_many_is_enough():
    inputs = RANDOM.normal(0, 1, (64, 30))
    inputs[:, 3] *= 1000
    assert outcome(RULE, case(inputs)).finding.details["kind"] == "large-inputs"


def test_sparse_rows_of_zeros_and_ones_are_not_small():
    assert outcome(RULE, case((RANDOM.random((64, 200)) < 0.05).astype(float))).status == "clear"


def test_large_targets_matter_to_a_squared_error_only():
    targets = RANDOM.normal(300, 200, (64, 1))
    curve = np.full(100, targets.var() + targets.mean() ** 2)
    said = outcome(RULE, case(np.ones((64, 1)), targets=targets, loss="mse", curve=curve, units=1)).finding
    assert (said.severity, said.details["kind"]) == ("high", "large-targets")
    absolute = case(np.ones((64, 1)), targets=targets, loss="mae", curve=curve, units=1)
    assert outcome(RULE, absolute).status == "clear"


def test_without_facts_of_a_batch_it_is_not_applicable():
    assert outcome(RULE, run_log(100)).status == "not applicable"


@pytest.mark.parametrize(("steps", "severity"), [(40, "medium"), (100, "medium"), (200, "high")])
def test_nothing_learned_so_far_is_not_grave_at_once(steps, severity):
    log = case(PIXELS, curve=np.full(steps, 1.1))
    log = replace(log, info={**log.info, "fit": {"epochs": 10, "steps_per_epoch": 100}})
    assert outcome(RULE, log).finding.severity == severity


def test_a_normalization_behind_the_first_layer_takes_the_scale():
    log = case(PIXELS, "Conv2D", "BatchNormalization", "Flatten")
    assert outcome(RULE, log).status == "clear"
