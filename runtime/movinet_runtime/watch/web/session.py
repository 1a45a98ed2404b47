"""Who may look: a password's hash, sessions, and how often somebody may guess.

The hash is scrypt's (RFC 7914) in the form ``$scrypt$ln=14,r=8,p=5$salt$hash``, with the least
memory (16 MB) of the parameters that OWASP's Password Storage Cheat Sheet names as equals: a
board with 512 MB computes it too.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

LOG_N, R, P = 14, 8, 5
MOST_MEMORY = 64 * 2**20  # bytes that a hash in a configuration may ask for
SALT, LENGTH = 16, 32  # bytes
FORM = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/]{8,88})\$([\w+/]{22,88})"
)
COOKIE = "movinet_session"
LASTS = 30 * 24 * 3600.0  # seconds of a session
SESSIONS = 100  # at once; one more, and the oldest ends
PER_ADDRESS, PER_ALL, WINDOW = 5, 30, 60.0  # failed attempts in so many seconds
LONGEST_PASSWORD = 1024  # characters


def hash_password(password: str) -> str:
    """Return a password's hash, with a salt of its own."""
    salt = secrets.token_bytes(SALT)
    key = _scrypt(password, salt, LOG_N, R, P, LENGTH)
    return f"$scrypt$ln={LOG_N},r={R},p={P}${_text(salt)}${_text(key)}"


def is_hash(text: str) -> bool:
    """Whether a text is a hash that this can check, with bounded memory and time."""
    match = FORM.fullmatch(text)
    if match is None:
        return False
    log_n, r, p = (int(one) for one in match.groups()[:3])
    try:
        _bytes(match[4]), _bytes(match[5])
    except ValueError:
        return False
    return log_n >= 10 and r > 0 and 0 < p <= 16 and 128 * r * 2**log_n <= MOST_MEMORY


def is_password(password: str, hashed: str) -> bool:
    """Whether a password has this hash, which :func:`is_hash` admits."""
    match = FORM.fullmatch(hashed)
    if match is None or len(password) > LONGEST_PASSWORD:
        return False
    log_n, r, p = (int(one) for one in match.groups()[:3])
    salt, key = _bytes(match[4]), _bytes(match[5])
    return hmac.compare_digest(_scrypt(password, salt, log_n, r, p, len(key)), key)


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(
        secret, salt=salt, n=2**log_n, r=r, p=p, dklen=length, maxmem=2 * MOST_MEMORY
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class Limit:
    """How often something may go wrong: for each address, and for all together.

    Args:
        now: seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: list[tuple[float, str]] = []

    def wait(self, address: str) -> float:
        """Return the seconds until an address may try again; 0: now."""
        now = self._now()
        self._failures = [one for one in self._failures if now - one[0] < WINDOW]
        own = [at for at, who in self._failures if who == address]
        waits = [0.0]
        if len(own) >= PER_ADDRESS:
            waits.append(own[-PER_ADDRESS] + WINDOW - now)
        if len(self._failures) >= PER_ALL:
            waits.append(self._failures[-PER_ALL][0] + WINDOW - now)
        return max(waits)

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._failures.append((self._now(), address))


class Sessions:
    """Sessions of those who knew the password. They end with the process.

    Args:
        hashed: of the password; empty: everybody may look.
        now: seconds.
    """

    def __init__(self, hashed: str, now: Callable[[], float] = time.monotonic) -> None:
        self.hashed, self._now = hashed, now
        self._limit = Limit(now)
        self._ends: OrderedDict[bytes, float] = OrderedDict()  # digest of a token -> when
        self._secret = secrets.token_bytes(32)
        self._known: bytes | None = None  # of the password that was right
        self._lock = Lock()
        self._guess = Lock()  # another: guesses hold up nobody who is in

    def attempt(self, password: str, address: str) -> float | None:
        """Check a password, one at a time: each takes memory and a tenth of a second.

        Returns:
            None: it is right; 0: it is wrong; else the seconds after which to try again.
        """
        digest = hmac.digest(self._secret, password.encode("utf-8", "surrogatepass"), "sha256")
        with self._guess:
            # First, or who must wait could go on to guess the password that is known.
            wait = self._limit.wait(address)
            if wait > 0:
                return wait
            if self._known is not None and hmac.compare_digest(digest, self._known):
                return None
            if is_password(password, self.hashed):
                self._known = digest
                return None
            self._limit.failed(address)
            return 0.0

    def begin(self) -> str:
        """Return the token of a new session."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._ends[_digest(token)] = self._now() + LASTS
            while len(self._ends) > SESSIONS:
                self._ends.popitem(last=False)
        return token

    def holds(self, token: str) -> bool:
        """Whether a token is of a session that goes on."""
        with self._lock:
            return self._ends.get(_digest(token), float("-inf")) > self._now()

    def end(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._ends.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    """Tokens are looked up by digest, so that the time it takes says nothing of them."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
