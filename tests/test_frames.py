"""Frames: decoding, rotation, sampling by timestamp, resizing."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from movinet_runtime import Frame, FrameSource, frames_at, open_frames, prepare, sample
from movinet_runtime.errors import SourceError
from movinet_runtime.preprocess import resized

BLACK = np.zeros((4, 4, 3), np.uint8)


def grey(value: int, size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new("RGB", size, (value,) * 3)


def test_video_is_sampled_by_time(write_video: Callable[..., Path]) -> None:
    source = open_frames(write_video(frames=12, fps=10))
    decoded = list(source)
    assert len(decoded) == 12
    assert source.duration == pytest.approx(1.2, abs=0.05)
    sampled = list(source.sampled(5))
    assert [frame.time for frame in sampled] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    values = [frame.image.mean() for frame in sampled]
    assert values == pytest.approx([0, 16, 32, 48, 64, 80], abs=3)


def test_29_97_fps_is_not_truncated(write_video: Callable[..., Path]) -> None:
    source = open_frames(write_video(frames=90, fps=Fraction(30000, 1001)))
    assert len(list(source.sampled(5))) == 16  # 3.003 s


def test_rotation_is_honoured(shared: Path) -> None:
    import av

    path = shared / "clips" / "video_90.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frames = list(open_frames(path))
    assert len(frames) == 3
    assert frames[0].image.shape == (568, 320, 3)
    # The keys of a keyboard, photographed upright: a quarter turn clockwise.
    np.testing.assert_array_equal(frames[0].image, np.rot90(stored, -1))


def test_gif_durations_are_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "steps.gif"
    pictures = [grey(0), grey(80), grey(160)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 400, 200])
    frames = list(open_frames(path))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.5])
    sampled = list(open_frames(path).sampled(5))
    assert [int(frame.image[0, 0, 0]) for frame in sampled] == [0, 80, 80, 160]


def test_folder_is_in_natural_order(tmp_path: Path) -> None:
    for i in (10, 9, 1):
        grey(i).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    frames = list(open_frames(tmp_path, image_fps=5).sampled(5))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 9, 10]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_every_image_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 6), 128 << 8, np.uint16))
    elif mode == "P":
        image = grey(128).quantize(4)
    else:
        image = grey(128).convert(mode, dither=Image.Dither.NONE)
    image.save(tmp_path / "a.png")
    (frame,) = open_frames(tmp_path / "a.png")
    assert frame.image.shape == (4, 6, 3)
    assert frame.image.dtype == np.uint8
    assert int(frame.image[0, 0, 0]) == (255 if mode == "1" else pytest.approx(128, abs=1))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.mp4", None, "does not exist"),
        ("empty.mp4", b"", "no video that can be read"),
        ("text.mp4", b"hello" * 100, "no video that can be read"),
        ("text.gif", b"hello" * 100, "cannot be read as an image"),
        ("cut.gif", b"GIF89a", "cannot be read as an image"),
    ],
)
def test_unreadable_sources(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        list(open_frames(path).sampled(5))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def encode(path: Path, frames: int, form: str | None = None) -> Path:
    import av

    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("ending", ["ts", "mkv", "mp4", "avi"])
def test_damaged_videos_give_what_is_left(tmp_path: Path, ending: str) -> None:
    content = bytearray(encode(tmp_path / f"whole.{ending}", 60).read_bytes())
    middle = len(content) // 2
    hole = np.random.default_rng(1).integers(0, 255, 2000, np.uint8).tobytes()
    (tmp_path / f"hole.{ending}").write_bytes(
        content[:middle] + hole + content[middle + len(hole) :]
    )
    found = list(open_frames(tmp_path / f"hole.{ending}").sampled(5))
    assert len(found) == 30  # a gap shows the frame before it
    (tmp_path / f"cut.{ending}").write_bytes(content[:middle])
    if ending == "mp4":  # its index is at the end
        with pytest.raises(SourceError, match="no video that can be read: Invalid data found"):
            open_frames(tmp_path / "cut.mp4")
    else:
        assert 10 <= len(list(open_frames(tmp_path / f"cut.{ending}").sampled(5))) < 20


def test_without_timestamps_frames_follow_each_other(tmp_path: Path) -> None:
    """A bare H.264 stream has none; FFmpeg takes it for 25 frames a second."""
    found = list(open_frames(encode(tmp_path / "bare.h264", 50, "h264")).sampled(5))
    assert 10 <= len(found) <= 11
    times = [frame.time for frame in found]
    np.testing.assert_allclose(times, np.arange(len(found)) / 5)


def test_one_frame_and_a_huge_one(tmp_path: Path) -> None:
    (frame,) = open_frames(encode(tmp_path / "one.mp4", 1)).sampled(5)
    assert frame.time == 0
    Image.new("RGB", (7680, 4320), (9, 9, 9)).save(tmp_path / "8k.png")
    (frame,) = open_frames(tmp_path / "8k.png")
    assert resized(frame.image, (172, 172)).mean() == 9
    Image.new("RGB", (1, 1), (9, 9, 9)).save(tmp_path / "point.png")
    (frame,) = open_frames(tmp_path / "point.png")
    assert resized(frame.image, (172, 172)).mean() == 9


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        open_frames(tmp_path)


def test_video_without_frames(tmp_path: Path) -> None:
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        audio = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        audio.sample_rate = 8000
        for packet in (*stream.encode(audio), *stream.encode()):
            container.mux(packet)
    with pytest.raises(SourceError, match="no video stream"):
        open_frames(path)


def test_a_clip_as_a_network_sees_it(write_video: Callable[..., Path]) -> None:
    path = write_video(frames=12, fps=10, size=(64, 48))
    found = list(frames_at(path, (24, 24), 5))
    assert len(found) == 6
    for seen, frame in zip(found, open_frames(path).sampled(5), strict=True):
        np.testing.assert_array_equal(seen, resized(frame.image, (24, 24)))
    assert len(list(frames_at(path, (24, 24), 5, limit=2))) == 2


def test_no_frames_is_an_error() -> None:
    with pytest.raises(SourceError, match="nothing has no frames"):
        list(FrameSource("nothing", []).sampled(5))


@given(
    gaps=st.lists(st.floats(0.001, 0.5), min_size=0, max_size=60),
    fps=st.floats(1, 60),
    start=st.floats(-5, 1000),
)
def test_sampling_shows_the_latest_frame(gaps: list[float], fps: float, start: float) -> None:
    times = start + np.cumsum([0.0, *gaps])
    frames = [Frame(np.full((1, 1, 3), i, np.uint8), float(t)) for i, t in enumerate(times)]
    sampled = list(sample(frames, fps))
    assert [frame.time for frame in sampled] == [k / fps for k in range(len(sampled))]
    for frame in sampled:
        shown = int(frame.image[0, 0, 0])
        assert times[shown] <= start + frame.time + 0.002
        if shown + 1 < len(times):
            assert start + frame.time <= times[shown + 1]
    # Never shorter than the time that the frames span, nor longer than one more gap.
    length = float(times[-1] - times[0])
    last_gap = gaps[-1] if gaps else 1 / fps
    assert (length - 0.002) * fps <= len(sampled) <= (length + last_gap) * fps + 1


def numbered(times: list[float], duration: float = 0.0) -> list[Frame]:
    return [Frame(np.full((1, 1, 3), i, np.uint8), t, duration) for i, t in enumerate(times)]


def numbers(frames: Iterable[Frame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def test_unordered_times_are_dropped_and_counted() -> None:
    lines: list[str] = []
    source = FrameSource("clip", numbered([0.0, 0.2, 0.1, 0.2, 0.4]), report=lines.append)
    run = source.sampled(5)
    assert numbers(run) == [0, 1, 4]
    assert run.dropped == 2
    assert lines == ["clip: 2 frames left out, their times go back"]


DAY = 86400.0


@pytest.mark.parametrize(
    "times",
    [
        [0.0, 0.2, DAY, 0.6, 0.8],  # one bad timestamp
        [0.0, 0.2, -DAY, 0.6, 0.8],
        [0.0, 0.2, float("nan"), 0.6, 0.8],
        [0.0, 0.2, float("inf"), 0.6, 0.8],
        [DAY, DAY + 0.2, 0.0, 0.2, 0.4],  # the clock began anew
        [0.0, 0.2, DAY, DAY + 0.2, DAY + 0.4],  # and was set forward
    ],
)
def test_a_clock_that_was_set_neither_repeats_nor_loses_frames(times: list[float]) -> None:
    lines: list[str] = []
    run = FrameSource("clip", numbered(times), report=lines.append).sampled(5)
    assert numbers(islice(run, 100)) == [0, 1, 2, 3, 4]
    assert run.dropped == 0
    assert "its clock jumps" in lines[0]


def test_a_last_frame_that_claims_a_day() -> None:
    assert len(list(islice(sample(numbered([0.0, 0.2], DAY), 5), 100))) == 2


def test_a_slide_of_a_show_may_stand_for_minutes(tmp_path: Path) -> None:
    path = tmp_path / "slides.gif"
    grey(0).save(path, save_all=True, append_images=[grey(80)], duration=[600_000, 1000])
    assert len(list(open_frames(path).sampled(5))) == 3005


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_what_is_no_frame_rate(tmp_path: Path, fps: float) -> None:
    grey(1).save(tmp_path / "a.png")
    with pytest.raises(SourceError, match="frames per second must be positive"):
        list(sample([Frame(BLACK, 0.0)], fps))
    with pytest.raises(SourceError, match="must be positive"):
        open_frames(tmp_path).sampled(fps)
    for source in (tmp_path, "-", "camera:0"):
        with pytest.raises(SourceError, match="must be positive"):
            open_frames(source, fps, size=(8, 8))


def test_a_photograph_is_seen_as_the_camera_was_held(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 0, 0))  # stored at the top left, seen at the top right
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    for source in (tmp_path / "a.png", tmp_path):
        (frame,) = open_frames(source)
        assert frame.image.shape == (6, 4, 3)
        assert frame.image[0, 3].tolist() == [255, 0, 0]


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    fit=st.sampled_from(["crop", "stretch", "pad"]),
)
def test_any_size_becomes_the_models(height: int, width: int, fit: str) -> None:
    image = np.full((height, width, 3), 255, np.uint8)
    prepared = prepare(image, (32, 32), fit)  # type: ignore[arg-type]
    assert prepared.shape == (32, 32, 3)
    assert prepared.dtype == np.float32
    assert 0 < prepared.max() <= 1
    if fit != "pad":
        assert prepared.min() == pytest.approx(1.0)


def test_shrinking_is_antialiased() -> None:
    checkerboard = np.indices((256, 256)).sum(axis=0) % 2 * 255
    image = np.repeat(checkerboard[..., None], 3, axis=2).astype(np.uint8)
    prepared = prepare(image, (32, 32))
    np.testing.assert_allclose(prepared, 0.5, atol=0.02)


def test_crop_keeps_the_centre_and_pad_keeps_all() -> None:
    image = np.zeros((30, 90, 3), np.uint8)
    image[:, 30:60] = 255
    assert prepare(image, (30, 30), "crop").min() == 1.0
    padded = prepare(image, (30, 30), "pad")
    assert padded[15, 15, 0] == 1.0
    assert padded[0].max() == 0.0


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(SourceError, match="must be uint8"):
        prepare(image, (32, 32))
