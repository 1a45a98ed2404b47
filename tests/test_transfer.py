"""Downloads that break off, stall, grow, or lead elsewhere."""

import errno
import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from movinet_models import SOURCES, Source
from movinet_models.errors import FetchError
from movinet_models.fetch import UnavailableError, download, pull
from movinet_models.transfer import _redirected
from tests.weights_server import (
    FAST,
    MODEL,
    Reply,
    WeightsServer,
    archive,
    parts,
    saved_model,
    serve,
)

pytestmark = pytest.mark.usefixtures("cache")

IMPATIENT = replace(FAST, silence=0.5, window=1, window_bytes=30_000, attempts=2)


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


def test_encryption_is_not_given_up_on_the_way() -> None:
    for following in ("http://127.0.0.1/x?secret", "http://example.org/secret@x"):
        with pytest.raises(UnavailableError) as caught:
            _redirected("https://example.org/a", following)
        assert "secret" not in str(caught.value)
    assert _redirected("https://example.org/a/b", "../c") == "https://example.org/c"
    assert _redirected("https://example.org/a", "//me:pw@other.org/b") == "https://other.org/b"


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
