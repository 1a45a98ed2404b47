"""The training loop itself: the averages that it trains with, stopping and going on, streams."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import movinet_convert.network as network_module
from movinet_convert.backend import keras, ops, tf
from movinet_convert.export import export
from movinet_convert.network import MoViNet, bounded_shares, load_into_network, scaled
from movinet_convert.parameters import random_weights
from movinet_convert.sources import load_weights
from movinet_convert.sources.keras import save_npz
from movinet_convert.training.batches import Batches
from movinet_convert.training.checkpoint import Checkpoint
from movinet_convert.training.cli import _plan
from movinet_convert.training.fit import Training, adopt_prior, norms
from movinet_convert.training.log import Log
from movinet_convert.training.plan import Epoch, Plan, best_epoch, read_prior, rises, stops
from movinet_convert.training.reading import Augmentation
from movinet_convert.training.start import begin
from movinet_convert.training.step import frame_by_frame
from movinet_convert.training.validation import Answers, Validator, streams_at_once
from movinet_models.clips import Collection, LabelledClip
from movinet_models.family import FAMILY, lookup
from movinet_models.figures import LABELS, clips, render
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import UsageError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.tensors import FRAME_COUNT

KINDS = ["clapping", "squat"]
PLAN = Plan(
    epochs=2, freeze=0, frames=6, batch=4, rate=1e-3, final_rate=0.1, start_resolution=32,
    patience=9, lead_in=5, horizon=3,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def shallow() -> Iterator[None]:
    """Three blocks of five, with every kind of layer: tracing and compiling them takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("a0", "a0lite", "a3", "t0"):
            patch.setitem(FAMILY, name, replace(FAMILY[name], blocks=FAMILY[name].blocks[:3]))
        yield


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Two classes, eight clips of each to learn from and four to choose by."""
    folder = tmp_path_factory.mktemp("fit")
    found = []
    for split, count in (("train", 8), ("validation", 4)):
        for clip in clips(split, count * len(LABELS)):
            if clip.label in KINDS:
                path = folder / f"{split}-{clip.index}.mp4"
                save_frames(path, render(clip, frames=7, side=40), 5)
                found.append(LabelledClip(path, clip.label, split))
    return Collection(found, KINDS, [])


def small(model_id: str = "a0-stream") -> MoViNet:
    keras.utils.set_random_seed(3)
    return MoViNet(model_id, len(KINDS), 32, KINDS, dropout=0.3)


def training(
    collection: Collection,
    path: Path,
    plan: Plan = PLAN,
    model_id: str = "a0-stream",
    **more: Any,
) -> Training:
    checkpoint = Checkpoint(path, {"plan": asdict(plan)})
    return Training(small(model_id), collection, plan, Augmentation(), checkpoint, **more)


def exported(folder: Path) -> None:
    """Write m.tflite, float32, of mine.keras."""
    export(
        lookup("a0-stream"),
        str(folder / "mine.keras"),
        {"float32": folder / "m.tflite"},
        long_frames=8,
    )


def values(network: MoViNet) -> list[np.ndarray]:
    return [variable.numpy() for variable in network.variables]


def recurrence(
    x: np.ndarray, horizon: int, before: np.ndarray | float = 0.0, count: int = 0
) -> np.ndarray:
    """The running mean as the runtime has it: [batch, time, ...], frame by frame."""
    average, averages = np.zeros_like(x[:, 0]) + before, []
    for t in range(x.shape[1]):
        average = average + (x[:, t] - average) / min(count + t + 1, horizon)
        averages.append(average)
    return np.stack(averages, axis=1)


def test_fit_bounds_averages_also_with_a_lead_in(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes through the graph that is trained, in batches of both lengths; and what it
    learnt answers, for any number of frames at once, as the runtime does frame by frame."""
    seen: list[tuple[np.ndarray, np.ndarray, float, np.ndarray]] = []
    plain = network_module._running_mean

    def recorded(x: Any, mean: Any, count: Any, horizon: int | None = None) -> Any:
        averages, last = plain(x, mean, count, horizon)

        def keep(*found: Any) -> np.ndarray:
            seen.append((*found[:3], found[3]))
            return cast(np.ndarray, found[3])

        if not tf.executing_eagerly():
            shape = averages.shape
            before = (tf.zeros_like(x[:, :1]), 0.0) if mean is None else (mean, count)
            kept = tf.numpy_function(keep, [x, *before, averages], tf.float32)
            averages = averages + tf.stop_gradient(kept - averages)
            averages.set_shape(shape)
        return averages, last

    with monkeypatch.context() as patch:
        patch.setattr(network_module, "_running_mean", recorded)
        trained = training(collection, tmp_path / "c.npz", replace(PLAN, epochs=1))
        trained.run()
    lengths = {(x.shape[1], int(count)) for x, _, count, _ in seen}
    trained_with = {(PLAN.lead_in, 0), (PLAN.frames, PLAN.lead_in), (PLAN.frames, 0)}
    judged_with = {(PLAN.frames, done * PLAN.frames) for done in range(len(trained.validation))}
    assert lengths == trained_with | judged_with
    for x, before, count, averages in seen:
        assert (before != 0).any() == (count > 0)
        wanted = recurrence(x, PLAN.horizon, before[:, 0], int(count))
        np.testing.assert_allclose(averages, wanted, rtol=1e-5, atol=1e-6)

    network = trained.network
    network.clip_frames, network.horizon = PLAN.frames, PLAN.horizon
    network.save(tmp_path / "mine.keras")
    exported(tmp_path)
    frames = render(next(iter(clips("test", 1))), frames=20, side=32)
    video = np.stack(frames)[None] / np.float32(255)
    logits = network.stream(video, horizon=PLAN.horizon)[0].numpy()[0]
    runtime = StreamClassifier(tmp_path / "m.tflite")
    assert runtime.horizon == PLAN.horizon
    by_frame = np.stack([runtime.step(frame).logits for frame in frames])
    np.testing.assert_allclose(by_frame, logits, atol=1e-5 * float(np.ptp(logits)))


