"""Addresses: which are downloaded, what of them may be shown, and which file is meant."""

import ipaddress
import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

URL = re.compile(r"^\s*(?:[A-Za-z][A-Za-z0-9+.-]*://|https?:)", re.IGNORECASE)
HIDDEN = "..."
HUB_HOSTS = ("tfhub.dev", "www.tfhub.dev")
HUB_QUERIES = ("tf-hub-format=compressed", "lite-format=tflite")  # of a SavedModel, of a .tflite
KAGGLE_HOSTS = ("kaggle.com", "www.kaggle.com")
KAGGLE_HANDLE = re.compile(
    r"^/models/([\w-]+)/([\w-]+)/(?:frameworks/)?([\w-]+)/(?:variations/)?([\w.-]+)"
    r"/(?:versions/)?(\d+)/?$"
)


class AddressError(ValueError):
    """An address from which nothing is downloaded; says why, and nothing that is secret."""


def is_url(text: str) -> bool:
    """Whether a source is an address, not a path."""
    return URL.match(text) is not None


def redacted(url: str) -> str:
    """Return an address as it may be stored and shown: no user, password, query, fragment.

    Names in a query go as well as values, since a token may stand there alone; only the two
    queries with which a hub is asked for a file stay. A text that is no address, such as a
    path, comes back as it is.
    """
    if not is_url(url):
        return url
    try:
        parts = urlsplit(url.strip())
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return f"{url.strip().partition(':')[0]}:{HIDDEN}"
    # A password with a slash or a question mark of its own ends behind them.
    hides = "@" in parts.path + parts.query + parts.fragment
    if not host or "\\" in url or hides:
        return f"{parts.scheme}:{HIDDEN}"
    known = parts.query in HUB_QUERIES and not parts.fragment
    query = parts.query if known else HIDDEN if parts.query or parts.fragment else ""
    return _printable(urlunsplit((parts.scheme, host, parts.path, query, "")))


def _printable(text: str) -> str:
    """Encode what would break a line or command a terminal."""
    return "".join(c if c.isprintable() and c != " " else quote(c, errors="replace") for c in text)


def without_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """Split an address into itself without user and password, and these."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    user = (unquote(parts.username or ""), unquote(parts.password or ""))
    return urlunsplit(parts._replace(netloc=host)), user


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine whatever a name server says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked(url: str) -> str:
    """Return an address that may be downloaded from: https, or http to this machine.

    Raises:
        AddressError: any other.
    """
    shown = redacted(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise AddressError(f"{shown} is no address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise AddressError(f"{shown} is no https address")
    if parts.scheme == "http" and not is_loopback(host):
        raise AddressError(f"{shown} is not encrypted; only https is downloaded")
    return url


def direct(url: str) -> str:
    """Return the address of the file that a page or handle of a known hub means.

    ``https://tfhub.dev/...`` handles and Kaggle's model pages become their downloads; all
    other addresses stay as they are.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return url
    if host in HUB_HOSTS and not parts.query:
        lite = "/lite-model/" in parts.path
        return urlunsplit(parts._replace(query=HUB_QUERIES[lite]))
    handle = KAGGLE_HANDLE.match(parts.path) if host in KAGGLE_HOSTS else None
    if handle is not None:
        return urlunsplit(
            parts._replace(path=f"/api/v1/models/{'/'.join(handle.groups())}/download")
        )
    return url


def file_name(url: str) -> str:
    """Return a name for what an address gives: the last part of its path, of plain letters."""
    parts = [part for part in urlsplit(url).path.split("/") if part]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1] if parts else "").strip(".-")
    return name[:80] or "weights"
