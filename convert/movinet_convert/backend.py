"""Keras 3 on TensorFlow, imported without their announcements."""

import os
from typing import Any

from movinet_runtime.quiet import native_messages_hidden

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with native_messages_hidden():
    import keras
    import tensorflow as tf
    from keras import ops
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.core.protobuf import trackable_object_graph_pb2 as graph_pb

    tf.config.list_physical_devices()  # looks for graphics cards, and says so

__all__ = [
    "devices_in_step",
    "fused_batch_norm",
    "graph_pb",
    "keras",
    "ops",
    "saved_model_pb2",
    "shared_batch_norm",
    "skip_graph_optimization",
    "tf",
]


def devices_in_step() -> int:
    """Return how many devices share out what is being computed."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def fused_batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalize [n, h, w, c] by its own statistics; also return mean and variance [c]."""
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, epsilon=epsilon, is_training=True
    )
    return y, mean, variance


def shared_batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """As :func:`fused_batch_norm`, by the statistics of what all devices have."""
    context = tf.distribute.get_replica_context()
    values = tf.cast(x, tf.float32)
    own = [tf.reduce_mean(values, (0, 1, 2)), tf.reduce_mean(tf.square(values), (0, 1, 2))]
    mean, square = context.all_reduce("MEAN", own)
    variance = square - tf.square(mean)
    y = tf.nn.batch_normalization(values, mean, variance, beta, gamma, epsilon)
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]) * context.num_replicas_in_sync, tf.float32)
    return tf.cast(y, x.dtype), mean, variance * count / (count - 1)


def skip_graph_optimization() -> None:
    """Spare a training graph TensorFlow's rewriting: half a minute a shape, and no faster."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
