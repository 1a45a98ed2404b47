"""One download over HTTP that can be broken off anywhere and goes on from there.

What arrives is appended to a ``.part`` file; notes beside it say of which version of the
file it is. A later attempt asks for the rest of that version only (``Range`` with
``If-Range``), and a server that has another one, or does not know ranges, sends the whole.

    UnavailableError    this address did not give the file; another one may
    FetchError          nothing is to be gained elsewhere: the disk is full, the file changed
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from movinet_models.errors import FetchError
from movinet_models.urls import AddressError, checked, redacted, without_user
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.install import install_hint

if TYPE_CHECKING:
    import httpx

AGENT = "movinet-edge"
INSTALL = "downloads need httpx, filelock and platformdirs: " + install_hint("movinet-models[pull]")
TRANSIENT = (429, 500, 502, 503, 504)
HEAD = 512  # bytes by which a file is told from a login page
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class UnavailableError(FetchError):
    """An address that did not give the file; another one may."""


class _BrokenError(Exception):
    """A download that ended early and may go on."""


@dataclass(frozen=True)
class Limits:
    """What a server may take.

    Attributes:
        size: bytes of a file; the largest published one has 153 MB.
        connect: seconds until it answers a call.
        silence: seconds without a byte.
        window: seconds in which all headers, and then at least ``window_bytes`` again and
            again must come, so that a byte now and then does not count as an answer.
        window_bytes: see ``window``.
        redirects: how often it may send us elsewhere.
        attempts: calls until a download that breaks off is given up.
        pause: seconds before the second call, twice as long before the third, and so on.
        wait: seconds to wait for another process that downloads the same.
    """

    size: int = 1 << 30
    connect: float = 10.0
    silence: float = 30.0
    window: float = 60.0
    window_bytes: int = 64 << 10
    redirects: int = 5
    attempts: int = 3
    pause: float = 1.0
    wait: float = 1800.0


LIMITS = Limits()


@dataclass(frozen=True)
class _Notes:
    """Which version of a file a ``.part`` is of."""

    validator: str  # a strong ETag, or a date
    total: int | None


def transfer(
    url: str,
    part: Path,
    accept: Callable[[bytes], None],
    report: Callable[[int, int | None], None],
    limits: Limits = LIMITS,
) -> str | None:
    """Bring all of a file into ``part``, and return its ETag.

    Args:
        url: https, or http to this machine; may carry user and password.
        part: where it is collected; what is there already is gone on with if it can be.
        accept: called with the first bytes; raises UnavailableError for what is no such file.
        report: called with the bytes that are there, and how many there will be.
        limits: see :class:`Limits`.

    Raises:
        UnavailableError: the address did not give the file.
        FetchError: ``part`` cannot be written.
        MissingPackageError: httpx is not installed.
    """
    try:
        clean, user = without_user(checked(url))
    except AddressError as error:
        raise UnavailableError(str(error)) from error
    for attempt in range(1, limits.attempts + 1):
        try:
            return _attempt(clean, user, part, accept, report, limits)
        except _BrokenError as error:
            if attempt == limits.attempts:
                kept = _size(part)
                note = f"; {kept:,} bytes are kept, the next call goes on from there"
                raise UnavailableError(f"{error}{note if kept else ''}") from error
        except OSError as error:
            raise FetchError(
                f"cannot write {part}: {error.strerror or error}; what came so far is kept"
            ) from error
        time.sleep(limits.pause * attempt)
    raise AssertionError("unreachable")


def forget(part: Path) -> None:
    """Remove what was collected."""
    _notes_path(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _attempt(
    url: str,
    user: tuple[str, str] | None,
    part: Path,
    accept: Callable[[bytes], None],
    report: Callable[[int, int | None], None],
    limits: Limits,
) -> str | None:
    start, notes = _collected(part)
    if notes is not None and start == notes.total:
        return notes.validator if notes.validator.startswith('"') else None
    # Compressed on the way, the bytes would be others than those that a range counts.
    headers = {"Accept-Encoding": "identity", "User-Agent": AGENT}
    if notes is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": notes.validator}
    with _answer(url, user, headers, limits) as response:
        validator = _validator(response)
        if response.status_code == 206 and notes is not None:
            total = _continued(response, start, notes, part)
        elif response.status_code == 200:
            start, total = 0, _length(response)
        elif response.status_code == 416 and notes is not None:
            forget(part)
            raise _BrokenError("the file is shorter than it was")
        elif response.status_code in TRANSIENT:
            raise _BrokenError(_status(response))
        else:
            raise UnavailableError(_status(response))
        if total is not None and total > limits.size:
            forget(part)
            raise UnavailableError(_too_large(limits, total))
        if start == 0:
            _begin(part, validator, total)
        done = _collect(response, part, start, total, accept, report, limits)
    if total is not None and done != total:
        raise _BrokenError(f"ended after {done:,} of {total:,} bytes")
    return validator if validator and validator.startswith('"') else None


def _collect(
    response: "httpx.Response",
    part: Path,
    start: int,
    total: int | None,
    accept: Callable[[bytes], None],
    report: Callable[[int, int | None], None],
    limits: Limits,
) -> int:
    """Append the body to ``part`` and return how many bytes are there."""
    done, head = start, b""
    window_start, window_done = time.monotonic(), start
    accepted = start >= HEAD
    report(done, total)
    with part.open("r+b") as file:
        if not accepted:
            head = file.read()
        file.seek(start)
        for chunk in response.iter_raw():
            done += len(chunk)
            if done > limits.size:
                forget(part)
                raise UnavailableError(_too_large(limits))
            file.write(chunk)
            if not accepted:
                head += chunk
                accepted = len(head) >= HEAD
                if accepted:
                    _accept(head, part, accept)
            report(done, total)
            now = time.monotonic()
            if now - window_start > limits.window:
                if done - window_done < limits.window_bytes:
                    raise _BrokenError(
                        f"too slow: {done - window_done:,} bytes in {now - window_start:.0f} s"
                    )
                window_start, window_done = now, done
    if not accepted and (total is None or done == total):
        _accept(head, part, accept)
    return done


def _accept(head: bytes, part: Path, accept: Callable[[bytes], None]) -> None:
    try:
        accept(head[:HEAD])
    except UnavailableError:
        forget(part)
        raise


class _Deadline:
    """Hangs up on a server whose headers drip in: every byte ends its silence, none the wait.

    httpx has a limit for silence only, and tells of its steps through :meth:`trace`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stream: Any = None
        self._timer: threading.Timer | None = None
        self.passed = False

    def trace(self, event: str, about: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = about["return_value"]
        elif event.endswith("receive_response_headers.started"):
            self._timer = threading.Timer(self._seconds, self._hang_up)
            self._timer.daemon = True
            self._timer.start()
        elif "receive_response_headers." in event and self._timer is not None:
            self._timer.cancel()

    def _hang_up(self) -> None:
        self.passed = True
        with suppress(OSError):  # it may have hung up itself just now
            self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextmanager
def _answer(
    url: str, user: tuple[str, str] | None, headers: dict[str, str], limits: Limits
) -> Iterator["httpx.Response"]:
    """Yield the answer at the end of all redirects; what goes wrong is put into our words."""
    try:
        import httpx
    except ImportError as error:
        raise MissingPackageError(INSTALL) from error
    timeout = httpx.Timeout(limits.silence, connect=limits.connect)
    try:
        # A proxy is for the net, never for this machine.
        here = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
        client = httpx.Client(timeout=timeout, mounts=here)
    except (ValueError, ImportError, OSError):
        # The message would show the proxy's address, with its password.
        raise FetchError("the proxy or certificate settings of this shell cannot be used") from None
    origin, deadline = _origin(url), _Deadline(limits.window)
    try:
        with client:
            for _ in range(limits.redirects + 1):
                auth = user if _origin(url) == origin else None
                request = client.build_request(
                    "GET", url, headers=headers, extensions={"trace": deadline.trace}
                )
                response = client.send(request, stream=True, auth=auth, follow_redirects=False)
                if not response.has_redirect_location:
                    break
                response.close()
                url = _redirected(url, response.headers["location"])
            else:
                raise UnavailableError(f"more than {limits.redirects} redirects")
            try:
                yield response
            finally:
                response.close()
    except httpx.ConnectTimeout:
        raise UnavailableError(f"no answer within {limits.connect:g} s") from None
    except httpx.TimeoutException:
        raise _BrokenError(f"silent for {limits.silence:g} s") from None
    except httpx.ConnectError as error:
        raise UnavailableError(_one_line(error) or "no connection") from None
    except httpx.ProxyError:
        raise UnavailableError("the proxy refuses") from None
    except httpx.TransportError as error:
        if deadline.passed:
            raise _BrokenError(f"no headers within {limits.window:g} s") from None
        if isinstance(error, httpx.RemoteProtocolError):
            raise _BrokenError("the answer ended early, or is none of HTTP") from None
        raise _BrokenError("the connection broke off") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        raise UnavailableError(f"{redacted(url)} cannot be called") from None


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads: never to anything unencrypted, nor with a password."""
    try:
        following, _ = without_user(checked(urljoin(url, location)))
    except ValueError as error:
        reason = error if isinstance(error, AddressError) else "no address"
        raise UnavailableError(f"redirected to where nothing is downloaded: {reason}") from None
    if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
        raise UnavailableError(f"redirected from https to {redacted(following)}")
    return following


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _collected(part: Path) -> tuple[int, _Notes | None]:
    """Return the bytes that can be gone on with, and of which version they are."""
    size = _size(part)
    try:
        read: Any = json.loads(_notes_path(part).read_text("utf-8"))
        validator, total = read["validator"], read["total"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None
    if not isinstance(validator, str) or not (total is None or isinstance(total, int)):
        return 0, None
    if size == 0 or not re.fullmatch(r"[\x20-\x7e]+", validator) or size > (total or size):
        return 0, None
    return size, _Notes(validator, total)


def _begin(part: Path, validator: str | None, total: int | None) -> None:
    """Start anew. At no moment do notes stand beside bytes of another version."""
    _notes_path(part).unlink(missing_ok=True)
    part.write_bytes(b"")
    if validator is not None:
        notes = {"validator": validator, "total": total}
        _notes_path(part).write_text(json.dumps(notes), "utf-8")


def _continued(response: "httpx.Response", start: int, notes: _Notes, part: Path) -> int | None:
    """Check that an answer is the rest of what is there; return the length of the whole."""
    found = RANGE.fullmatch(response.headers.get("content-range", ""))
    validator = _validator(response)
    if found is None or int(found[1]) != start or validator not in (None, notes.validator):
        forget(part)
        raise _BrokenError("the file changed")
    total = None if found[2] == "*" else int(found[2])
    if notes.total not in (None, total):
        forget(part)
        raise _BrokenError("the file changed")
    return total


def _validator(response: "httpx.Response") -> str | None:
    """Return what names this version of the file, byte for byte; a weak ETag does not."""
    etag: str = response.headers.get("etag", "")
    if etag.startswith('"'):
        return etag
    modified: str | None = response.headers.get("last-modified")
    return modified


def _length(response: "httpx.Response") -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _status(response: "httpx.Response") -> str:
    code = response.status_code
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"status {code}"


def _too_large(limits: Limits, total: int | None = None) -> str:
    has = "more" if total is None else f"{total:,} bytes, more"
    return f"the file has {has} than the limit of {limits.size:,} bytes"


def _one_line(error: Exception) -> str:
    return re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split())[:200])


def _notes_path(part: Path) -> Path:
    return part.with_suffix(".json")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
