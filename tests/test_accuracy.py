"""``movinet accuracy`` on lists, base models and a file that no one here made."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.accuracy import Judge, Score, interval, judges, rank
from movinet_benchmarks.accuracy_cli import score_table
from movinet_benchmarks.clip_model import ClipModel, load_model
from movinet_benchmarks.protocol import Protocol, as_published, bilinear, filled, middle
from movinet_convert import clip_graph, flatbuffer, metadata
from movinet_convert.parameters import random_weights
from movinet_convert.sources import LoadedWeights, load_weights
from movinet_models.clips import LabelledClip
from movinet_models.family import lookup
from movinet_models.lists import KineticsClip, ListedClip, format_kinetics, format_list
from movinet_runtime import StreamClassifier, StreamModel, open_frames, read_labels
from movinet_runtime.errors import ModelFileError, UsageError
from movinet_runtime.outputs.video import save_frames

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
PUBLISHED = "published/movinet_a0_stream_int8.tflite"
# What the four clips show, and the least that the published file gives it.
REAL = {
    "carving_ice.mp4": ("carving ice", 0.97),
    "jumpingjack.gif": ("jumping jacks", 0.99),
    "arm_wrestling.mp4": ("arm wrestling", 0.99),
    "cleaning_pool.mp4": ("cleaning pool", 0.98),
}
BASE_FRAMES = 4


def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MOVINET, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def published(shared: Path) -> StreamModel:
    labels = read_labels(shared / "reference/kinetics600_labels.txt")
    return StreamModel(shared / PUBLISHED, labels=labels)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base model of four labelled classes, random weights."""
    spec, labels = lookup("a0-base").at(64), ["a", "b", "c", "d"]
    loaded = LoadedWeights(random_weights(spec, 4), "random:0", "0" * 64)
    graph = clip_graph.build(spec, loaded.weights, BASE_FRAMES)
    about = metadata.of_variant(metadata.describe(spec, loaded, labels), "float32", graph)
    content = flatbuffer.serialize(graph, spec.id, metadata.buffers(about, graph))
    path = tmp_path_factory.mktemp("base") / "base.tflite"
    path.write_bytes(metadata.with_labels(content, labels))
    return path


def noise(count: int, side: int = 64, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))


@pytest.mark.parametrize("name", REAL)
def test_the_published_file_labels_real_clips(
    published: StreamModel, shared: Path, name: str
) -> None:
    classifier = StreamClassifier(published)
    for frame in open_frames(shared / "clips" / name).sampled(classifier.fps):
        prediction = classifier.step(frame.image, frame.time)
    ((label, probability),) = prediction.top(1)
    expected, least = REAL[name]
    assert label == expected
    assert probability > least


@pytest.mark.parametrize("options", [[], ["--published"]], ids=["as here", "as published"])
@pytest.mark.parametrize("kind", ["kinetics", "names", "indices"])
def test_the_published_file_on_a_list(
    shared: Path, tmp_path: Path, kind: str, options: list[str]
) -> None:
    labels = shared / "reference/kinetics600_labels.txt"
    names = read_labels(labels)
    if kind == "kinetics":
        data = tmp_path / "kinetics.csv"
        rows = [
            KineticsClip(label.title(), name.partition(".")[0], 0, 12, "validation")
            for name, (label, _) in REAL.items()
        ]
        gone = KineticsClip("archery", "abcdefghijk", 1, 11, "validation")
        data.write_text(format_kinetics([*rows, gone]), "utf-8")
    else:
        data = tmp_path / "val.txt"
        lines = [
            ListedClip(name, label if kind == "names" else names.index(label))
            for name, (label, _) in REAL.items()
        ]
        data.write_text(format_list([*lines, ListedClip("gone.mp4", "archery")]), "utf-8")
    given = ["--data", data, "--videos", shared / "clips", "--labels", labels, *options]
    done = movinet("accuracy", shared / PUBLISHED, *given, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["top1"], row["top5"], row["clips"], row["missing"]) == (1.0, 1.0, 4, 1)
    assert (row["low"], row["high"]) == (row["top5_low"], row["top5_high"]) == interval(4, 4)
    assert row["protocol"]["fps"] == 5
    assert row["protocol"]["antialias"] == (not options)
    assert "1 of 5 videos are missing" in done.stderr
    assert ("spelt in another way" in done.stderr) == (kind == "kinetics")
    assert ("4 clips are the seconds of a whole video" in done.stderr) == (kind == "kinetics")


def test_a_base_model_sees_its_frames_at_once(base_model: Path, tmp_path: Path) -> None:
    model = load_model(base_model)
    assert isinstance(model, ClipModel)
    assert (model.frames, model.size, model.fps) == (BASE_FRAMES, (64, 64), 5.0)
    frames = noise(6)
    assert filled(frames[:2], 4)[3] is frames[1]
    short, repeated = model.classify(frames[:2]), model.classify([*frames[:2], frames[1]])
    np.testing.assert_array_equal(short, repeated)
    np.testing.assert_array_equal(model.classify(frames), model.classify(frames[:4]))
    assert np.abs(short - model.classify(frames)).max() > 1e-4

    save_frames(tmp_path / "clip.gif", frames, 5.0)
    listed = tmp_path / "list.txt"
    listed.write_text("clip.gif 3\nclip.gif A\n", "utf-8")
    done = movinet("accuracy", base_model, "--data", listed, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["clips"], row["top1"], row["top5"]) == (2, row["top1"], None)
    done = movinet("accuracy", base_model, "--data", listed, "--frames", 3)
    assert "base.tflite is a base model: the first 4 of these frames" in done.stdout
    assert "5 frames a second, 64 x 64, the first 3 frames, crop with antialiasing" in done.stdout
    for options, message in [
        (["--mode", "stream"], "has no states: a base model takes only --mode clips"),
        (["--horizon", "9"], "has no states, and so no --horizon"),
        (["--fit", "cover"], "--fit is crop, stretch, pad, not 'cover'"),
        (["--fit", "pad", "--published"], "--published has a fit of its own"),
    ]:
        done = movinet("accuracy", base_model, "--data", listed, *options)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    listed.write_text("gone.gif 3\n", "utf-8")
    done = movinet("accuracy", base_model, "--data", listed)
    assert (done.returncode, "none of its 1 videos is there" in done.stderr) == (2, True)
    listed.write_text("clip.gif a\nclip.gif archery\n", "utf-8")
    done = movinet("accuracy", base_model, "--data", listed)
    assert done.returncode == 2
    assert "list.txt, line 2: " in done.stderr
    assert "does not know 'archery'" in done.stderr


