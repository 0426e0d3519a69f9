"""How long to train is no part of a model: `fit_arguments` has what `apply` leaves out."""

import keras
import pytest

from kgrad.prescription.together import joined
from kgrad.treatment import apply, fit_arguments
from kgrad.treatment.attempts import changes_of, words
from kgrad.treatment.fitting import of_model

from .patients import prescription, rate, relu, sequential

LONGER = prescription("epochs", ("fit",), epochs=60, monitor="val_loss", patience=10)


def test_a_joint_prescription_changes_the_model_here_and_the_training_there():
    both = joined([relu("first"), rate(0.5), LONGER], "why")
    model = apply(sequential(), both, seed=0)
    assert model.get_layer("first").activation.__name__ == "relu"
    assert float(model.optimizer.learning_rate) == pytest.approx(0.5)
    mine = keras.callbacks.TerminateOnNaN()
    changed = fit_arguments(both, epochs=5, batch_size=16, callbacks=[mine])
    assert (changed["epochs"], changed["batch_size"], changed["callbacks"][0]) == (60, 16, mine)
    assert (changed["callbacks"][1].monitor, changed["callbacks"][1].patience) == ("loss", 10)
    assert changed["callbacks"][1].restore_best_weights
    validated = fit_arguments(both, validation_data=(1, 2))
    assert validated["callbacks"][0].monitor == "val_loss"
    assert fit_arguments([relu("first")], epochs=5) == {"epochs": 5}


def test_a_treatment_tries_what_is_of_the_model():
    assert of_model(LONGER) is None
    assert of_model(relu("first")) == relu("first")
    assert of_model(joined([relu("first"), LONGER], "why")) == relu("first")
    kept = of_model(joined([relu("first"), rate(0.5), LONGER], "why"))
    assert [part["knob"] for part in kept.settings["parts"]] == ["activation", "learning_rate"]
    offered = [joined([relu("first"), LONGER], "why"), relu("first"), rate(0.5), LONGER]
    tried = changes_of(offered, 6)
    assert all("epochs" not in said for change in tried for said in words(change))
    assert tried[0] == (relu("first"),)
