"""One monitor in several fits: what belongs together is one run, what does not is several."""

import threading

import keras
import numpy as np
import pytest
from keras import layers

import kgrad

from .twin import same_weights

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build(*hidden):
    model = keras.Sequential([keras.Input((12,)), *hidden, layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("sgd", LOSS)
    return model


def fit(model, vectors, *callbacks, **settings):
    return model.fit(*vectors, batch_size=16, verbose=0, shuffle=False, callbacks=list(callbacks), **settings)


def watch(run):
    return kgrad.GradientMonitor(run, report=False, verbose=0, strict=True, details_every=1)


def runs(folder):
    return [kgrad.read_run(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("hidden", [(), (lambda: layers.Dense(4),)])
def test_each_model_has_a_run_of_its_own(hidden, vectors, tmp_path):
    """Folds of a cross-validation, and architectures that are compared, with one list of callbacks."""
    monitor = watch(tmp_path / "run")
    for more in ((), hidden):
        fit(build(*(make() for make in more)), vectors, monitor)
    first, second = runs(tmp_path)
    assert [len(first), len(second)] == [4, 4]
    assert len(second.structure.variables) == 4 + 2 * len(hidden)
    assert second.steps.tolist() == [0, 1, 2, 3]
    assert np.isfinite(second["weight_norm"]).all()
    assert monitor.run == str(tmp_path / "run-2")
    assert "activations" in second.tables


class Unfreezes(keras.callbacks.Callback):
    """Trains the first layer too, from the second epoch on."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.layers[0].trainable = True
            self.model.compile("sgd", LOSS)
            self.model.make_train_function()


def frozen():
    model = build()
    model.layers[0].trainable = False
    model.compile("sgd", LOSS)
    return model


@pytest.mark.parametrize("where", ["between two fits", "within one"])
def test_unfrozen_layers_begin_a_run_of_their_own(where, vectors, tmp_path):
    def train(*callbacks):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = frozen()
        if where == "within one":
            fit(model, vectors, *callbacks, Unfreezes(), epochs=3)
        else:
            fit(model, vectors, *callbacks)
            model.layers[0].trainable = True
            model.compile("sgd", LOSS)
            fit(model, vectors, *callbacks, epochs=3, initial_epoch=1)
        return model

    assert same_weights(train(watch(tmp_path / "run")), train())
    first, second = runs(tmp_path)
    assert [len(first), len(second)] == [4, 8]
    assert [len(run.structure.variables) for run in (first, second)] == [2, 4]
    assert [run.status for run in (first, second)] == ["finished", "finished"]
    np.testing.assert_array_equal(second["epoch"], np.repeat([1, 2], 4))
    assert (second["update_norm"] > 0).all()


class Holds(keras.callbacks.Callback):
    """Passes all on to another callback, as people write to switch callbacks on and off."""

    def __init__(self, held):
        super().__init__()
        self.held = held

    def set_model(self, model):
        self.held.set_model(model)

    def set_params(self, params):
        self.held.set_params(params)

    def __getattribute__(self, name):
        held = object.__getattribute__(self, "__dict__").get("held")
        if name.startswith("on_") and held is not None:
            return lambda *arguments, **named: getattr(held, name)(*arguments, **named)
        return object.__getattribute__(self, name)


class Named(kgrad.GradientMonitor):
    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)


HOLDERS = {
    "a callback that passes all on": lambda run: Holds(watch(run)),
    "a list in a callback": lambda run: Holds(keras.callbacks.CallbackList([watch(run)])),
    "a subclass": lambda run: Named(run, report=False, verbose=0, strict=True),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_monitor_within_another_callback_records(holder, vectors, tmp_path):
    model = build()
    fit(model, vectors, HOLDERS[holder](tmp_path / "run"), epochs=2)
    (log,) = runs(tmp_path)
    assert (log.status, len(log)) == ("finished", 8)
    assert not callable(vars(model.optimizer).get("apply"))


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("in_list", [True, False])
def test_a_loop_of_train_on_batch(in_list, every, vectors, tmp_path):
    def train(monitor):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = build()
        callbacks = keras.callbacks.CallbackList([monitor] if monitor else [], model=model)
        if monitor and not in_list:
            callbacks = monitor
            callbacks.set_model(model)
        callbacks.on_train_begin()
        for epoch in range(2):
            callbacks.on_epoch_begin(epoch)
            for batch in range(3):
                model.train_on_batch(vectors[0][16 * batch :][:16], vectors[1][16 * batch :][:16])
                callbacks.on_train_batch_end(batch)
            callbacks.on_epoch_end(epoch)
        callbacks.on_train_end()
        return model

    monitor = kgrad.GradientMonitor(tmp_path / "run", every=every, report=False, verbose=0, strict=True)
    assert same_weights(train(monitor), train(None))
    assert monitor.log.steps.tolist() == list(range(0, 6, every))


def test_two_trainings_in_two_threads_do_not_mix(vectors, tmp_path):
    def train(seed, name):
        fit(models[seed], vectors, watch(tmp_path / name), epochs=3)

    logs = {}
    for way in ("together", "one by one"):
        keras.backend.clear_session()
        models = []
        for seed in range(2):
            keras.utils.set_random_seed(seed)
            models.append(build())
        threads = [threading.Thread(target=train, args=(seed, f"{way} {seed}")) for seed in range(2)]
        for thread in threads:
            thread.start()
            if way == "one by one":
                thread.join()
        for thread in threads:
            thread.join()
        logs[way] = [kgrad.read_run(tmp_path / f"{way} {seed}") for seed in range(2)]
    for one, other in zip(*logs.values(), strict=True):
        assert len(one) == len(other) == 12
        np.testing.assert_allclose(one["gradient_norm"], other["gradient_norm"], rtol=1e-5)
