"""Downloads, from real servers on loopback that do what the real hosts might."""

import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet_models import SOURCES, kinetics400, kinetics600, lookup
from movinet_models.fetch import Limits, UnavailableError, adopt, cached, download, pull, redacted
from movinet_models.registry import DATASETS, KINDS, LAYOUTS, Source
from movinet_models.transfer import _redirected
from movinet_models.urls import checked, direct
from movinet_runtime.errors import FetchError, MissingPackageError, UsageError
from tests.weights_server import (
    Reply,
    WeightsServer,
    archive,
    checkpoint,
    saved_model,
    serve,
    tflite,
    torch_file,
)

FAST = Limits(connect=10, silence=10, window=10, window_bytes=1, pause=0.01, wait=60)
IMPATIENT = replace(FAST, silence=0.5, window=1, window_bytes=30_000, attempts=2)
MODEL = "a0-stream"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MOVINET_CACHE", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with serve() as running:
        yield running


@pytest.fixture
def table(server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> tuple[Source, ...]:
    """Three rows whose hosts are the server."""
    rows = (
        _row("kaggle", f"{server.url}/kaggle", "a0_kaggle.tar.gz"),
        _row("hub", f"{server.url}/hub?tf-hub-format=compressed", "a0_hub.tar.gz"),
        _row("pytorch", f"{server.url}/torch", "a0.pth", licence="MIT"),
    )
    monkeypatch.setitem(SOURCES, MODEL, rows)
    return rows


def _row(kind: str, url: str, file: str, licence: str = "Apache-2.0") -> Source:
    page = f"https://example.org/{kind}"
    return Source(kind, url, file, "kinetics-600", licence, "fifth", page=page)


def everything_below(folder: Path) -> bytes:
    return b"\n".join(
        str(path).encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    )


def parts(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*.part")]


# The table


def test_every_row_can_be_downloaded_and_told_apart() -> None:
    for model_id, rows in SOURCES.items():
        places = [(row.dataset, row.kind) for row in rows]
        assert len(places) == len(set(places)), model_id
        assert [KINDS.index(row.kind) for row in rows if row.dataset == "kinetics-600"] == sorted(
            KINDS.index(row.kind) for row in rows if row.dataset == "kinetics-600"
        )
        for row in rows:
            assert row.kind in KINDS
            assert row.dataset in DATASETS
            assert row.url.startswith("https://")
            assert row.page.startswith("https://")
            assert row.file.endswith(LAYOUTS)
            assert checked(row.url) == direct(row.url) == row.url
            assert row.gate == (None if "base" in model_id or "lite" in model_id else "fifth")


def test_kinetics_400_is_published_for_base_models_only() -> None:
    having = {
        model_id for model_id, rows in SOURCES.items() for row in rows if "400" in row.dataset
    }
    assert having == {f"a{i}-base" for i in range(6)}
    labels = kinetics400()
    assert len(set(labels)) == 400
    assert labels == sorted(labels)  # as in Kinetics-600
    assert kinetics600() == sorted(kinetics600())
    assert all(label == label.strip() and label for label in labels)
    assert len(set(labels) & set(kinetics600())) == 368


# Sources in their order


def test_the_first_source_that_answers_is_taken(
    server: WeightsServer, table: tuple[Source, ...], cache: Path
) -> None:
    server.replies = {
        "/kaggle": Reply(b"<Error>AccessDenied</Error>", 403),
        "/hub": Reply(saved_model()),
        "/torch": Reply(torch_file()),
    }
    seen: list[tuple[str, int, int | None]] = []
    fetched = pull(MODEL, progress=lambda *step: seen.append(step), limits=FAST)
    assert server.paths() == ["/kaggle", "/hub?tf-hub-format=compressed"]
    assert fetched.source == table[1]
    assert fetched.licence == "Apache-2.0"
    assert fetched.path == cache / MODEL / "kinetics-600" / "hub" / "a0_hub.tar.gz"
    assert fetched.path.read_bytes() == saved_model()
    assert fetched.sha256 == sha256(saved_model()).hexdigest()
    assert fetched.url == table[1].url
    assert ("kaggle: 403 Forbidden", 0, None) in seen
    assert seen[-1] == ("hub: a0_hub.tar.gz", len(saved_model()), len(saved_model()))

    record = json.loads((fetched.path.parent / "record.json").read_text())
    assert record["sha256"] == fetched.sha256
    assert record["etag"] == '"one"'
    assert record["size"] == len(saved_model())
    assert record["url"] == fetched.url
    assert record["date"].endswith("+00:00")

    assert pull(MODEL, limits=FAST) == cached(MODEL) == fetched  # without asking anyone
    assert len(server.asked) == 2
    assert pull("movinet_a0_stream", kinds=["pytorch"], limits=FAST).licence == "MIT"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"gone", 404), "404 Not Found"),
        (Reply(b"x", 418), "418 I'm a Teapot"),
        (Reply(b"", 204), "204 No Content"),
        (Reply(b"  <!DOCTYPE html><html>log in</html>"), "an HTML page"),
        (Reply(b"\xef\xbb\xbf<html>log in</html>"), "an HTML page"),
        (Reply(b"<?xml version='1.0'?><Error/>"), "a message in XML"),
        (Reply(b'{"error": "consent"}'), "a message in JSON"),
        (Reply(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (Reply(b""), "an empty file"),
        (Reply(b"MZ" * 500), "something else"),
        (Reply(torch_file()), "a PyTorch file (.pth) instead of a0_kaggle.tar.gz"),
        (Reply(checkpoint()), "a TensorFlow checkpoint (.tar.gz) instead of a0_kaggle.tar.gz"),
        (Reply(archive("notes.txt")), "neither a SavedModel, a checkpoint nor a .tflite"),
        (Reply(saved_model()[:9_000]), "it is cut off"),
        (Reply(saved_model()[:9_000], declares=False, etag=None), "it is cut off"),
        (Reply(saved_model()[:-9] + b"\0" * 9), "it is no .tar.gz, or damaged"),
    ],
)
def test_what_is_not_the_file_is_refused_and_the_next_source_tried(
    server: WeightsServer, table: tuple[Source, ...], cache: Path, reply: Reply, reason: str
) -> None:
    server.replies = {"/kaggle": reply, "/hub": Reply(saved_model())}
    said: list[str] = []
    fetched = pull(MODEL, progress=lambda what, *_: said.append(what), limits=FAST)
    assert fetched.source == table[1]
    assert [line for line in said if reason in line], said
    assert not parts(cache)


