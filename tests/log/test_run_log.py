"""`RunLog`: what it answers and what it refuses."""

import numpy as np
import pytest

from kgrad.errors import MissingColumnError
from kgrad.log.structure import Layer, Structure

from .factory import run_log


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(MissingColumnError, match=r"has no column 'cosine'; it has: .*gradient_norm"):
        run_log().only(["gradient_norm"])["cosine"]


def test_fewer_steps_cut_every_column():
    log = run_log().only(steps=slice(5, 10))
    assert len(log) == 5
    assert log["gradient_norm"].shape == (5, 6)
    assert log["loss"].shape == (5,)


def test_layer_norms_join_kernel_and_bias():
    log = run_log()
    expected = np.hypot(log["gradient_norm"][:, 0], log["gradient_norm"][:, 1])
    np.testing.assert_allclose(log.layer_norms()[:, 0], expected)
    assert log.layer_norms().shape == (40, 3)


def test_the_effective_activation_looks_past_normalization():
    layers = (
        Layer("a", "Dense", 0, "linear"),
        Layer("b", "BatchNormalization", 1, inbound=("a",)),
        Layer("c", "ReLU", 2, inbound=("b",)),
        Layer("d", "Dense", 3, "tanh", inbound=("c",)),
    )
    model = Structure("m", "functional", layers, ())
    assert model.effective_activation("a") == "relu"
    assert model.effective_activation("d") == "tanh"


def test_a_structure_survives_its_json():
    structure = run_log().structure
    assert Structure.from_dict(structure.to_dict()) == structure