@pytest.mark.parametrize("lead_in", [0, 5])
def test_a_lead_in_is_the_stream_before_without_a_gradient(lead_in: int) -> None:
    """Also in a graph that does not know the number of frames."""
    network = small()
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2, lead_in + 6, 32, 32, 3), dtype=np.uint8)
    pictures = video / np.float32(255)
    states = network.stream(pictures[:, :lead_in], horizon=3)[1] if lead_in else None
    wanted = network.stream(pictures[:, lead_in:], states, horizon=3)[0].numpy()
    any_length = tf.TensorSpec((2, None, 32, 32, 3), tf.uint8)
    graph = tf.function(lambda x: frame_by_frame(network, x, 6, 3), input_signature=[any_length])
    for answer in (graph, lambda x: frame_by_frame(network, x, 6, 3)):
        found = answer(tf.constant(video)).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.ptp(wanted))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_no_gradient_passes_a_lead_in(policy: str) -> None:
    """That of the clip alone, begun with the states that the network in inference gives."""
    keras.config.set_dtype_policy(policy)
    try:
        network = small()
        network.dropout.rate = 0.0
        rng = np.random.default_rng(0)
        video = rng.integers(0, 256, (2, 11, 32, 32, 3), dtype=np.uint8)
        pictures = video / np.float32(255)
        variables = [variable.value for variable in network.trainable_variables]
        states = network.stream(pictures[:, :5], horizon=3)[1]
        before = {name: tf.constant(state.numpy()) for name, state in states.items()}
        with tf.GradientTape() as tape:
            logits = network.stream(pictures[:, 5:], before, training=True, horizon=3)[0]
            wanted = tape.gradient(tf.reduce_sum(logits[..., 0]), variables)
        network = small()  # the first pass has moved the norms' statistics
        network.dropout.rate = 0.0
        variables = [variable.value for variable in network.trainable_variables]
        with tf.GradientTape() as tape:
            logits = frame_by_frame(network, tf.constant(video), 6, 3, training=True)
            found = tape.gradient(tf.reduce_sum(logits[..., 0]), variables)
    finally:
        keras.config.set_dtype_policy("float32")
    scale = max(float(np.abs(value).max()) for value in wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * scale)