def test_a_server_that_is_busy_is_asked_again(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    server.replies = {"/kaggle": Reply(b"later", 503), "/hub": Reply(saved_model())}
    assert pull(MODEL, limits=FAST).source == table[1]
    assert server.paths().count("/kaggle") == FAST.attempts


def test_offline_one_error_lists_what_was_tried_and_what_to_do(
    table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}"
    rows = tuple(replace(row, url=f"{base}/{row.kind}?key=secret") for row in table)
    monkeypatch.setitem(SOURCES, MODEL, rows)
    with pytest.raises(FetchError) as caught:
        pull(MODEL, limits=FAST)
    assert str(caught.value).splitlines() == [
        "no source gave weights for a0-stream (kinetics-600):",
        f"  kaggle   {base}/kaggle?...: Connection refused",
        f"  hub      {base}/hub?...: Connection refused",
        f"  pytorch  {base}/pytorch?...: Connection refused",
        "by hand:",
        "  open https://example.org/kaggle in a browser and download the file",
        "  movinet pull a0-stream --from FILE",
    ]


def test_wrong_names_are_told_with_the_right_ones() -> None:
    for arguments, message in {
        ("a9-stream",): "unknown model 'a9-stream'; published: a0-stream",
        ("t0-stream",): "nobody publishes weights for t0-stream",
        (MODEL, "imagenet"): "known: kinetics-600, kinetics-400",
        (MODEL, "kinetics-400"): r"its sources: kaggle \(kinetics-600\)",
        (MODEL, "kinetics-600", ("ftp",)): "unknown source 'ftp'; known: kaggle",
    }.items():
        with pytest.raises(UsageError, match=message):
            pull(*arguments)  # type: ignore[arg-type]


# Broken off, and gone on with


def test_a_download_that_stops_in_the_middle_goes_on_from_there(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, cuts=[40_000, 50_000])}
    fetched = pull(MODEL, limits=FAST)
    assert fetched.path.read_bytes() == body
    assert server.ranges() == [None, "bytes=40000-", "bytes=90000-"]
    assert [one.headers.get("if-range") for one in server.asked] == [None, '"one"', '"one"']
    assert {one.headers["accept-encoding"] for one in server.asked} == {"identity"}


