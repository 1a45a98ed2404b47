"""How training reads clips: from the middle on, in processes of its own, from small copies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from movinet_convert.training.batches import Batches, ahead
from movinet_convert.training.reading import Augmentation, Cache, read_clip, workers
from movinet_models.clips import LabelledClip, part
from movinet_models.figures import clips, render
from movinet_runtime import open_frames
from movinet_runtime.errors import OutputError, SourceError
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.sources.files import Video, from_moment

PLAIN = Augmentation((1, 1), (1, 1), False, 0.0, (1, 1))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds at 25 frames a second, with key frames ten seconds apart."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    save_frames(path, render(next(iter(clips("test", 1))), frames=200, fps=25, side=64), 25)
    return path


def other_container(film: Path, ending: str) -> Path:
    """The same packets in a container with another index, or with none."""
    path = film.with_suffix(ending)
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        stream = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts", ".flv", ".h264"])
@pytest.mark.parametrize("begin", [0.02, 1.0, 3.97, 7.9])
def test_a_video_from_a_moment_on(film: Path, ending: str, begin: float) -> None:
    """The same frames at the same times as by waiting, whatever the container's index says."""
    path = film if ending == ".mp4" else other_container(film, ending)
    wanted = list(part(Video(path, "film"), begin, 1e9))
    found = list(Video(path, "film", begin))
    assert [f.time for f in found] == pytest.approx([f.time for f in wanted], abs=1e-6)
    assert len(found) > 1
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_real_clips_from_a_moment_on(shared: Path) -> None:
    paths = sorted((shared / "clips").glob("*.mp4"))
    assert len(paths) >= 3
    for path in paths:
        whole = list(open_frames(path))
        begin = (whole[-1].time - whole[0].time) * 0.6
        later = from_moment(open_frames(path), begin)
        assert later is not None
        wanted, found = list(part(whole, begin, 1e9)), list(later)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.image, other.image)


def test_beyond_its_end_a_video_stands_still(film: Path) -> None:
    (last,) = Video(film, "film", 60.0)
    np.testing.assert_array_equal(last.image, list(Video(film, "film"))[-1].image)


def test_the_middle_of_a_clip_is_what_it_was(film: Path) -> None:
    """A seek changes no picture of a training clip, at no place and no speed."""
    frames = list(open_frames(film).sampled(5.0))
    for count in (3, 16, 39, 40, 50):
        got = read_clip(LabelledClip(film, "a"), 5.0, count, 64)
        start = round(0.5 * max(0, len(frames) - count))
        wanted = np.stack([frame.image for frame in frames[start : start + count]])
        np.testing.assert_array_equal(got, wanted)


def test_folders_of_images_and_animations_are_clips_too(tmp_path: Path) -> None:
    """They have no index to seek by."""
    pictures = render(next(iter(clips("test", 1))), frames=20, side=32)
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "images" / f"{i:02}.png")
    save_frames(tmp_path / "a.gif", pictures, 5.0)
    cache = Cache.of(tmp_path / "cache", 32, 5.0, Augmentation())
    for path in (tmp_path / "images", tmp_path / "a.gif"):
        clip = LabelledClip(path, "a")
        middle = read_clip(clip, 5.0, 8, 32)
        assert np.abs(middle.astype(int) - np.stack(pictures[6:14])).mean() < 3
        for more in (None, cache):
            video = read_clip(clip, 5.0, 8, 32, Augmentation(), np.random.default_rng(0), more)
            assert video.shape == (8, 32, 32, 3)


