"""Other ways of watching gradients, and what any way must pay: `overhead.py` measures them beside kgrad."""

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

# As `every=10`.
_EVERY = 10


class Pasted(keras.callbacks.Callback):
    """What people paste from the web: a fresh tape pass over the batch after every step."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        super().__init__()
        self._x, self._y, self._batch = x, y, batch
        self.norms: list[list[float]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Computes the gradient a second time, for the norms."""
        part = slice(batch * self._batch, (batch + 1) * self._batch)
        x, y = tf.constant(self._x[part]), tf.constant(self._y[part])
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(x, y, self.model(x, training=True))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.norms.append([float(np.linalg.norm(np.asarray(gradient))) for gradient in gradients])


class Normed(keras.Model):
    """A model whose training step returns the norm of each gradient as a metric."""

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step, as Keras' guide writes it."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        named = zip(self.trainable_variables, gradients, strict=True)
        return self.get_metrics_result() | {f"norm/{v.path}": tf.norm(gradient) for v, gradient in named}


class Switched(keras.callbacks.Callback):
    """Two plain training functions, of which each tenth call goes to the second: nothing is looked at."""

    def on_train_begin(self, logs: object = None) -> None:
        """Keras has made one function by now."""
        functions = [self.model.train_function]
        self.model.make_train_function(force=True)
        functions.append(self.model.train_function)
        calls = itertools.count()

        def switched(iterator: Iterator[object]) -> object:
            return functions[next(calls) % _EVERY == 0](iterator)

        self.model.train_function = switched


class Branched(keras.Model):
    """A model whose step has a condition on its gradients that holds in each tenth step, and does next to nothing."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self.seen = tf.Variable(tf.zeros(len(self.trainable_variables)), trainable=False)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The usual step; in the branch one number of each gradient is kept, which is little."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        chosen = tf.equal(tf.convert_to_tensor(self.optimizer.iterations) % _EVERY, 0)
        first = lambda: tf.stack([tf.reshape(gradient, [-1])[0] for gradient in gradients])  # noqa: E731
        self.seen.assign(tf.cond(chosen, first, lambda: tf.zeros(len(gradients))))
        self.optimizer.apply(gradients, self.trainable_variables)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        return self.get_metrics_result()
