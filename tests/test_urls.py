"""What may be shown of an address, and which file it means."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet_models import SOURCES
from movinet_models.errors import FetchError
from movinet_models.fetch import download, redacted
from movinet_models.urls import direct

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


def test_handles_and_pages_mean_their_files() -> None:
    hub = "https://tfhub.dev/tensorflow/movinet/a0/stream/kinetics-600/classification/3"
    assert direct(hub) == f"{hub}?tf-hub-format=compressed"
    assert direct(f"{hub}?x=1") == f"{hub}?x=1"
    (kaggle,) = [row for row in SOURCES["a0-stream"] if "kaggle" in row.page]
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
        download(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
