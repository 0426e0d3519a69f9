"""Ways of distributing that cannot be recorded are refused with what to do instead, and the training goes on."""

import keras
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.capture import engine, replicas
from kgrad.errors import CaptureError

from .twin import same_weights


class TPUStrategyV2:
    """Stands for the strategy of that name, which needs the hardware to be made."""

    num_replicas_in_sync = 8
    cluster_resolver = None


class ParameterServerStrategyV2(TPUStrategyV2):
    """Stands for the strategy of that name, which needs a cluster to be made."""

    num_replicas_in_sync = 1


class MirroredStrategy(TPUStrategyV2):
    """Stands for several devices of one machine."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize("kind", [TPUStrategyV2, ParameterServerStrategyV2])
def test_tpu_and_parameter_servers_are_refused_by_name(kind):
    with pytest.raises(CaptureError, match=rf"under {kind.__name__}; train under MirroredStrategy or on one device"):
        replicas.refuse_unsupported(kind(), keras.optimizers.SGD())


@pytest.mark.parametrize(
    ("optimizer", "advice"),
    [
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "use mixed_bfloat16"),
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=2), "use larger batches"),
    ],
)
def test_what_aggregates_inside_a_branch_is_refused_on_several_replicas_only(optimizer, advice):
    with pytest.raises(CaptureError, match=advice):
        replicas.refuse_unsupported(MirroredStrategy(), optimizer())
    alone = MirroredStrategy()
    alone.num_replicas_in_sync = 1
    replicas.refuse_unsupported(alone, optimizer())


def test_a_refusal_is_logged_and_the_training_goes_on(vectors, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise CaptureError("gradients cannot be recorded under TPUStrategyV2")

    monkeypatch.setattr(replicas, "refuse_unsupported", refuse)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0)
    history = model.fit(*vectors, verbose=0, epochs=2, callbacks=[watch])
    assert len(history.history["loss"]) == 2
    assert sum("under TPUStrategyV2" in record.message for record in caplog.records) == 1
    assert not (tmp_path / "run").exists()
    strict = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True)
    with pytest.raises(CaptureError, match="TPUStrategyV2"):
        model.fit(*vectors, verbose=0, callbacks=[strict])


def step_of(train):
    """A model with a training step of its own."""

    class Own(keras.Model):
        def train_step(self, data):
            return train(self, *data)

    inputs = keras.Input((12,))
    model = Own(inputs, layers.Dense(3)(layers.Dense(4)(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def applied(model, x, y, variables):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return {"loss": loss}


def twice(model, x, y):
    applied(model, x, y, model.trainable_variables)
    return applied(model, x, y, model.trainable_variables)


def by_turns(model, x, y):
    applied(model, x, y, model.trainable_variables[:2])
    return applied(model, x, y, model.trainable_variables[2:])


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize(
    ("step", "told"), [(twice, "the training step applied its optimizer"), (by_turns, "updates different variables")]
)
def test_steps_that_apply_their_optimizer_more_than_once_are_told(step, told, probe, vectors, tmp_path, caplog):
    trained = []
    for watched in (True, False):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = step_of(step)
        watch = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, probe=probe)
        model.fit(*vectors, verbose=0, batch_size=16, shuffle=False, callbacks=[watch] if watched else [])
        trained.append(model)
    assert sum(told in record.message for record in caplog.records) == 1
    assert not (tmp_path / "run").exists()
    assert same_weights(*trained)


def test_another_keras_is_refused(tmp_path, monkeypatch, caplog):
    class Sequential:
        """Stands for a model of tf_keras, which calls the callbacks in the same way."""

        __module__ = "tf_keras.src.engine.sequential"

    watch = kgrad.GradientMonitor(tmp_path / "run", verbose=0)
    watch.set_model(Sequential())
    watch.on_train_begin()
    watch.on_epoch_begin(0)
    watch.on_train_batch_end(0)
    watch.on_epoch_end(0, {})
    watch.on_train_end()
    assert "the model is a tf_keras.src.engine.sequential.Sequential, not one of Keras 3" in caplog.text
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(CaptureError, match=r"Keras runs on jax.*KERAS_BACKEND=tensorflow"):
        engine.refuse_foreign(keras.Sequential())


def test_optimizers_that_are_attributes_of_the_model_are_told_of_and_nothing_breaks(vectors, tmp_path, caplog):
    """As GANs are written for Keras; the model itself is never built."""

    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.part = keras.Sequential([keras.Input((12,)), layers.Dense(3)])
            self.own = keras.optimizers.SGD()

        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self.part(data) ** 2)
            weights = self.part.trainable_weights
            self.own.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            return {"loss": loss}

    trained = []
    for watched in (True, False):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = Pair()
        model.compile()
        callbacks = [kgrad.GradientMonitor(tmp_path / "run", verbose=0)] if watched else []
        model.fit(vectors[0], verbose=0, epochs=2, shuffle=False, callbacks=callbacks)
        trained.append(model)
    assert same_weights(*trained)
    assert caplog.text.count("GradientRecorder") == 1
    model.optimizer = None
    model.fit(vectors[0], verbose=0, callbacks=[kgrad.GradientMonitor(tmp_path / "run", verbose=0)])
    assert "the model has no optimizer" in caplog.text


@pytest.mark.parametrize(
    ("epochs", "trainable", "told"), [(0, True, "no step was made"), (1, False, "no trainable weights")]
)
def test_why_there_is_nothing_to_record(epochs, trainable, told, vectors, tmp_path, caplog):
    model = keras.Sequential([keras.Input((12,)), layers.Dense(3)])
    model.trainable = trainable
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = kgrad.GradientMonitor(tmp_path / "run", verbose=0, strict=True)
    model.fit(*vectors, verbose=0, epochs=epochs, callbacks=[watch])
    assert told in caplog.text
