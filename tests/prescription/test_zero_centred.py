"""Hidden sigmoids of a run that learned nothing become tanh beside the cure."""

from dataclasses import replace

import numpy as np
import pytest

from ..diagnosis.rules.cases import deep
from .test_beside_the_cure import by_descent, parts
from .test_knobs import named, runs_as_pasted
from .test_width import chain

STUCK = np.full(200, 2.3)


def stuck(layers=2, activation="sigmoid", rate=0.05, **config):
    return by_descent(deep(layers=layers, activation=activation, loss=STUCK), rate, **config)


def activations(inside):
    return [each["activation"] for each in inside if "activation" in each]


@pytest.mark.parametrize("rule", ["plateau", "saddle-point", "learning-rate-too-low"])
def test_sigmoids_become_tanh_beside_another_optimizer(rule):
    inside, first = parts(stuck(), rule)
    assert activations(inside) == ["tanh"]
    assert first.target == ("dense_0",)  # the output stays
    assert "pass 0.25 of the gradient back" in first.why
    made = runs_as_pasted(first)
    assert type(made["optimizer"]).__name__ == "Adam"
    assert first.code.count("optimizer = ") == 1


def test_units_that_are_added_beside_them_are_in_one_line():
    narrow = chain(4, layers=2)
    log = by_descent(replace(narrow, columns=narrow.columns | {"loss": STUCK}), 0.05)
    inside, first = parts(log, "plateau")
    assert activations(inside) == ["tanh"]
    assert any("units" in str(each.get("layers")) for each in inside)
    lines = [line for line in first.code.splitlines() if line.startswith("keras.layers.Dense")]
    assert len(lines) == 1
    assert "Dense(16" in lines[0]
    assert '"tanh"' in lines[0]


def test_a_rate_that_sigmoids_bore_comes_down_to_the_usual_one():
    wrong_output = {"fix": {"activation": "softmax"}, "output": "dense_1"}
    inside, _ = parts(stuck(rate=0.1, momentum=0.9), "output-loss-mismatch", **wrong_output)
    assert [each.get("learning_rate") for each in inside if "activation" in each and "kernel_initializer" in each] == [
        0.01
    ]
    inside, _ = parts(stuck(rate=0.01), "output-loss-mismatch", **wrong_output)
    assert all("learning_rate" not in each for each in inside if each.get("activation") == "tanh")


@pytest.mark.parametrize(
    "log",
    [by_descent(deep(layers=2, activation="sigmoid"), 0.05), stuck(activation="relu"), stuck(activation="tanh")],
    ids=["learned", "relu", "tanh"],
)
def test_what_learned_or_has_no_sigmoids_stays(log):
    inside, first = parts(log, "plateau")
    assert not activations(inside)
    assert "activation" not in first.settings


def test_layers_that_the_cure_gives_another_activation_keep_that():
    first = named("vanishing-gradient", stuck(layers=3))[0]
    changed = [each["settings"] for each in first.settings.get("parts", [{"settings": first.settings}])]
    assert activations(changed) == ["relu"]


@pytest.mark.parametrize(("layers", "knob"), [(["dense_0"], "activation"), (["dense_0", "dense_1"], "initializer")])
def test_weights_that_are_off_are_made_for_tanh_where_they_are_those_of_sigmoids_alone(layers, knob):
    log = stuck()
    log = replace(log, columns=log.columns | {"weight_norm": np.full_like(log["weight_norm"], 1e-3)})
    offered = named("poor-initialization", log, layers=layers)
    inside, first = parts(log, "poor-initialization", layers=layers)
    assert next(each.knob for each in offered if each.knob != "several") == knob
    assert ("tanh" in activations(inside or [first.settings])) is (knob == "activation")
    assert first.why.startswith("The first weights of")
