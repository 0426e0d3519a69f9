"""Where the planned steps of Adam cannot arrive, the first answer brings a rate with which they can."""

from dataclasses import replace

import numpy as np
import pytest

from ..diagnosis.rules.cases import deep
from .test_knobs import named, runs_as_pasted

WIDE = 0.05  # the spread of weights of a layer of 800 inputs


def planned(rate, epochs, spread=0.5, optimizer="Adam", **config):
    """A sick deep run, 45 updates an epoch, whose weights have this spread."""
    log = deep(layers=4, activation="sigmoid")
    given = {"class_name": optimizer, "config": {"learning_rate": rate, **config}}
    sizes = np.array([variable.size for variable in log.structure.variables], dtype=float)
    norms = np.tile(spread * np.sqrt(sizes), (len(log), 1))
    fit = {"epochs": epochs, "steps_per_epoch": 45}
    return replace(
        log, info={**log.info, "optimizer": given, "fit": fit}, columns={**log.columns, "weight_norm": norms}
    )


def rates(log, rule="vanishing-gradient", **details):
    first = named(rule, log, **details)[0]
    inside = [part["settings"] for part in first.settings.get("parts", ())]
    return [each["learning_rate"] for each in inside if "learning_rate" in each], first


def test_small_and_few_steps_get_the_rate_of_healthy_starts_beside_the_cure():
    inside, first = rates(planned(1e-4, epochs=20))  # 900 steps of 0.02 % of the weights
    assert inside == [pytest.approx(5e-3)]
    assert "900 steps of 0.02 % of the weights' size add up to 0.18" in first.why
    assert float(runs_as_pasted(first)["optimizer"].learning_rate) == pytest.approx(5e-3)


def test_a_longer_training_gets_it_too():
    inside, first = rates(planned(1e-4, epochs=5), "slow-convergence", path=0.05)
    assert first.settings["parts"][0]["settings"]["epochs"] == 14  # 600 updates, each 50 times as large
    assert inside == [pytest.approx(5e-3)]
    assert "optimizer = keras.optimizers.Adam(learning_rate=0.005" in first.code
    assert "model.fit(x, y, epochs=" in first.code


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 1000},
        {"spread": WIDE, "rate": 1e-3},
        {"optimizer": "Adagrad"},
        {"rate": {"class_name": "CosineDecay", "config": {}}},
    ],
)
def test_it_is_left_out_where_the_steps_suffice_or_are_of_another_kind(other):
    assert rates(planned(**{"rate": 1e-4, "epochs": 20, **other}))[0] == []
