"""Archives that someone made to do harm, or that broke on the way."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from movinet_models import archive
from movinet_models.archive import Limits, members, take_member, unpacked
from movinet_models.errors import WeightsError

Members = list[tuple[tarfile.TarInfo, bytes]]


def file(name: str, content: bytes = b"content") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def packed(
    path: Path, *parts: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for member, content in parts:
            tar.addfile(member, io.BytesIO(content))
    return path


def test_files_and_folders_come_out(tmp_path: Path) -> None:
    long = "/".join(["folder" * 10] * 4) + "/weights"
    folder = special("./model", tarfile.DIRTYPE)
    folder[0].mode = 0o000
    first = file("./model/saved_model.pb")
    first[0].mode = 0o4777
    path = packed(tmp_path / "a.tar.gz", folder, first, file("deep/x", b"y"), file(long))
    with unpacked(path) as where:
        assert (where / "model" / "saved_model.pb").read_bytes() == b"content"
        assert (where / "deep" / "x").read_bytes() == b"y"
        assert (where / long).is_file()
        assert not (where / "model" / "saved_model.pb").stat().st_mode & 0o7000
        kept = where
    assert not kept.exists()
    assert members(path) == ["./model/saved_model.pb", "deep/x", long]


@pytest.mark.parametrize("has_filter", [True, False])
@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (file("../escaped"), "outside"),
        (file("a/../../escaped"), "outside"),
        (file("/tmp/escaped"), "outside"),
        (file("..\\escaped"), "outside"),
        (file("C:/escaped"), "outside"),
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (special("link", tarfile.SYMTYPE, "inside"), "is a link"),
        (special("link", tarfile.LNKTYPE, "../../escaped"), "is a link"),
        (special("null", tarfile.CHRTYPE), "neither a file nor a folder"),
        (special("disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (special("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (special("\x1b[2Jx", tarfile.FIFOTYPE), r"'\\x1b[2Jx'"),
    ],
)
def test_members_that_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: tuple[tarfile.TarInfo, bytes],
    reason: str,
    has_filter: bool,
) -> None:
    """The same on a Python whose tarfile has no filters."""
    monkeypatch.setattr(archive, "HAS_FILTER", has_filter)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = packed(tmp_path / "evil.tar.gz", file("good"), part)
    with pytest.raises(WeightsError) as caught, unpacked(path):
        pass
    assert str(caught.value).startswith(f"cannot unpack {path}: ")
    assert reason.replace("\\\\", "\\") in str(caught.value)
    assert str(caught.value).isprintable()
    assert {found.name for found in tmp_path.rglob("*")} == {"evil.tar.gz", "temporary"}
    assert not Path("/tmp/escaped").exists()
    with pytest.raises(WeightsError):
        members(path)


def test_a_link_cannot_lead_a_later_file_out(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link = special("a", tarfile.SYMTYPE, str(target))
    path = packed(tmp_path / "evil.tar.gz", link, file("a/escaped"))
    with pytest.raises(WeightsError, match="is a link"), unpacked(path):
        pass
    assert not list(target.iterdir())


def _sparse(path: Path) -> None:
    """A hole of 8 GB in a file of nothing, in the way of GNU tar."""
    member = tarfile.TarInfo("hole")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"%011o\0" % (8 << 30)
    header[398:410] = b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (8 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))


def _long_header(path: Path) -> None:
    """A pax header that claims 64 MB, all of which would be read at once."""
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, 64 << 20
    content = member.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20)
    path.write_bytes(gzip.compress(content, 1))


def _zeros(path: Path) -> None:
    packed(path, file("zeros", bytes(70 << 20)))


def _zeros_behind(path: Path) -> None:
    packed(path, file("good"))
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(70 << 20)))


def _many(path: Path) -> None:
    packed(path, *[file(f"{i}", b"") for i in range(1_001)])


def _claims(path: Path) -> None:
    member = tarfile.TarInfo("large")
    member.size = 1 << 40
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))


def _negative(path: Path) -> None:
    header = bytearray(tarfile.TarInfo("negative").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # -1 in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_sparse, "neither a file nor a folder"),
        (_long_header, "larger than any header"),
        (_zeros, "unpacks to more than 64 MiB"),
        (_zeros_behind, "unpacks to more than 64 MiB"),
        (_many, "more than 1,000 members"),
        (_claims, "claims 1,099,511,627,776 bytes"),
        (_negative, "damaged|claims"),
    ],
)
def test_small_files_that_would_be_large(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "bomb.tar.gz"
    make(path)
    limits = Limits(members=1_000)
    with pytest.raises(WeightsError, match=reason):
        members(path, limits)
    with pytest.raises(WeightsError, match=reason), unpacked(path, limits):
        pass


def test_a_limit_on_all_that_is_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", *[file(f"{i}", bytes(100_000)) for i in range(20)])
    assert len(members(path)) == 20
    with pytest.raises(WeightsError, match="unpacks to more than 1 MiB"):
        members(path, Limits(unpacked=1 << 20))


def test_archives_that_broke(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.tar.gz", file("a", b"x" * 5_000), file("b")).read_bytes()
    no_end = gzip.compress(gzip.decompress(whole)[:700])
    wrong_sum = whole[:-8] + struct.pack("<I", 7) + whole[-4:]
    for content, reason in {
        b"": "no .tar.gz, or damaged",
        b"not an archive": "no .tar.gz, or damaged",
        gzip.compress(b"not a tar"): "no .tar.gz, or damaged",
        whole[: len(whole) // 2]: "cut off",
        whole[:-4]: "cut off",
        wrong_sum: "damaged",
        no_end: "damaged",
    }.items():
        path = tmp_path / "broken.tar.gz"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=reason) as caught:
            members(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(WeightsError, match="cannot unpack"), unpacked(path):
            pass
    with pytest.raises(WeightsError, match="No such file"):
        members(tmp_path / "nothing.tar.gz")


def test_the_only_member_of_a_kind(tmp_path: Path) -> None:
    target = tmp_path / "out"
    take_member(packed(tmp_path / "a.tar.gz", file("1.tflite", b"T"), file("x")), ".tflite", target)
    assert target.read_bytes() == b"T"
    two = packed(tmp_path / "b.tar.gz", file("1.tflite"), file("2.tflite"))
    for path, count in ((two, 2), (packed(tmp_path / "c.tar.gz", file("x")), 0)):
        with pytest.raises(WeightsError, match=rf"has {count} \.tflite files, not one"):
            take_member(path, ".tflite", target)
