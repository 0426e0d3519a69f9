"""Trains a small network under a distribution strategy; run as a process of its own by the tests.

python distributed_script.py {one|mirrored|worker} RUN WEIGHTS
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import kgrad

kind, run, weights = sys.argv[1:4]
watched = run != "none"
strategy = None
if kind == "mirrored":
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
elif kind == "worker":
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
tf.config.experimental.enable_op_determinism()

generator = np.random.default_rng(0)
x = generator.integers(0, 9, (64, 12)).astype("int32")  # every batch holds repeated tokens, on both replicas
y = generator.integers(0, 3, 64)
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA


class OwnLogs(keras.Sequential):
    """Returns logs with an axis."""

    def train_step(self, data):
        return {name: tf.reshape(value, [1]) for name, value in super().train_step(data).items()}


def build():
    keras.utils.set_random_seed(0)
    kind_of_model = OwnLogs if kind == "worker" else keras.Sequential
    hidden = [keras.layers.Embedding(9, 4), keras.layers.Flatten(), keras.layers.Dense(8, activation="relu")]
    model = kind_of_model([keras.Input((12,), dtype="int32"), *hidden, keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


if strategy is None:
    model = build()
else:
    with strategy.scope():
        model = build()
if kind == "worker":
    # Keras 3.15's own fit fails across workers, with kgrad or without, at two places. It averages the first batch
    # over the workers before it builds: this model is built already, so nothing is lost by leaving that out. And it
    # averages the step's scalar logs along an axis that they lack: see OwnLogs.
    model.optimizer.build(model.trainable_variables)
    model._maybe_symbolic_build = lambda *_, **__: None
callbacks = [kgrad.GradientMonitor(run, report=False, verbose=0, strict=True)] if watched else []
model.fit(data.with_options(options), epochs=2, verbose=0, callbacks=callbacks)
np.savez(weights, *model.get_weights())
