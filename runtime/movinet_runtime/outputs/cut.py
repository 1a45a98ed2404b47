"""Cut parts out of videos: their packets as they are, or frames encoded anew.

source   K p p p K p p p K p p p     K: key frame, where a decoder can begin
asked              |-----|
copied           K p p p K p         from the key frame before; nothing is encoded
exact              K p p p p         from the frame that is seen at the start
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.install import install_hint
from movinet_runtime.sources import open_frames
from movinet_runtime.sources.decode import reason
from movinet_runtime.sources.files import IMAGES, from_moment
from movinet_runtime.sources.frame import Frame

# What players take out of an MP4; Matroska holds the others.
MP4_CODECS = ("av1", "h264", "hevc", "mpeg4", "vp9")
CLOCK = Fraction(1, 90_000)  # of encoded frames
QUALITY, PRESET = 18, "veryfast"  # x264's: it is training data, and is decoded more than once
SAMPLE = 1 << 16  # bytes at both ends of a file that its mark looks at
LONGEST_STEM = 150  # bytes of a source's name: names have 255


@dataclass(frozen=True)
class Cut:
    """A file that was cut out.

    Attributes:
        path: of it.
        start, end: seconds after the source's first frame that it really holds.
    """

    path: Path
    start: float
    end: float


def source_mark(path: Path) -> str:
    """Name a source by what is in it, in eight hexadecimal digits, wherever it lies.

    Raises:
        SourceError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=4)
    try:
        if path.is_dir():
            listed = sorted((one.name, one.stat().st_size) for one in path.iterdir())
            digest.update(repr(listed).encode())
        else:
            size = path.stat().st_size
            with path.open("rb") as file:
                digest.update(str(size).encode() + file.read(SAMPLE))
                file.seek(max(0, size - SAMPLE))
                digest.update(file.read(SAMPLE))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def clip_name(source: Path, start: float, end: float) -> str:
    """Name a clip by its source, the source's mark, and the seconds asked for.

    Raises:
        SourceError: the source cannot be read.
    """
    stem = source.stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    return f"{stem}-{source_mark(source)}_{start:09.3f}-{end:09.3f}"


