"""Addresses, for people to read: passwords and tokens in them are never shown."""

import re

_ADDRESS = re.compile(r"([\w+.-]+:/+)([^/?#]*)(.*)", re.DOTALL)
_ADDRESSES = re.compile(r"[\w+.-]+:/+\S+")
_SECRET = re.compile(r"(?i)([?&][^=&]*(?:pass|pwd|token|secret|key|auth|cred|sig)[^=&]*=)[^&]+")


def redacted(address: str) -> str:
    """Return an address without user, password and tokens, for people to read.

    A password may hold a slash: where user:password is possible, all up to the last @ goes. Of
    addresses one in the other (fsspec's ``simplecache::https://...``), each.
    """
    if "::" in address and "://" in address.partition("::")[2]:
        return "::".join(map(redacted, address.split("::")))
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    scheme, host, rest = match.groups()
    if ":" in host and not host.startswith("[") and "@" in rest:
        host, rest = "***@", rest.rpartition("@")[2]
    elif "@" in host:
        host = "***@" + host.rpartition("@")[2]
    return scheme + host + _SECRET.sub(r"\1***", rest)


def redacted_in(text: str) -> str:
    """Return a text with every address in it redacted."""
    return _ADDRESSES.sub(lambda found: redacted(found[0]), text)