@pytest.mark.parametrize("horizon", [1, 2, 5, 10, 50])
@pytest.mark.parametrize("cuts", [[30], [1] * 30, [3, 7, 20], [19, 11]])
def test_shares_go_on_from_any_count(horizon: int, cuts: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    wanted = recurrence(x[None], horizon)[0]
    mean, done, got = np.zeros(4), 0, []
    for cut in cuts:
        held = min(done, horizon)  # as the runtime holds the count
        count = held if done % 2 else done
        shares, of_mean = bounded_shares(cut, count, horizon)
        averages = shares.numpy() @ x[done : done + cut] + of_mean.numpy()[:, None] * mean
        mean, done = averages[-1], done + cut
        got.append(averages)
    np.testing.assert_allclose(np.concatenate(got), wanted, atol=2e-6)


def test_kept_statistics_stay_and_training_computes_with_them(
    collection: Collection, tmp_path: Path
) -> None:
    """Training answers as validation does, and only what has a gradient moves."""
    plan = replace(PLAN, epochs=1, lead_in=0, keep_statistics=True)
    trained = training(collection, tmp_path / "c.npz", plan, LITE)
    network, (video, *_) = trained.network, trained.validation[0]
    network.dropout.rate = 0.0
    rng = np.random.default_rng(0)
    for norm in norms(network):
        for moving in (norm.moving_mean, norm.moving_variance):
            moving.assign(rng.uniform(0.5, 1.5, moving.shape))

    def answers(learning: bool) -> np.ndarray:
        return cast(np.ndarray, network.stream(scaled(video), training=learning)[0].numpy())

    np.testing.assert_array_equal(answers(True), answers(False))
    before = values(network)
    trained.run()
    moved = {
        kind: {
            not np.array_equal(old, variable.numpy())
            for old, variable in zip(before, network.variables, strict=True)
            if variable.name.startswith(kind)
        }
        for kind in ("moving", "kernel", "gamma")
    }
    assert moved["moving"] == {False}
    assert True in moved["kernel"] & moved["gamma"]
    for norm in norms(network):
        norm.kept = False
    assert np.abs(answers(True) - answers(False)).max() > 1e-3


def test_the_prior_comes_last(collection: Collection, tmp_path: Path) -> None:
    """The checkpoint has the weights without it: a training that is resumed has it once."""
    label = collection.labels[1]
    plan = replace(PLAN, epochs=1, lead_in=0, prior={label: 20.0})
    trained = training(collection, tmp_path / "c.npz", plan, LITE)
    answers = trained.run()
    network = trained.network
    rise = network.parameters()["classifier/bias"].numpy()
    with_prior = network.stream(scaled(trained.validation[0][0]))[0][:, -1]
    trained.resume()
    rise -= network.parameters()["classifier/bias"].numpy()
    np.testing.assert_allclose(rise, np.log([1, 20]), atol=1e-6)
    # Saerens et al. (2002), eq. 2.4: p(class) times its new share of the clips, shared out anew.
    probability = ops.softmax(network.stream(scaled(trained.validation[0][0]))[0][:, -1]).numpy()
    probability[:, 1] *= 20
    wanted = probability / probability.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ops.softmax(with_prior).numpy(), wanted, rtol=1e-4)
    resumed = trained.run()  # nothing is left to train
    again = network.stream(scaled(trained.validation[0][0]))[0][:, -1]
    np.testing.assert_allclose(again, with_prior, atol=1e-5)
    np.testing.assert_allclose(resumed.logits, answers.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("wave", "say CLASS=TIMES"),
        ("nothin=20", "no class 'nothin' in the clips"),
        ("a=b=many", "'many' is no number"),
        ("nothing=0", "above 0"),
        ("nothing=nan", "above 0"),
        ("nothing=2e6", "1,000,000 at most"),
        ("clap=3", "'clap' twice"),
    ],
)
def test_what_is_no_prior(pair: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read_prior(["clap=2", pair], ["nothing", "a=b", "clap"], False)


def test_what_is_a_prior() -> None:
    found = read_prior(["a=b=2", "nothing=.5"], ["nothing", "a=b", "c"], False)
    assert found == {"a=b": 2.0, "nothing": 0.5}
    np.testing.assert_allclose(rises(found, ["nothing", "a=b", "c"]), np.log([0.5, 2, 1]))
    with pytest.raises(UsageError, match="exclude each other"):
        read_prior(["nothing=20"], ["nothing"], True)


@pytest.mark.parametrize("ending", ["keras", "npz", "tflite"])
def test_a_prior_is_taken_out_before_training_goes_on(ending: str, tmp_path: Path) -> None:
    spec, labels = lookup(LITE).at(32), ["clapping", "nothing"]
    network = load_into_network(spec, random_weights(spec, 2), labels)
    plain = network.parameters()["classifier/bias"].numpy()
    adopt_prior(network, {"nothing": 20.0})
    path = tmp_path / f"m.{ending}"
    network.save(path.with_suffix(".keras"))
    loaded = load_weights(str(path.with_suffix(".keras")), spec)
    np.testing.assert_allclose(loaded.weights["classifier/bias"] - plain, [0, np.log(20)], 1e-6)
    if ending == "npz":
        save_npz(loaded, path)
    elif ending == "tflite":
        names = ["applause", "nobody"]
        keras_file = str(path.with_suffix(".keras"))
        export(spec, keras_file, {"float32": path}, long_frames=2, labels=names)
        about = ModelFile.read(path).description
        assert about is not None
        assert about.prior == {"nobody": 20.0}
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "inspect", str(path)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "nobody 20 times as often as each that is not named" in " ".join(shown.split())
    start = begin(spec, str(path), labels, dropout=0.0)
    np.testing.assert_allclose(start.network.parameters()["classifier/bias"], plain, atol=1e-6)
    assert start.network.prior is None


def test_options_reach_the_plan(collection: Collection) -> None:
    prior = {collection.labels[0]: 20.0}
    given: dict[str, Any] = asdict(
        replace(PLAN, keep_statistics=True, ema=0.9, weight_cap=3.0, prior=prior)
    )
    del given["independent"], given["weight_decay"], given["warmup"]
    said = given | {"prior": [f"{collection.labels[0]}=20"]}
    plan = _plan(lookup("a0-stream"), collection, weights="mine.keras", **said)
    assert {name: getattr(plan, name) for name in given} == given


# The classifier alone, then all; averages of the weights; every random thing.
STOPPED = replace(PLAN, epochs=2, freeze=1, lead_in=0, ema=0.9)
LITE = "a0lite-stream"  # has the fewest operators to compile


@pytest.fixture(scope="module")
def stopped(
    collection: Collection, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Training]:
    """The checkpoint of a training that was stopped within its first epoch, and a whole one."""
    folder = tmp_path_factory.mktemp("stopped")
    whole = training(collection, folder / "whole.npz", STOPPED, LITE)
    whole.run()
    cut = training(collection, folder / "cut.npz", STOPPED, LITE, save_every=0.0)

    def stop(done: int, steps: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.run(stop)
    return folder / "cut.npz", whole


def test_a_resumed_training_is_the_uninterrupted_one(
    collection: Collection, tmp_path: Path, stopped: tuple[Path, Training]
) -> None:
    """The same weights and the same history, to the last bit but for the loss's mean."""
    path, whole = stopped
    shutil.copy(path, tmp_path / "c.npz")
    resumed = training(collection, tmp_path / "c.npz", STOPPED, LITE)
    resumed.resume()
    assert not resumed.history
    resumed.run()
    for one, other in zip(values(whole.network), values(resumed.network), strict=True):
        np.testing.assert_array_equal(one, other)
    for before, after in zip(whole.history, resumed.history, strict=True):
        same = {"seconds": 0, "loss": 0, "accuracy": 0}
        assert replace(before, **same) == replace(after, **same)
        assert after.loss == pytest.approx(before.loss, abs=2e-4)


def test_averages_are_judged_and_training_goes_on_without_them(
    stopped: tuple[Path, Training],
) -> None:
    with np.load(stopped[0].with_name("whole.npz")) as file:
        count = sum(name.startswith("best/") for name in file.files)
        differs = [
            not np.array_equal(file[f"best/{i}"], file[f"weights/{i}"]) for i in range(count)
        ]
    assert sum(differs) > count / 3  # the others are batch statistics, counters and seeds


def test_a_checkpoint_says_what_differs_and_when_it_is_damaged(
    collection: Collection, tmp_path: Path, stopped: tuple[Path, Training]
) -> None:
    path = tmp_path / "c.npz"
    raw = stopped[0].read_bytes()
    path.write_bytes(raw)
    with pytest.raises(UsageError, match=r"plan batch was 4, is 2; plan epochs was 2, is 3"):
        training(collection, path, replace(STOPPED, batch=2, epochs=3), LITE).resume()
    fresh = training(collection, path, STOPPED, LITE)
    for content in (raw[: len(raw) // 2], b"", b"nothing", raw[:100] + bytes(100) + raw[200:]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot resume from"):
            fresh.resume()
    path.write_bytes(raw)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "weights/0"}
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match="do not fit the network"):
        fresh.resume()


def test_streams_are_judged_as_the_runtime_shows_them(
    collection: Collection, tmp_path: Path
) -> None:
    """Two streams of four clips, against the exported file that carries its states."""
    network = small()
    network.horizon = PLAN.horizon
    network.save(tmp_path / "mine.keras")
    exported(tmp_path)
    held = collection.of("validation")
    batches = Batches(held, KINDS, 5.0, 6, 32, 2)
    alone, streams = Validator(network, batches, PLAN.horizon).answers()
    assert streams is not None
    runtime = [StreamClassifier(tmp_path / "m.tflite") for _ in range(2)]
    for number in range(len(batches)):
        video, truth, _ = batches[number]
        for i, classifier in enumerate(runtime):
            which = 2 * number + i
            logits = [classifier.step(picture).logits for picture in video[i]][-1]
            np.testing.assert_array_equal(alone.truth[which], truth[i, -1] > 0)
            scale = float(np.ptp(streams.logits))
            np.testing.assert_allclose(streams.logits[which], logits, atol=1e-4 * scale)
            if number:
                assert np.abs(alone.logits[which] - logits).max() > 1e-4 * scale


def test_streams_are_long_even_of_few_clips() -> None:
    assert [streams_at_once(n, 8) for n in (1, 9, 25, 80, 5000)] == [1, 1, 2, 8, 8]


def test_figures_of_answers() -> None:
    """By hand, and average precision by scikit-learn's definition."""
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]], np.float32))
    shown = np.array([[True, False, False], [False, True, False], [False, True, False]])
    answers = Answers(shown, logits)
    assert answers.top1() == pytest.approx(2 / 3)
    assert answers.macro() == pytest.approx(0.75)
    assert answers.top5() is None
    assert answers.loss() == pytest.approx(-np.log([0.7, 0.4, 0.8]).mean(), abs=1e-6)
    assert answers.average_precisions() == [pytest.approx(1.0), pytest.approx(1.0), None]
    assert answers.mean_average_precision() == pytest.approx(1.0)
    last = np.eye(6, dtype=bool)[[5, 5]]
    many = Answers(last, np.array([[5, 4, 3, 2, 1, 0.0], [0, 0, 0, 0, 0, 9.0]]))
    assert (many.top1(), many.top5()) == (0.5, 0.5)