def cut(source: Path, start: float, end: float, path: Path, exact: bool = False) -> Cut:
    """Cut a part out of a source, without sound.

    Args:
        source: a video; an animation or a folder of images is always encoded.
        start, end: seconds after its first frame.
        path: of the clip without a suffix, which depends on what is in it; it appears whole.
        exact: encode it (H.264) from the very frame on; else copy packets from the key
            frame before it.

    Raises:
        SourceError: the source cannot be read, or has nothing there.
        OutputError: the clip cannot be written.
        MissingPackageError: no PyAV.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        hint = install_hint("movinet-runtime[label]")
        raise MissingPackageError(f"cutting needs PyAV: {hint}") from error
    if not source.exists():
        raise SourceError(f"{source} does not exist")
    if exact or source.is_dir() or source.suffix.lower() in IMAGES:
        return _encode(source, start, end, path.with_name(path.name + ".mp4"))
    return _copy(source, start, end, path)


def _copy(source: Path, start: float, end: float, path: Path) -> Cut:
    import av

    try:
        with av.open(str(source)) as container:
            if not container.streams.video:
                raise SourceError(f"{source} has no video stream")
            stream = container.streams.video[0]
            unit = stream.time_base
            first = next((f.pts for f in container.decode(stream) if f.pts is not None), None)
            if first is None:
                raise SourceError(f"{source} has no frames with times")
            begin, stop = first + math.floor(start / unit), first + math.ceil(end / unit)
            # Without an index, or with a wrong one, a seek leads anywhere: then from the start.
            packets = _packets(container, stream, begin, begin, stop) or _packets(
                container, stream, first, begin, stop
            )
            last = max((one.pts + (one.duration or 0) for one in packets), default=begin)
            if last <= begin:
                raise SourceError(
                    f"{source} has nothing at second {start:g} that can be copied; --exact encodes"
                )
            suffix = ".mp4" if stream.codec_context.name in MP4_CODECS else ".mkv"
            target = path.with_name(path.name + suffix)
            came = packets[0].pts
            _mux(stream, packets, target)
    except (av.FFmpegError, ValueError) as error:
        raise SourceError(f"{source} cannot be copied from: {reason(error)}") from error
    return Cut(target, float((came - first) * unit), float((last - first) * unit))


def _packets(container: Any, stream: Any, seek: int, begin: int, stop: int) -> list[Any]:
    """Return the packets of a part in the order of decoding, from a key frame on.

    Args:
        container, stream: that are read.
        seek: where to look, in the stream's units.
        begin, stop: of the part.

    Returns:
        All that is seen up to the last frame that others of the part are made of; empty where the
        seek came too late.
    """
    container.seek(seek, stream=stream)
    found: list[Any] = []
    reach = latest = begin  # what is seen last of the packets that are needed, and of all
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        decoded = packet.pts if packet.dts is None else packet.dts
        if decoded >= stop and decoded > reach:
            break
        if packet.is_keyframe and (packet.pts <= begin or not found):
            if packet.pts > begin and seek == begin:
                return []
            found, latest = [packet], packet.pts
        elif found and packet.pts >= found[0].pts:  # others need what was before the key frame
            found.append(packet)
            latest = max(latest, packet.pts)
        if packet.pts < stop:
            reach = latest
    seen = [i for i, packet in enumerate(found) if packet.pts <= reach]
    return found[: seen[-1] + 1] if seen else []


def _mux(template: Any, packets: list[Any], path: Path) -> None:
    import av

    origin, decoded = packets[0].pts, None
    form = "mp4" if path.suffix == ".mp4" else "matroska"
    options = {"movflags": "faststart"} if form == "mp4" else {}
    with (
        written_whole(path) as temporary,
        writing(path),
        av.open(str(temporary), "w", format=form, options=options) as container,
    ):
        stream = container.add_stream_from_template(template, opaque=True)
        for packet in packets:
            # Containers want times of decoding that grow.
            dts = (packet.pts if packet.dts is None else packet.dts) - origin
            decoded = dts if decoded is None else max(dts, decoded + 1)
            packet.pts, packet.dts = max(packet.pts - origin, decoded), decoded
            packet.stream = stream
            container.mux(packet)


def _encode(source: Path, start: float, end: float, path: Path) -> Cut:
    import av

    frames = _part(source, start, end)
    first = next(frames, None)
    after = None if first is None else next(frames, None)
    # Of a video that is over, the last frame stays, for no time.
    if first is None or (after is None and start > 0 and not first.duration):
        raise SourceError(f"{source} has nothing at second {start:g}")
    height, width = (side // 2 * 2 for side in first.image.shape[:2])
    if not height or not width:
        raise SourceError(f"{source} is too small to be encoded")
    lengths: dict[int, int] = {}
    with written_whole(path) as temporary, writing(path):
        options = {"movflags": "faststart"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", 30, options={
                "crf": str(QUALITY), "preset": PRESET})  # fmt: skip
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = CLOCK
            pts = -1
            held: Frame | None = first
            while held is not None:
                shown = held.duration if after is None else after.time - held.time
                pts = max(pts + 1, round((held.time - first.time) / CLOCK))
                lengths[pts] = max(1, round(shown / CLOCK))
                image = np.ascontiguousarray(held.image[:height, :width])
                if image.shape[:2] != (height, width):
                    raise SourceError(f"{source} changes its size: it cannot be one clip")
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts, picture.time_base = pts, CLOCK
                _mux_encoded(container, stream.encode(picture), lengths)
                held, after = after, next(frames, None)
            _mux_encoded(container, stream.encode(), lengths)
    return Cut(path, start, start + float((pts + lengths[pts]) * CLOCK))


def _mux_encoded(container: Any, packets: list[Any], lengths: dict[int, int]) -> None:
    """Write packets with the length of what they show: the encoder knows none of the last one."""
    for packet in packets:
        ticks = packet.time_base / CLOCK
        packet.duration = round(lengths[round(packet.pts * ticks)] / ticks)
        container.mux(packet)


def _part(source: Path, start: float, end: float) -> Iterator[Frame]:
    """The frames that are seen from ``start`` on and begin before ``end``."""
    opened = open_frames(source)
    later = from_moment(opened, start)
    if later is not None:
        origin: float | None = None
        for frame in later:
            origin = frame.time if origin is None else origin
            if frame.time - origin >= end - start:
                return
            yield frame
        return
    origin, held = None, None
    for frame in opened:
        origin = frame.time if origin is None else origin
        time = frame.time - origin
        if time >= end:
            break
        if time > start and held is not None:
            yield Frame(held.image, origin + start, time - start)
            held = None
        if time > start:
            yield frame
        else:
            held = frame
    if held is not None and origin is not None:
        yield held
