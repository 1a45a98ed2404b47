"""Make SavedModels in the layout of the hub that run: our network under its signatures."""

from pathlib import Path
from unittest.mock import patch

import numpy as np

from movinet_convert.backend import tf
from movinet_convert.network import load_into_network
from movinet_convert.parameters import Weights
from movinet_models.family import Gate, ModelSpec
from tests.reference import reference_name


def published_name(name: str) -> str:
    """Return a variable's name as the hub's models of 2021 have it."""
    block, slash, rest = reference_name(name, streams=True).partition("/")
    if block.startswith("block"):
        block = block.replace("block", "b").replace("_layer", "/l")
    return block + slash + rest


def keras_2(x, gate):  # type: ignore[no-untyped-def]
    """Keras 2's hard_sigmoid."""
    return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


def sixth(x, gate):  # type: ignore[no-untyped-def]
    """Model Garden's hard_sigmoid."""
    return tf.nn.relu6(x + 3.0) * 0.16667


def save(
    folder: Path, spec: ModelSpec, weights: Weights, gate: Gate = "sixth", answer: float = 1.0
) -> Path:
    """Write a SavedModel whose own answers are ``answer`` times those of its weights.

    The gate of 2021 is written as Keras 2 wrote it, not as this toolkit does.
    """
    with patch("movinet_convert.network.hard_sigmoid", keras_2 if gate == "fifth" else sixth):
        network = load_into_network(spec, weights, gate=gate)
    module = tf.Module()
    module.named = []
    for name, variable in network.parameters().items():
        variable._value = tf.Variable(np.asarray(variable), name=published_name(name))
        module.named.append(variable._value)
    side = spec.resolution
    image = tf.TensorSpec((1, None, side, side, 3), tf.float32, "image")
    if not spec.streams:

        @tf.function(input_signature=[image])
        def serve(image):  # type: ignore[no-untyped-def]
            return {"classifier_head": network.stream(image)[0][:, 0] * answer}

        signatures = {"serving_default": serve}
    else:
        _, first = network.stream(np.zeros((1, 1, side, side, 3), np.float32))
        shapes = {name: tuple(value.shape) for name, value in first.items()}

        @tf.function(input_signature=[tf.TensorSpec(5, tf.int32, "input_shape")])
        def init_states(input_shape):  # type: ignore[no-untyped-def]
            return {name: tf.zeros(shape) for name, shape in shapes.items()}

        def call(image, **states):  # type: ignore[no-untyped-def]
            logits, new = network.stream(image, states)
            return {"logits": logits[:, 0] * answer} | new

        specs = {name: tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items()}
        one = tf.TensorSpec((1, 1, side, side, 3), tf.float32, "image")
        signatures = {
            "call": tf.function(call).get_concrete_function(one, **specs),
            "init_states": init_states,
        }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder
