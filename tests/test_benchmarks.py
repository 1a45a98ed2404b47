"""The benchmark's parts run, with two rounds: what they measure is not for tests."""

from pathlib import Path

import numpy as np

from movinet_benchmarks.peers import bare_invoke, signature_step
from movinet_benchmarks.timing import interleaved
from movinet_runtime import StreamClassifier


def test_steps_are_timed_interleaved(stream_model: Path) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    ours, theirs = StreamClassifier(stream_model), signature_step(stream_model)
    for frame in frames:  # both carry the state
        logits = np.asarray(theirs(frame))[0]
        np.testing.assert_allclose(ours.step(frame).logits, logits, atol=1e-3)
    steps = {"ours": ours.step, "theirs": theirs, "bare": bare_invoke(stream_model)}
    times = interleaved(steps, frames, rounds=2)
    assert times.keys() == steps.keys()
    assert all(len(values) == 2 and (values > 0).all() for values in times.values())
