"""Smoothing, label filters and events."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import (
    NOTHING,
    EventTracker,
    Selection,
    Smoother,
    events,
    smoothed,
)
from movinet_runtime.errors import LabelsError, UsageError

LABELS = ["idle", "squat", "wave"]


def stream(*rows: Sequence[float], fps: float = 5.0) -> list[Prediction]:
    """Predictions with given probabilities of squat and wave; idle takes the rest."""
    return [
        Prediction(i, np.log(np.array([1 - sum(row), *row], np.float32) + 1e-12), LABELS, i / fps)
        for i, row in enumerate(rows)
    ]


def test_smoothing() -> None:
    flicker = stream(*[(0.9 * (i % 2), 0.0) for i in range(40)])
    for options in ({"decay": 0.9}, {"mean": 10}):
        last = list(smoothed(flicker, **options))[-1]
        assert last.probabilities[1] == pytest.approx(0.45, abs=0.05)
        assert last.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert last.time == flicker[-1].time
    assert [p.logits is q.logits for p, q in zip(smoothed(flicker), flicker, strict=True)]
    for wrong in ({"decay": 1.0}, {"mean": -1}, {"decay": 0.5, "mean": 3}):
        with pytest.raises(UsageError):
            smoothed(flicker, **wrong)


def test_selection() -> None:
    (prediction,) = stream((0.3, 0.1))
    assert Selection().top(prediction, 2) == prediction.top(2)
    assert [n for n, _ in Selection.of(LABELS, deny=["idle"]).top(prediction, 3)] == [
        "squat",
        "wave",
    ]
    assert [n for n, _ in Selection.of(LABELS, allow=["wave"]).top(prediction, 3)] == ["wave"]
    assert Selection.of(LABELS, allow=["wave"], threshold=0.2).top(prediction) == []
    with pytest.raises(LabelsError, match="no label 'squats' in the model; did you mean 'squat'"):
        Selection.of(LABELS, allow=["squats"])


def test_an_action_starts_and_ends_once_though_it_flickers() -> None:
    squat = [0.1, 0.8, 0.1, 0.7, 0.8, 0.9, 0.45, 0.8, 0.2, 0.8, 0.2, 0.2, 0.2, 0.1]
    found = list(
        events(stream(*[(p, 0.0) for p in squat]), 0.6, 0.4, 0.4, Selection.of(LABELS, ["squat"]))
    )
    assert [event.kind for event in found] == ["start", "end"]
    start, end = found
    assert (start.label, start.index) == ("squat", 5)
    assert start.time == pytest.approx(0.6)  # the crossing, two frames before it was certain
    assert end.time == pytest.approx(2.0)
    assert end.duration == pytest.approx(1.4)
    assert end.probability == pytest.approx(0.9)


def test_what_is_active_at_the_end_ends_there() -> None:
    found = list(events(stream(*[(0.9, 0.0)] * 5), min_duration=0.2))
    end = found[-1]
    assert (end.kind, end.label, end.index) == ("end", "squat", 4)
    assert (end.time, end.probability, end.duration) == pytest.approx((0.8, 0.9, 0.8))
    with pytest.raises(UsageError, match="off <= on"):
        events([], on=0.4, off=0.5)


def test_events_need_times() -> None:
    """Frame numbers are no seconds: at 5 a second, 0.4 s would be over after every frame."""
    untimed = [Prediction(p.index, p.logits, p.labels) for p in stream(*[(0.9, 0.0)] * 5)]
    with pytest.raises(UsageError, match="events need times in seconds"):
        list(events(untimed))


def test_a_tracker_and_a_smoother_begin_anew() -> None:
    tracker = EventTracker(min_duration=0)
    found = [event.kind for p in stream(*[(0.9, 0.0)] * 3) for event in tracker.update(p)]
    assert found == ["start"]
    assert [(event.kind, event.label, event.time) for event in tracker.end()] == [
        ("end", "squat", 0.4)
    ]
    assert tracker.end() == []
    for smoother in (Smoother(decay=0.9), Smoother(mean=10)):
        smoother.update(stream((0.9, 0.0))[0])
        smoother.reset()
        (later,) = stream((0.1, 0.0))
        assert smoother.update(later).probabilities[1] == pytest.approx(0.1)


@given(
    st.lists(st.floats(0, 1), max_size=60),
    st.floats(0.1, 0.9),
    st.floats(0.1, 1.0),
    st.floats(0, 2),
)
def test_events_alternate_whatever_the_stream_does(
    squat: list[float], on: float, ratio: float, least: float
) -> None:
    predictions = stream(*[(p, 0.0) for p in squat])
    times: dict[str, float | None] = {}
    last = None
    for event in events(predictions, on, on * ratio, least):
        assert event.kind == ("start" if times.get(event.label) is None else "end")
        if event.kind == "end":
            assert event.duration is not None
            assert event.duration >= 0
            times[event.label] = None
        else:
            times[event.label] = event.time
        assert last is None or event.index >= last
        last = event.index
    assert not any(time is not None for time in times.values())


def test_nothing_is_an_answer_but_no_event() -> None:
    """Unless it is asked for by name."""
    labels = ["jump", NOTHING]
    frames = [
        Prediction(i, np.array(logits, np.float32), labels, i / 5)
        for i, logits in enumerate([[0.0, 9.0]] * 5 + [[9.0, 0.0]] * 5)
    ]
    assert frames[0].top()[0][0] == NOTHING
    found = list(events(frames))
    assert [(event.kind, event.label) for event in found] == [("start", "jump"), ("end", "jump")]
    asked = list(events(frames, selection=Selection.of(labels, allow=[NOTHING])))
    assert {event.label for event in asked} == {NOTHING}