def test_a_cache_that_cannot_be_written_is_one_line(film: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache.of(tmp_path / "file", 32, 5.0, Augmentation())
    with pytest.raises(OutputError, match=r"cannot write .*file"):
        read_clip(LabelledClip(film, "a"), 5.0, 8, 32, cache=cache)
    gone = LabelledClip(tmp_path / "gone.mp4", "a")
    with pytest.raises(SourceError, match=r"gone\.mp4 cannot be read"):
        read_clip(gone, 5.0, 8, 32, cache=Cache.of(tmp_path / "c", 32, 5.0, Augmentation()))
    batches = Batches([LabelledClip(film, "a")], ["a", "b"], 5.0, 6, 32, 1, cache=cache)
    with pytest.raises(OutputError):
        list(ahead(batches))


def test_a_cache_keeps_small_copies(tmp_path: Path) -> None:
    big = tmp_path / "big.mp4"
    pictures = render(next(iter(clips("test", 1))), frames=30, fps=10, side=256)
    save_frames(big, pictures, 10, 10)
    cache = Cache.of(tmp_path / "cache", 64, 5.0, Augmentation())
    assert (cache.side, cache.fps) == (78, 10.0)
    clip = LabelledClip(big, "a")
    fresh = read_clip(clip, 5.0, 8, 64, cache=cache)
    (copy,) = (tmp_path / "cache").iterdir()
    assert next(iter(open_frames(copy))).image.shape == (78, 78, 3)
    stamp = copy.stat().st_mtime_ns
    np.testing.assert_array_equal(read_clip(clip, 5.0, 8, 64, cache=cache), fresh)
    assert copy.stat().st_mtime_ns == stamp
    direct = read_clip(clip, 5.0, 8, 64)
    assert np.abs(direct.astype(int) - fresh).mean() < 6  # of 255
    os.utime(big, ns=(1, 1))  # another file of that name
    read_clip(clip, 5.0, 8, 64, cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"bad\.mp4"):
        read_clip(LabelledClip(tmp_path / "bad.mp4", "a"), 5.0, 8, 64, cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_processes_read_the_same_batches(film: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(film.read_bytes()[:300])
    held = [LabelledClip(film, "a"), LabelledClip(bad, "a"), LabelledClip(film, "b")]
    more = {"augmentation": Augmentation(erase=0.5, mixup=0.3), "seed": 5}
    alone = Batches(held, ["a", "b"], 5.0, 6, 32, 3, **more)  # type: ignore[arg-type]
    with workers(2) as pool:
        shared_out = Batches(held, ["a", "b"], 5.0, 6, 32, 3, pool=pool, **more)  # type: ignore[arg-type]
        for one, other in zip(alone[0], shared_out[0], strict=True):
            np.testing.assert_array_equal(one, other)
        # They must not load TensorFlow: half a gigabyte each.
        assert pool is not None
        known = [pool.submit(eval, "'tensorflow' in __import__('sys').modules") for _ in range(8)]
        assert not any(one.result() for one in known)
    assert alone.broken.keys() == shared_out.broken.keys() == {str(bad)}
    lost = Batches([LabelledClip(bad, "a")], ["a", "b"], 5.0, 6, 32, 1)
    with pytest.raises(SourceError, match="no clip of 'a' can be read any more"):
        lost[0]


def test_no_process_outlives_its_parent(film: Path, tmp_path: Path) -> None:
    """Killed without a chance to clean up."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from movinet_convert.training.reading import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers(2) as pool:\n"
        "        print(*{f.result() for f in [pool.submit(os.getpid) for _ in range(9)]})\n"
        "        sys.stdout.flush()\n"
        "        time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_rectangle_is_painted_over(film: Path) -> None:
    clip = LabelledClip(film, "a")

    def read(erase: float) -> np.ndarray:
        kind = Augmentation((1, 1), (1, 1), False, 0.0, (1, 1), erase)
        return read_clip(clip, 5.0, 4, 64, kind, np.random.default_rng(1))

    plain, erased = read(0.0), read(1.0)
    np.testing.assert_array_equal(plain, read(0.0))
    differs = (plain != erased).any(axis=-1)
    assert 0.01 < differs.mean() < 0.4
    ys, xs = np.nonzero(differs.any(axis=0))
    box = erased[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert (box == box[0, 0, 0]).all()  # one colour, in all frames


def test_clips_are_mixed_with_their_labels(film: Path) -> None:
    held = [LabelledClip(film, label) for label in "abc"]
    plain = Batches(held, ["a", "b", "c"], 5.0, 4, 32, 3, augmentation=PLAIN)
    kind = Augmentation((1, 1), (1, 1), False, 0.0, (1, 1), mixup=1.0)
    mixed = Batches(held, ["a", "b", "c"], 5.0, 4, 32, 3, augmentation=kind)
    (video, truth, weights), (before, _, same) = mixed[0], plain[0]
    np.testing.assert_allclose(truth.sum(axis=-1), 1, rtol=1e-6)
    share = truth.max(axis=-1)[0, 0]
    assert 0.5 <= share < 1
    parts = truth[0, 0][truth[0, 0] > 0]
    assert len(parts) == 2
    order = np.argsort(truth[:, 0].argmax(axis=-1))
    assert sorted(order) == [0, 1, 2]
    first = truth[0, 0, plain[0][1][0, 0].argmax()]
    mean = before[0] * np.float32(first) + before[2] * np.float32(1 - first)
    np.testing.assert_allclose(video[0], mean, atol=0.51)
    np.testing.assert_array_equal(weights, same)
    assert video.dtype == np.uint8