def test_answers_that_tie_are_taken_together() -> None:
    """scikit-learn's average_precision_score([1, 0, 1, 0], [x, x, x, x]) is 0.5, in any order."""
    for shown in ([1, 1, 0, 0], [0, 0, 1, 1]):
        truth = np.array([shown, [1, 0, 0, 0]], bool).T
        tied = Answers(truth, np.zeros((4, 2), np.float32), independent=True)
        assert tied.average_precisions() == [pytest.approx(0.5), pytest.approx(0.25)]
    rare = np.array([[-9.0], [-12.0], [-12.0], [-13.0]], np.float32)
    for count in (1, 3, 4):  # the best cut may be below the last clip, and anywhere near 0
        truth = np.zeros((5, 1), bool)
        truth[:count] = True
        answers = Answers(truth, np.concatenate([rare, [[-20.0]]]), independent=True)
        chosen = 1 / (1 + np.exp(-answers.logits[:, 0])) >= answers.thresholds()[0]
        assert chosen.sum() == count


def epoch(**more: Any) -> Epoch:
    known: dict[str, Any] = dict.fromkeys(Epoch.__dataclass_fields__, 0.5)
    return Epoch(**known | more)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("top1", "val_accuracy"),
        ("macro", "val_macro"),
        ("map", "val_map"),
        ("stream", "val_stream"),
    ],
)
def test_the_best_epoch_is_that_of_the_metric(metric: Any, name: str) -> None:
    history = [epoch(), epoch(**{name: 0.9}), epoch(**{name: 0.9}, val_loss=0.1), epoch()]
    assert best_epoch(history, metric) == 2
    assert stops(history, replace(PLAN, best=metric, patience=1))
    assert not stops(history, replace(PLAN, best=metric, patience=2))