def test_the_next_run_goes_on_as_well(
    server: WeightsServer, table: tuple[Source, ...], cache: Path
) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, cuts=[10_000, 300, 1])}
    with pytest.raises(FetchError, match="10,301 bytes are kept, the next call goes on"):
        pull(MODEL, kinds=["kaggle"], limits=FAST)
    assert parts(cache) == [10_301]
    assert pull(MODEL, limits=FAST).path.read_bytes() == body
    assert server.ranges()[-1] == "bytes=10301-"
    assert not parts(cache)


def test_an_interrupt_keeps_what_came(
    server: WeightsServer, table: tuple[Source, ...], cache: Path
) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, piece=5_000, pause=0.002)}

    def interrupted(what: str, done: int, total: int | None) -> None:
        if done >= 60_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(MODEL, progress=interrupted, limits=FAST)
    (kept,) = parts(cache)
    assert 60_000 <= kept < len(body)
    assert pull(MODEL, limits=FAST).path.read_bytes() == body
    assert server.ranges() == [None, f"bytes={kept}-"]


def test_a_server_that_ignores_ranges_starts_anew(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, ranges=False, cuts=[40_000])}
    assert pull(MODEL, limits=FAST).path.read_bytes() == body
    assert server.ranges() == [None, "bytes=40000-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_name_for_the_version_it_starts_anew(
    server: WeightsServer, table: tuple[Source, ...], etag: str | None
) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, etag=etag, cuts=[40_000])}
    assert pull(MODEL, limits=FAST).path.read_bytes() == body
    assert server.ranges() == [None, None]


def test_a_file_that_changes_in_between_starts_anew(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(1), cuts=[10_000, 0, 0])}
    with pytest.raises(FetchError, match="bytes are kept"):
        pull(MODEL, kinds=["kaggle"], limits=FAST)
    server.replies = {"/kaggle": Reply(saved_model(2), etag='"two"')}
    assert pull(MODEL, limits=FAST).path.read_bytes() == saved_model(2)


