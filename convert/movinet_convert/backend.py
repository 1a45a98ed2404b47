"""Keras 3 on TensorFlow, imported without their announcements."""

import os

from movinet_runtime.quiet import native_messages_hidden

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with native_messages_hidden():
    import keras
    import tensorflow as tf
    from keras import ops
    from tensorflow.core.protobuf import trackable_object_graph_pb2 as graph_pb

    tf.config.list_physical_devices()  # looks for graphics cards, and says so

__all__ = ["graph_pb", "keras", "ops", "tf"]