def test_a_log_for_tables_and_tensorboard(tmp_path: Path) -> None:
    history = [epoch(val_stream=None), epoch(loss=0.25, val_stream=None)]
    with Log(tmp_path) as log:  # of an earlier training
        log.add(history)
    for count in (1, 2):
        with Log(tmp_path, resume=count > 1) as log:
            log.add(history[:count])
    with (tmp_path / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert (rows[1]["loss"], rows[1]["val_stream"]) == ("0.25", "")
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 2
    found = {
        (event.step, value.tag): float(tf.make_ndarray(value.tensor))
        for events in files
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars" or event.step == 2
    }
    assert (found[1, "loss"], found[2, "loss"]) == (0.5, 0.25)
    assert not any(tag == "val_stream" for _, tag in found)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_computes_the_same_with_weights_in_float32(policy: str) -> None:
    """A3 has the positional encoding too; averages over 70 frames stay exact."""
    for model_id in ("a0-stream", "a3-stream", "t0-base"):
        spec = lookup(model_id).at(32)
        weights = random_weights(spec, 3, seed=1)
        whole = load_into_network(spec, weights)
        keras.config.set_dtype_policy(policy)
        try:
            half = load_into_network(spec, weights)
        finally:
            keras.config.set_dtype_policy("float32")
        video = np.random.default_rng(0).random((1, 70, 32, 32, 3), np.float32)
        exact, near = (net.stream(video, horizon=50)[0].numpy() for net in (whole, half))
        assert near.dtype == np.float32
        assert {v.dtype for v in half.trainable_variables} == {"float32"}
        assert np.abs(near - exact).max() < 0.1 * np.ptp(exact)
        if spec.streams:
            _, states = half.stream(video[:, :40], horizon=50)
            states[FRAME_COUNT] = states[FRAME_COUNT] + 4096  # no half has 4097
            carried, states = half.stream(video[:, 40:41], states, horizon=5000)
            assert float(states[FRAME_COUNT]) == 4137
            assert np.isfinite(carried.numpy()).all()
