"""movinet label of files behind addresses: a real web server, and S3 where moto and s3fs are."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from movinet_runtime.addresses import redacted
from movinet_runtime.archive.formats import check_together, subtitle_paths
from movinet_runtime.archive.plan import Entry, find
from movinet_runtime.archive.work import digest, look
from movinet_runtime.errors import MissingPackageError, SourceError, UsageError
from movinet_runtime.sources import remote
from tests.labelling import archive, film, label
from tests.small import small_model

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: runtime[remote]")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.tflite")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = archive(tmp_path_factory.mktemp("remote") / "films", 5, damaged=1)
    film(folder / "long.mp4", 61.3, fps=12, seed=7)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def server(films: Path) -> Iterator[str]:
    """The films behind http://127.0.0.1, with an index and ranges."""
    from aiohttp import web

    async def made_on_the_way(request: Any) -> Any:
        """No length and no ranges."""
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write((films / "0000.mp4").read_bytes())
        return response

    async def all_at_once(_: Any) -> Any:
        """A length, and the whole file whatever part is asked for."""
        return web.Response(body=(films / "0000.mp4").read_bytes() * 500)

    async def refused(_: Any) -> Any:
        raise web.HTTPForbidden

    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/made/0000.mp4", made_on_the_way)
    app.router.add_get("/whole/0000.mp4", all_at_once)
    app.router.add_get("/refused.mp4", refused)
    app.router.add_static("/films", films, show_index=True)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_name(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what comes before a file's name."""
    return [row | {"path": Path(row["path"]).name, "error": bool(row["error"])} for row in found]


def test_the_same_rows_as_of_the_files_here(
    films: Path, server: str, model: Path, tmp_path: Path
) -> None:
    """A whole folder, one of its films cut into pieces that seek; resumed by content."""
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    options = ("-m", model, "--segment", 20, "--on", 2)
    label(films, "-o", here, *options)
    about = label(f"{server}/films/", "-o", there, *options)
    assert (about["files"], about["failed"]) == (6, 1)
    assert by_name(rows(there)) == by_name(rows(here))
    again = label(films, "-o", there, *options, "--resume")
    assert again["frames"] == 0  # what was read there is known here


def test_lists_name_addresses_and_no_row_holds_a_token(
    films: Path, server: str, model: Path, tmp_path: Path
) -> None:
    address = f"{server}/films/0000.mp4?token=1234&v=2"
    table = tmp_path / "clips.csv"
    table.write_text(f"path,start,end,label\n{address},0.5,1.5,red\n{server}/none.mp4,,,\n")
    output = tmp_path / "labels.jsonl"
    about = label(table, "-o", output, "-m", model, "--vtt", tmp_path)
    assert (about["files"], about["failed"]) == (2, 1)
    text = output.read_text()
    assert "1234" not in text + "".join(map(str, tmp_path.iterdir()))
    found = rows(output)
    assert {(row["path"], row["truth"]) for row in found if not row["error"]} == {
        (f"{server}/films/0000.mp4?token=***&v=2", "red")
    }
    assert found[-1]["error"] == "does not exist"
    assert (tmp_path / "0000.vtt").read_text().startswith("WEBVTT")


def test_what_a_server_cannot_do_is_said(server: str) -> None:
    for address, message in {
        f"{server}/made/0000.mp4": "its server tells no length; copy the file here first",
        f"{server}/whole/0000.mp4": "its server sends no parts of files; copy the file here first",
        f"{server}/refused.mp4?sig=abcd": "cannot be read: status 403",
        "http://127.0.0.1:9/a.mp4": "cannot be read: Cannot connect",
    }.items():
        about = look(address)
        assert message in (about.error or ""), about
        assert "abcd" not in (about.error or "")
        assert "\n" not in (about.error or "")
    with pytest.raises(UsageError, match="no videos at"):
        find([f"{server}/films/*.avi"])
    with pytest.raises(SourceError, match="Cannot connect"):
        find(["http://127.0.0.1:9/films/"])
    with pytest.raises(SourceError, match="does not exist"):
        find([f"{server}/nothing/"])
    with pytest.raises(SourceError, match=r"nowhere://a\.mp4 cannot be read"):
        find(["nowhere://a.mp4"])
    with pytest.raises(UsageError, match="nothing is written to addresses"):
        subtitle_paths([f"{server}/a.mp4"], "beside")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingPackageError, match=r"movinet-runtime\[remote\]"):
        find(["https://example.org/a.mp4"])
    with pytest.raises(MissingPackageError):  # of a worker: it ends the run
        look("https://example.org/a.mp4")


def test_a_signature_is_no_part_of_a_shown_address() -> None:
    signed = "https://b.example.org/a.mp4?X-Amz-Credential=K&X-Amz-Signature=S&part=2"
    hidden = "https://b.example.org/a.mp4?X-Amz-Credential=***&X-Amz-Signature=***&part=2"
    assert redacted(signed) == Entry(signed).shown == hidden
    assert Entry("films/a:b?key=c.mp4").shown == "films/a:b?key=c.mp4"  # no address


def test_no_message_holds_what_is_hidden() -> None:
    chained = "simplecache::https://user:secret@host/a.mp4?token=T"
    assert redacted(chained) == "simplecache::https://***@host/a.mp4?token=***"
    said = remote._reason(ValueError("403, url='https://h/a.mp4?token=abc'"))
    assert "abc" not in said
    assert "h/a.mp4" in said
    one, other = "https://u:pw@h/a/x.mp4", "https://u:pw@h/b/x.mp4?token=T"
    for check in (
        lambda: subtitle_paths([one, other], "out"),
        lambda: check_together([one, other, one], Path("a.json")),
    ):
        with pytest.raises(UsageError) as found:
            check()
        assert "pw" not in str(found.value)
    with pytest.raises(UsageError, match="name each file once"):
        find(["https://h/d?key=a.mp4", "https://h/d?key=b.mp4"])


def test_odd_addresses_have_names() -> None:
    assert remote.file_name("https://nas.local/?file=a.mp4") == "nas.local"
    assert remote.file_name("s3://day[12]/b.mp4?x=/c.avi#d") == "b.mp4"
    assert remote.file_name("films/a?b.mp4") == "a?b.mp4"


def test_a_file_has_one_digest_wherever_it_is(films: Path, server: str) -> None:
    for name in ("0000.mp4", "long.mp4"):
        assert digest(f"{server}/films/{name}") == digest(str(films / name))


def test_buckets_of_s3(films: Path, model: Path, tmp_path: Path) -> None:
    """pip install 'moto[server]' s3fs; moto is Amazon's interface by others."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    import s3fs

    moto = server.ThreadedMotoServer(port=0)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        environment = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
        bucket = s3fs.S3FileSystem(
            key="a", secret="b", endpoint_url=environment["AWS_ENDPOINT_URL"]
        )
        bucket.mkdir("archive")
        bucket.put(str(films), "archive/films", recursive=True)
        output = tmp_path / "labels.jsonl"
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "label"]
        words = ["s3://archive/films/*.mp4", "-o", str(output), "-m", str(model), "--on", "1"]
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, env=os.environ | environment
        )
        assert done.returncode == 0, done.stderr
        label(films, "-o", tmp_path / "here.jsonl", "-m", model, "--on", 1)
        assert by_name(rows(output)) == by_name(rows(tmp_path / "here.jsonl"))
    finally:
        moto.stop()
