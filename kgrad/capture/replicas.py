"""Distributed training: which process records, which replica, and what is refused."""

from typing import Any

import keras
import tensorflow as tf

from kgrad.errors import CaptureError


def is_recording(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run: the chief does, the other workers do nothing at all."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return bool(resolver.task_type == "chief")
    return bool(resolver.task_type == "worker" and resolver.task_id == 0)


def refuse_unsupported(strategy: tf.distribute.Strategy, optimizer: keras.optimizers.Optimizer) -> None:
    """Raises where several replicas train in a way whose aggregated gradient cannot be seen.

    Raises:
        CaptureError: with what to do instead.
    """
    kind = type(strategy).__name__
    if "TPU" in kind or "ParameterServer" in kind:
        raise CaptureError(f"gradients cannot be recorded under {kind}; train under MirroredStrategy or on one device")
    if strategy.num_replicas_in_sync == 1:
        return
    if hasattr(optimizer, "inner_optimizer"):
        raise CaptureError(
            "gradients cannot be recorded under a LossScaleOptimizer on several replicas: they are aggregated inside "
            "a branch of the graph; use mixed_bfloat16, or record on one replica"
        )
    if optimizer.gradient_accumulation_steps:
        raise CaptureError(
            "gradients cannot be recorded with gradient_accumulation_steps on several replicas: they are aggregated "
            "inside a branch of the graph; use larger batches, or record on one replica"
        )


def replica() -> int:
    """The number of the replica whose step is being traced or run; 0 without distribution."""
    context = tf.distribute.get_replica_context()
    number = getattr(context, "_replica_id_in_sync_group", 0) if context is not None else 0
    return int(number) if isinstance(number, int) else int(tf.get_static_value(number) or 0)


def whole_loss(loss: Any, strategy: tf.distribute.Strategy) -> Any:
    """The loss of the whole batch from a replica's share of it.

    Keras divides the loss by the number of replicas. Within one process the shares are summed. Across workers they
    are not, since the workers that record nothing must not be asked to take part: there the chief's own share,
    multiplied, stands for the whole.
    """
    if strategy.num_replicas_in_sync == 1:
        return loss
    if strategy.cluster_resolver is not None and strategy.cluster_resolver.task_type:
        return loss * float(strategy.num_replicas_in_sync)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, loss)
