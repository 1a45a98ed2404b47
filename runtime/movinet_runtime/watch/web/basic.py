"""The password of a request without a session, for programs: ``Authorization: Basic``."""

import base64


def basic_password(header: str) -> str | None:
    """Return the password that a header holds; the user's name does not matter (RFC 7617)."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:
        return None
    return text.partition(":")[2]
