"""What nobody looks at, and no other frame is made from, is not decoded."""

from pathlib import Path

import av
import numpy as np
import pytest

from movinet_runtime import FrameSource
from movinet_runtime.sources.files import Video


@pytest.mark.parametrize("begin", [0.0, 3.4])
def test_only_what_nobody_sees_is_left_out_of_the_decoder(tmp_path: Path, begin: float) -> None:
    """With frames that are only shown, as x264 makes them of all but drawn ones."""
    path = tmp_path / "film.mp4"
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (240, 400, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "3", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(240):
            picture = np.ascontiguousarray(noise[i // 3 : i // 3 + 120, i : i + 160])
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)

    def sampled(looks: float) -> tuple[list[tuple[float, bytes]], int]:
        video = Video(path, "film", begin, threads=1, looks=looks)
        frames = list(FrameSource("film", video).sampled(5.0))
        return [(frame.time, frame.image.tobytes()) for frame in frames], sum(1 for _ in video)

    (all_seen, decoded), (some_seen, fewer) = sampled(0.0), sampled(5.0)
    assert some_seen == all_seen
    assert len(all_seen) == 40 - round(begin * 5)
    assert fewer < 0.8 * decoded


def test_after_a_clock_that_was_set_all_is_decoded(tmp_path: Path) -> None:
    """Two films, one behind the other: the second one's times begin anew."""
    rng = np.random.default_rng(5)
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for count in (77, 60):
            part = tmp_path / "part.ts"
            with av.open(str(part), "w", format="mpegts") as container:
                stream = container.add_stream("libx264", rate=30, options={"bf": "3"})
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                for _ in range(count):
                    picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
                    for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                        container.mux(packet)
                for packet in stream.encode():
                    container.mux(packet)
            file.write(part.read_bytes())
    all_seen, some_seen = (
        [
            frame.image.tobytes()
            for frame in FrameSource("film", Video(joined, "film", threads=1, looks=looks)).sampled(
                5.0
            )
        ]
        for looks in (0.0, 5.0)
    )
    assert some_seen == all_seen