def test_a_range_of_another_version_is_not_appended(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    """A server that answers If-Range with a range although the file changed."""
    server.replies = {"/kaggle": Reply(saved_model(1), cuts=[10_000, 0, 0])}
    with pytest.raises(FetchError, match="bytes are kept"):
        pull(MODEL, kinds=["kaggle"], limits=FAST)
    longer = archive("saved_model.pb", size=150_000, seed=7)
    server.replies = {"/kaggle": Reply(longer)}  # the same ETag, another length
    assert pull(MODEL, limits=FAST).path.read_bytes() == longer
    assert server.ranges()[-2:] == ["bytes=10000-", None]


def test_a_file_that_has_come_whole_is_not_asked_for_again(
    server: WeightsServer, table: tuple[Source, ...], cache: Path
) -> None:
    """As after a crash between the last byte and the record."""
    body = saved_model()
    folder = cache / MODEL / "kinetics-600" / "kaggle"
    folder.mkdir(parents=True)
    (folder / "download.part").write_bytes(body)
    (folder / "download.json").write_text(json.dumps({"validator": '"one"', "total": len(body)}))
    assert pull(MODEL, limits=FAST).path.read_bytes() == body
    assert server.asked == []


@pytest.mark.parametrize(
    "notes", ["", "[]", '{"validator": 1}', '{"validator": "\\n", "total": 9}']
)
def test_notes_that_make_no_sense_are_not_trusted(
    server: WeightsServer, table: tuple[Source, ...], cache: Path, notes: str
) -> None:
    folder = cache / MODEL / "kinetics-600" / "kaggle"
    folder.mkdir(parents=True)
    (folder / "download.part").write_bytes(b"other bytes")
    (folder / "download.json").write_text(notes)
    (folder / "record.json").write_text(notes)
    server.replies = {"/kaggle": Reply(saved_model())}
    assert pull(MODEL, limits=FAST).path.read_bytes() == saved_model()


# Slow, large, elsewhere


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(saved_model(), silent=3), "silent for 0.5 s"),
        (Reply(saved_model(), piece=2_000, pause=0.1), "too slow: "),
    ],
)
def test_a_slow_server_is_left(
    server: WeightsServer, table: tuple[Source, ...], reply: Reply, reason: str
) -> None:
    server.replies = {"/kaggle": reply, "/hub": Reply(saved_model())}
    said: list[str] = []
    start = time.monotonic()
    fetched = pull(MODEL, progress=lambda what, *_: said.append(what), limits=IMPATIENT)
    assert fetched.source == table[1]
    assert time.monotonic() - start < 10
    assert [line for line in said if reason in line], said


def test_headers_that_drip_are_not_waited_for(
    table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            for _ in range(100):
                connection.send(b"x")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        monkeypatch.setitem(SOURCES, MODEL, (replace(table[0], url=url),))
        start = time.monotonic()
        with pytest.raises(FetchError, match=r"no headers within 1 s"):
            pull(MODEL, limits=replace(IMPATIENT, attempts=1))
        assert time.monotonic() - start < 8


@pytest.mark.parametrize("declares", [True, False])
def test_a_file_that_is_too_large_is_left(
    server: WeightsServer, table: tuple[Source, ...], cache: Path, declares: bool
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(), declares=declares)}
    with pytest.raises(FetchError, match="more than the limit of 100,000 bytes"):
        pull(MODEL, kinds=["kaggle"], limits=replace(FAST, size=100_000))
    assert not parts(cache)
    assert len(server.asked) == 1


def test_redirects_are_followed_without_the_password(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    with serve() as other:
        server.replies = {
            "/private": Reply(status=302, location="/here"),
            "/here": Reply(status=307, location=f"{other.url}/there?signature=secret"),
        }
        other.replies = {"/there": Reply(saved_model())}
        address = server.url.replace("//", "//me:pass%40word@") + "/private?token=secret"
        fetched = download(address, limits=FAST)
    assert fetched.path.read_bytes() == saved_model()
    assert fetched.url == f"{server.url}/private?..."
    basic = "Basic bWU6cGFzc0B3b3Jk"
    assert [one.headers.get("authorization") for one in server.asked] == [basic, basic]
    assert "authorization" not in other.asked[0].headers
    assert "referer" not in other.asked[0].headers


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://example.org/x?key=secret", "not encrypted"),
        ("ftp://me:secret@example.org/x", "no https address"),
        ("file:///etc/passwd", "no https address"),
        ("http://[::1", "none of HTTP"),
        ("/loop", "more than 5 redirects"),
    ],
)
def test_redirects_that_are_not_followed(
    server: WeightsServer, table: tuple[Source, ...], location: str, reason: str
) -> None:
    server.replies = {
        "/kaggle": Reply(status=302, location=location),
        "/loop": Reply(status=302, location="/kaggle"),
    }
    with pytest.raises(FetchError) as caught:
        pull(MODEL, kinds=["kaggle"], limits=FAST)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


# The file that was downloaded before