def test_nan_is_never_right(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ClipModel(base_model)
    (judge,) = judges([model], ["a"], ["clips"])
    for bad in (np.nan, np.inf):
        monkeypatch.setattr(model, "classify", lambda video, bad=bad: np.array([bad, 0, 0, 0]))
        with pytest.raises(ModelFileError, match=r"NaN or infinite logits for clip\.mp4"):
            judge.show(noise(1), ["a"], "clip.mp4")
    assert judge.score.of() == (0, 0)


def test_the_rank_of_a_label() -> None:
    logits = np.array([1, 3, 3, 0], np.float32)
    assert [rank(logits, i) for i in range(4)] == [2, 0, 1, 3]
    assert rank(logits, int(logits.argmax())) == 0


def test_five_of_five_is_no_figure(stream_model: Path) -> None:
    few, many = (Score(Path("m"), "clips", np.eye(n, dtype=np.int64), in_top=n) for n in (5, 6))
    assert (few.of_top(), many.of_top()) == (None, 6)
    assert [next(iter(column.cells)) for column in score_table([few]).columns][-2:] == ["-", "-"]
    (judge,) = judges([StreamModel(stream_model)], ["Action_3"], ["clips"])
    assert isinstance(judge, Judge)
    assert judge.respelt == {"Action_3": "action 3"}
    for seed in range(4):
        judge.show(noise(2, seed=seed), ["Action_3"])
    assert judge.score.of()[0] <= judge.score.in_top <= 4


def test_wilson() -> None:
    """Against the interval's own equation: |p - share| = z * sqrt(p (1 - p) / n)."""
    for right, clips in ((0, 5), (4, 4), (7, 9), (720, 1000)):
        for bound in interval(right, clips):
            distance = abs(bound - right / clips)
            bound = min(max(bound, 0.0), 1.0)
            assert distance == pytest.approx(1.96 * (bound * (1 - bound) / clips) ** 0.5, abs=1e-7)


def test_the_published_resize_is_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    image = noise(1, side=97)[0][:, :71]
    for size in ((40, 33), (97, 60), (130, 200)):
        theirs = tf.cast(tf.image.resize(image, size), tf.uint8).numpy()
        np.testing.assert_array_equal(bilinear(image, size), theirs)


def test_the_published_cut() -> None:
    image = noise(1, side=320)[0][:240]
    seen = as_published(image, (172, 172))
    np.testing.assert_array_equal(seen, bilinear(image, (192, 256))[10:182, 42:214])
    assert as_published(image[:, :200], (96, 96)).shape == (96, 96, 3)
    assert middle(10, 4) == [3, 4, 5, 6]
    assert middle(3, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_protocols(tmp_path: Path) -> None:
    frames = noise(6, side=32)
    save_frames(tmp_path / "clip.gif", frames, 5.0)
    clip = LabelledClip(tmp_path / "clip.gif", "a")
    assert len(Protocol(5.0, (16, 16)).read(clip)) == 6
    assert len(Protocol(5.0, (16, 16), frames=2).read(clip)) == 2
    shown = Protocol(5.0, (16, 16), frames=8, published=True)
    video = shown.read(clip)
    assert len(video) == 8
    np.testing.assert_array_equal(video[6], video[0])
    assert "shorter side to 18 without antialiasing" in shown.describe()
    assert shown.as_json()["fit"] == "published"


def test_models_that_are_neither(tmp_path: Path, stream_model: Path) -> None:
    assert isinstance(load_model(stream_model), StreamModel)
    (tmp_path / "no.tflite").write_bytes(b"none")
    with pytest.raises(ModelFileError, match="is no TFLite model"):
        load_model(tmp_path / "no.tflite")
    with pytest.raises(UsageError, match="a base model takes only"):
        judges([_base_like()], ["a"], ["single"])


def _base_like() -> ClipModel:
    model = ClipModel.__new__(ClipModel)
    model.path, model.labels = Path("m.tflite"), ["a"]
    return model


def test_a_base_model_answers_as_the_reference_does(shared: Path, tmp_path: Path) -> None:
    spec, golden = lookup("a0-base"), np.load(shared / "reference/a0_base/golden.npz")
    loaded = load_weights(str(shared / "reference/a0_base/ckpt"), spec)
    graph = clip_graph.build(spec, loaded.weights, len(golden["frames"]))
    about = metadata.of_variant(metadata.describe(spec, loaded, None), "float32", graph)
    named = metadata.buffers(about, graph)
    path = tmp_path / "a0-base.tflite"
    path.write_bytes(flatbuffer.serialize(graph, spec.id, named))
    logits = ClipModel(path).classify(list(golden["frames"]))
    assert np.abs(logits - golden["logits"]).max() < 1e-4 * np.ptp(golden["logits"])
