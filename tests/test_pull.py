"""Published weights from real servers on loopback that do what the real hosts might."""

import io
import json
import multiprocessing
import os
import socket
import sys
import tarfile
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from movinet_models import SOURCES, Source
from movinet_models.cache import cache_folder
from movinet_models.errors import FetchError
from movinet_models.fetch import UnavailableError, adopt, cached, download, pull
from movinet_runtime.errors import MissingPackageError, UsageError
from tests.weights_server import (
    FAST,
    MODEL,
    Reply,
    WeightsServer,
    archive,
    checkpoint,
    parts,
    row,
    saved_model,
    tflite,
    torch_file,
)

pytestmark = pytest.mark.usefixtures("cache")


def everything_below(folder: Path) -> bytes:
    return b"\n".join(
        str(path).encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    )


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
    ("listing", "reason"),
    [
        (b'{"siblings": [{"rfilename": "README.md"}, {"rfilename": "a 0.pth"}]}', None),
        (b'{"siblings": [{"rfilename": "README.md"}]}', "no file of PyTorch weights: README.md"),
        (b'{"siblings": [{"rfilename": "a.pth"}, {"rfilename": "b.pt"}]}', "2 files of PyTorch"),
        (b'{"siblings": []}', "it is empty"),
        (b'{"siblings": [3]}', "no list of a repository's files"),
        (b'{"error": "Repository not found"}', "no list of a repository's files"),
        (b"<html>log in</html>", "no list of a repository's files"),
    ],
)
def test_a_repository_is_asked_for_its_file(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, listing: bytes, reason: str | None
) -> None:
    one = row("huggingface", f"{server.url}/api/models/me/a0", "a0_huggingface.pth")
    monkeypatch.setitem(SOURCES, MODEL, (one,))
    server.replies = {
        "/api/models/me/a0": Reply(listing),
        "/me/a0/resolve/main/a%200.pth": Reply(torch_file()),
    }
    if reason is not None:
        with pytest.raises(FetchError, match=reason):
            pull(MODEL, limits=FAST)
        return
    fetched = pull(MODEL, limits=FAST)
    assert fetched.path.read_bytes() == torch_file()
    assert server.paths() == ["/api/models/me/a0", "/me/a0/resolve/main/a%200.pth"]
    assert fetched.url.endswith("/me/a0/resolve/main/a%200.pth")


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


def test_a_checksum_that_becomes_known_is_worth_more_than_a_record(
    server: WeightsServer, table: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = {"/kaggle": Reply(saved_model(1))}
    wrong = pull(MODEL, limits=FAST)
    digest = sha256(saved_model(2)).hexdigest()
    monkeypatch.setitem(SOURCES, MODEL, (replace(table[0], sha256=digest),))
    assert cached(MODEL) is None
    server.replies = {"/kaggle": Reply(saved_model(2), etag='"two"')}
    assert pull(MODEL, limits=FAST).sha256 == digest != wrong.sha256


def test_a_tflite_file_is_taken_out_of_its_archive(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


def test_a_cache_that_cannot_be_written_is_one_line(
    table: tuple[Source, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MOVINET_CACHE", str(blocked / "cache"))
    with pytest.raises(FetchError, match=r"cannot write the cache .* MOVINET_CACHE"):
        pull(MODEL, limits=FAST)


def _pull_to(queue: "multiprocessing.Queue[str]", url: str, cache: str) -> None:
    os.environ["MOVINET_CACHE"] = cache
    SOURCES[MODEL] = (row("kaggle", url, "a0_kaggle.tar.gz"),)
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


def test_the_cache_is_where_the_system_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOVINET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "movinet"