def test_a_changed_file_is_refused_until_it_is_wanted(
    server: WeightsServer, table: tuple[Source, ...], cache: Path
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(1)), "/hub": Reply(saved_model(3))}
    first = pull(MODEL, limits=FAST)
    first.path.unlink()
    server.replies["/kaggle"] = Reply(saved_model(2), etag='"two"')
    with pytest.raises(FetchError) as caught:
        pull(MODEL, limits=FAST)
    second = sha256(saved_model(2)).hexdigest()
    record = first.path.parent / "record.json"
    for part in (first.sha256, second, "--again", str(record)):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not parts(cache)
    assert not [path for path in server.paths() if path.startswith("/hub")]

    assert pull(MODEL, again=True, limits=FAST).sha256 == second
    assert json.loads(record.read_text())["sha256"] == second


def test_a_file_that_was_damaged_in_the_cache_comes_anew(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    server.replies = {"/kaggle": Reply(saved_model())}
    first = pull(MODEL, limits=FAST)
    first.path.write_bytes(saved_model()[:-1] + b"x")
    assert cached(MODEL) is None
    assert pull(MODEL, limits=FAST) == first
    assert first.path.read_bytes() == saved_model()


def test_a_known_checksum_is_kept_to(
    server: WeightsServer, table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256(saved_model()).hexdigest()
    rows = tuple(replace(row, sha256=digest) for row in table[:2])
    monkeypatch.setitem(SOURCES, MODEL, rows)
    server.replies = {"/kaggle": Reply(saved_model(9)), "/hub": Reply(saved_model())}
    said: list[str] = []
    fetched = pull(MODEL, progress=lambda what, *_: said.append(what), limits=FAST)
    assert fetched.source == rows[1]
    assert [line for line in said if f"not {digest} as it should be" in line]


def test_a_tflite_file_is_taken_out_of_its_archive(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import io
    import tarfile

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo("1.tflite")
        member.size = len(tflite())
        tar.addfile(member, io.BytesIO(tflite()))
    row = replace(
        SOURCES["a0lite-stream"][0],
        url=f"{server.url}/lite",
        sha256=sha256(tflite()).hexdigest(),
    )
    monkeypatch.setitem(SOURCES, "a0lite-stream", (row,))
    server.replies = {"/lite": Reply(content.getvalue())}
    fetched = pull("a0lite-stream", limits=FAST)
    assert fetched.path.name == "movinet_a0_stream_int8.tflite"
    assert fetched.path.read_bytes() == tflite()
    assert download(f"{server.url}/lite", limits=FAST).path.read_bytes() == tflite()

    by_browser = tmp_path / "archive.tar.gz"
    by_browser.write_bytes(content.getvalue())
    assert adopt(by_browser, "a0lite-stream").sha256 == row.sha256


# Any address


def test_any_address_is_downloaded_once(server: WeightsServer) -> None:
    server.replies = {"/mine": Reply(torch_file()), "/b.keras": Reply(saved_model())}
    first = download(f"{server.url}/mine?version=1", limits=FAST)
    assert first.path.name == "mine.pth"
    assert first.source is None
    assert first.licence == "not stated"
    assert download(f"{server.url}/mine?version=1", limits=FAST) == first
    assert download(f"{server.url}/b.keras", limits=FAST).path.name == "b.keras.tar.gz"
    assert len(server.asked) == 2
    assert download(f"{server.url}/mine?version=2", limits=FAST).path != first.path
    server.replies["/mine"] = Reply(torch_file(1), etag='"two"')
    first.path.unlink()
    with pytest.raises(FetchError, match="is not the file that it was on"):
        download(f"{server.url}/mine?version=1", limits=FAST)
    assert download(f"{server.url}/mine?version=1", again=True, limits=FAST).url == first.url


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@example.org/a.tar.gz?token=secret",
        "ftp://me:secret@example.org/a.tar.gz",
        "https://me:secret@/a.tar.gz",
        "https:me:secret@example.org",
        "https://me:secret@[::1/a",
        "https://me:secret@example.org:99999999/x",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(FetchError) as caught:
        download(url, limits=FAST)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_password_is_stored_or_shown(server: WeightsServer, cache: Path) -> None:
    address = server.url.replace("//", "//user-x:pw-secret@") + "/a?token=q-secret#f-secret"
    messages = []
    for reply in (
        Reply(b"no", 403),
        Reply(b"<html>"),
        Reply(saved_model(), cuts=[5, 5, 5]),
        Reply(status=302, location="http://other-user:r-secret@example.org/?t=r-secret"),
        Reply(status=302, location="/a"),
    ):
        server.replies = {"/a": reply}
        with pytest.raises(UnavailableError) as caught:
            download(address, progress=lambda what, *_: messages.append(what), limits=FAST)
        messages.append(str(caught.value))
        messages.append(repr(caught.value.__cause__))
    server.replies = {"/a": Reply(saved_model())}
    fetched = download(address, progress=lambda what, *_: messages.append(what), limits=FAST)
    server.replies = {"/a": Reply(saved_model(5), etag='"two"')}
    fetched.path.unlink()
    with pytest.raises(FetchError) as changed:
        download(address, limits=FAST)
    text = "\n".join([*messages, str(changed.value), repr(fetched)]).encode()
    for found in (text, everything_below(cache)):
        assert b"secret" not in found
        assert b"user-x" not in found
        assert b"other-user" not in found


def test_handles_and_pages_mean_their_files() -> None:
    hub = "https://tfhub.dev/tensorflow/movinet/a0/stream/kinetics-600/classification/3"
    assert direct(hub) == f"{hub}?tf-hub-format=compressed"
    assert direct(f"{hub}?x=1") == f"{hub}?x=1"
    (kaggle, _, _, _) = SOURCES["a0-stream"]
    name = "a0-stream-kinetics-600-classification"
    for page in (
        kaggle.page,
        f"https://www.kaggle.com/models/google/movinet/frameworks/tensorFlow2/variations/{name}"
        "/versions/2",
    ):
        assert direct(page) == kaggle.url
    for row in SOURCES["a0lite-stream"]:
        assert direct(row.page) == row.url
    assert direct("https://example.org/models/a/b/c/d/1") == "https://example.org/models/a/b/c/d/1"


# What may be shown of an address

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=12).map(
    lambda text: f"s3cr3t{text}"
)


@given(user=SECRET, password=SECRET, token=SECRET, as_typed=st.booleans())
def test_no_secret_comes_through(user: str, password: str, token: str, as_typed: bool) -> None:
    if not as_typed:
        user, password, token = (quote(text, safe="") for text in (user, password, token))
    shown = redacted(f"https://{user}:{password}@example.org:8443/a/b.tar.gz?token={token}")
    assert "s3cr3t" not in shown
    if not as_typed:
        assert shown == "https://example.org:8443/a/b.tar.gz?..."


@given(st.text())
def test_redacted_takes_anything_and_settles(text: str) -> None:
    for url in (text, f"https://{text}", f"http:{text}"):
        shown = redacted(url)
        assert redacted(shown) == shown
        if shown != url or "://" in url:
            assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize("path", ["random.tar.gz", "a/b@c?d", "./x", "C:\\a@b", "embedded"])
def test_a_path_stays_as_it_is(path: str) -> None:
    assert redacted(path) == path


# By hand


def test_a_file_brought_by_hand_is_checked_and_used(
    server: WeightsServer, table: tuple[Source, ...], tmp_path: Path, cache: Path
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(1))}
    downloaded = pull(MODEL, limits=FAST)
    brought = tmp_path / "archive (1).tar.gz"
    brought.write_bytes(saved_model(2))
    fetched = adopt(brought, MODEL)
    assert fetched.source == downloaded.source == table[0]
    assert fetched.url == "by hand: archive-1-.tar.gz"
    assert fetched.path != downloaded.path
    assert fetched.path.read_bytes() == saved_model(2)
    assert cached(MODEL) == pull(MODEL, limits=FAST) == fetched
    assert str(tmp_path).encode() not in (fetched.path.parent / "record.json").read_bytes()
    assert adopt(brought, MODEL, kinds=["hub"]).source == table[1]

    brought.write_bytes(torch_file())
    assert adopt(brought, MODEL).source == table[2]
    left = {path.name for path in fetched.path.parent.iterdir()}
    assert left == {"a0.pth", "record.json", "lock"}


def test_a_wrong_file_brought_by_hand_is_refused(
    table: tuple[Source, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    file = tmp_path / "x.tar.gz"
    with pytest.raises(FetchError, match="no file"):
        adopt(file, MODEL)
    for content, message in {
        b"<html>log in": "an HTML page",
        checkpoint(): r"a TensorFlow checkpoint \(.tar.gz\), but a0-stream .* a0_kaggle.tar.gz",
        tflite(): "a TFLite file",
        saved_model()[:5000]: "cut off",
        torch_file()[:5000]: "damaged or cut off",
    }.items():
        file.write_bytes(content)
        with pytest.raises(FetchError, match=message) as caught:
            adopt(file, MODEL)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(SOURCES, MODEL, (replace(table[0], sha256="0" * 64),))
    file.write_bytes(saved_model())
    with pytest.raises(
        FetchError, match=r"its sha256 is [0-9a-f]{64}, that of a0_kaggle.tar.gz is 0"
    ):
        adopt(file, MODEL)
    assert cached(MODEL) is None
    assert not parts(cache)


# Disks, processes, parts that are missing


def test_a_cache_that_cannot_be_written_is_one_line(
    table: tuple[Source, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MOVINET_CACHE", str(blocked / "cache"))
    with pytest.raises(FetchError, match=r"cannot write the cache .* MOVINET_CACHE"):
        pull(MODEL, limits=FAST)


def test_a_full_disk_stops_at_once(
    server: WeightsServer,
    table: tuple[Source, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.replies = {"/kaggle": Reply(saved_model()), "/hub": Reply(saved_model())}
    monkeypatch.setattr("movinet_models.transfer._begin", full)
    with pytest.raises(FetchError, match="No space left on device; what came so far is kept"):
        pull(MODEL, limits=FAST)
    assert server.paths() == ["/kaggle"]


def _pull_to(queue: "multiprocessing.Queue[str]", url: str, cache: str) -> None:
    os.environ["MOVINET_CACHE"] = cache
    SOURCES[MODEL] = (_row("kaggle", url, "a0_kaggle.tar.gz"),)
    queue.put(pull(MODEL, limits=FAST).sha256)


def test_two_processes_at_once_download_once(server: WeightsServer, cache: Path) -> None:
    body = saved_model()
    server.replies = {"/kaggle": Reply(body, piece=20_000, pause=0.05)}
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    arguments = (queue, f"{server.url}/kaggle", str(cache))
    both = [context.Process(target=_pull_to, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    sums = {queue.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert sums == {sha256(body).hexdigest()}
    assert len(server.asked) == 1


def test_another_process_that_never_ends_is_not_waited_for(
    server: WeightsServer, table: tuple[Source, ...]
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(), piece=10_000, pause=0.05)}
    begun = threading.Event()
    other = threading.Thread(
        target=pull, args=(MODEL,), kwargs={"progress": lambda *_: begun.set(), "limits": FAST}
    )
    other.start()
    begun.wait()
    time.sleep(0.1)
    said: list[str] = []
    with pytest.raises(FetchError, match="another process has been downloading"):
        pull(MODEL, progress=lambda what, *_: said.append(what), limits=replace(FAST, wait=0.1))
    assert said[-1] == "kaggle: a0_kaggle.tar.gz: another process downloads it"
    other.join()


def test_a_missing_library_names_the_line_that_installs_it(
    table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'movinet-models\[pull\]'"):
        pull(MODEL, limits=FAST)


def test_a_proxy_is_for_the_net_and_its_password_for_nobody(
    server: WeightsServer, table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = {"/kaggle": Reply(saved_model())}
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    pull(MODEL, limits=FAST)
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://user:secret@127.0.0.1:1")
    with pytest.raises(FetchError, match="proxy or certificate settings") as caught:
        download("https://example.org/x", limits=FAST)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:1")
    with pytest.raises(FetchError, match="Connection refused") as refused:
        download("https://example.org/x", limits=FAST)
    assert "secret" not in f"{caught.value} {refused.value}"


def test_encryption_is_not_given_up_on_the_way() -> None:
    for following in ("http://127.0.0.1/x?secret", "http://example.org/secret@x"):
        with pytest.raises(UnavailableError) as caught:
            _redirected("https://example.org/a", following)
        assert "secret" not in str(caught.value)
    assert _redirected("https://example.org/a/b", "../c") == "https://example.org/c"
    assert _redirected("https://example.org/a", "//me:pw@other.org/b") == "https://other.org/b"


# The command

INTERRUPTIBLE = """
import sys
from movinet_models import SOURCES, Source
from movinet_runtime.cli.main import main
url = sys.argv.pop()
SOURCES["a0-stream"] = (Source("kaggle", url, "a0.tar.gz", "kinetics-600", "MIT", "fifth"),)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_goes_on_next_time(
    server: WeightsServer, cache: Path, number: signal.Signals
) -> None:
    body = saved_model()
    server.replies = {"/a": Reply(body, piece=2_000, pause=0.05)}
    command = [sys.executable, "-c", INTERRUPTIBLE, "pull", MODEL, f"{server.url}/a"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not sum(parts(cache)):
        time.sleep(0.02)
    first.send_signal(number)
    _, told = first.communicate(timeout=30)
    assert first.returncode in (130, 128 + signal.SIGTERM)
    assert "Traceback" not in told
    (kept,) = parts(cache)
    server.replies = {"/a": Reply(body)}
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == body
    assert server.ranges() == [None, f"bytes={kept}-"]


def movinet(cache: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "movinet_runtime.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"MOVINET_CACHE": str(cache), "COLUMNS": "80"},
    )


def test_the_command_takes_a_file_and_says_what_comes_next(tmp_path: Path, cache: Path) -> None:
    brought = tmp_path / "mine.tar.gz"
    brought.write_bytes(saved_model())
    done = movinet(cache, "pull", "a0-stream", "--from", brought, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == tmp_path / "to" / "movinet_a0_stream_kaggle.tar.gz"
    assert path.read_bytes() == saved_model()
    assert sha256(saved_model()).hexdigest() in done.stderr
    assert "Apache-2.0" in done.stderr
    assert "movinet export a0-stream -o a0.tflite" in done.stderr

    again = json.loads(movinet(cache, "pull", "a0-stream", "--json").stdout)
    assert again["sha256"] == sha256(saved_model()).hexdigest()
    assert again["source"]["gate"] == "fifth"
    assert Path(again["path"]).is_relative_to(cache)


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "a9-stream"),
        ("pull", "t0-stream"),
        ("pull", "a0-stream", "--dataset", "imagenet"),
        ("pull", "a0-stream", "--source", "nowhere"),
        ("pull", "a0-stream", "--from", "nowhere.tar.gz"),
        ("pull", "a0-stream", "--from", "nowhere.tar.gz", "--again"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cache: Path, arguments: tuple[str, ...]) -> None:
    done = movinet(cache, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("movinet: ") for line in done.stderr.splitlines()) == 1


def test_all_sources_are_listed(cache: Path) -> None:
    shown = movinet(cache, "models", "--sources")
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(movinet(cache, "models", "--sources", "--json").stdout)["sources"]
    assert listed["t0-stream"] == []
    assert listed.keys() >= SOURCES.keys()
    assert lookup("a0-stream").id in listed
    for rows in SOURCES.values():
        for row in rows:
            assert row.url in shown.stdout  # not folded
