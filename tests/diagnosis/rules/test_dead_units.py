import numpy as np
import pytest

from .cases import deep, outcome


def zeros(share, layers=(3,), steps=200):
    fraction = np.zeros((steps, 16))
    for layer in layers:
        fraction[:, 2 * layer + 1] = share
    return fraction


def test_a_layer_of_dead_units_is_named():
    said = outcome("dead-units", deep(zero_fraction=zeros(0.9))).finding
    assert said.layers == ("dense_3",)
    assert said.evidence[0].value == pytest.approx(0.9)


def test_it_is_graver_where_the_loss_stands_still():
    slow = np.linspace(2.3, 1.4, 200)
    learned = outcome("dead-units", deep(zero_fraction=zeros(0.9))).finding
    slowed = outcome("dead-units", deep(zero_fraction=zeros(0.9), loss=slow)).finding
    stuck = outcome("dead-units", deep(zero_fraction=zeros(0.9), loss=np.full(200, 2.3))).finding
    assert (learned.severity, slowed.severity, stuck.severity) == ("info", "medium", "high")


def test_half_asleep_is_not_dead():
    assert outcome("dead-units", deep(zero_fraction=zeros(0.5))).status == "clear"


def test_a_short_sleep_is_not_death():
    fraction = zeros(0.9)
    fraction[60:] = 0.1
    assert outcome("dead-units", deep(zero_fraction=fraction)).status == "clear"


def test_zero_kernels_alone_say_nothing():
    """Inputs that are often zero leave zero rows in a kernel's gradient."""
    fraction = np.zeros((200, 16))
    fraction[:, ::2] = 0.95
    assert outcome("dead-units", deep(zero_fraction=fraction)).status == "clear"


def test_other_activations_are_not_applicable():
    assert outcome("dead-units", deep(activation="tanh")).status == "not applicable"
