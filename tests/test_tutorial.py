"""The notebook runs, without a network too, and what it says is what it shows."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from examples.execute_tutorial import NOTEBOOK, cleaned, executed
from PIL import Image

from movinet_models.fetch import adopt

MEGABYTES = 1.5
# Other processors, other cores and other rounding: these are looked into, not compared.
VARYING = ("export", "verify", "board")


def cells(notebook: Any) -> dict[str, Any]:
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def text(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def pictures(cell: Any) -> list[Image.Image]:
    found = (output.get("data", {}).get("image/png") for output in cell.outputs)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found if one]


def words(shown: str) -> list[str]:
    """Leave out figures and bars."""
    return re.sub(r"[-+]?\d[\d.e+-]*|#+", "", shown).split()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children reach nothing: every proxy is a closed port."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")


def test_the_tutorial_runs_offline_and_says_what_it_said(
    offline: None, cache: Path, tmp_path: Path
) -> None:
    kept = cells(nbformat.read(NOTEBOOK, 4))
    found = cells(cleaned(executed(nbformat.read(NOTEBOOK, 4), tmp_path)))
    for name, cell in found.items():
        if name not in VARYING:
            assert words(text(cell)) == words(text(kept[name])), name
        assert [one.size for one in pictures(cell)] == [one.size for one in pictures(kept[name])]
    assert text(found["network"]).splitlines()[1].endswith("picking up")
    assert text(found["run"]).splitlines()[0].endswith("picking up")
    assert text(found["export"]).count("delegate partitions") == 3
    assert not list(cache.rglob("*.*"))  # nothing was downloaded
    board = text(found["board"])
    assert "million instructions a frame on cortex-a76" in board or board.startswith("Skipped, ")


def test_the_tutorial_shows_published_weights(shared: Path, cache: Path, tmp_path: Path) -> None:
    """Weights of the published form with made-up values; the pictures are real."""
    adopt(shared / "reference" / "a0_stream_2021_hub.tar.gz", "a0-stream")
    adopt(shared / "reference" / "a0_base_hub.tar.gz", "a0-base")
    notebook = nbformat.read(NOTEBOOK, 4)
    by_name = cells(notebook)
    settings = by_name["settings"].source.replace("PUBLISHED = False", "PUBLISHED = True")
    clip = str(shared / "clips" / "jumpingjack.gif")
    by_name["settings"].source = settings.replace("CLIP = None", f"CLIP = {clip!r}")
    for offline_shows in ("verify", "run", "state", "time", "board"):
        by_name[offline_shows].source = "pass"
    assert by_name["settings"].source.count("True") == 2
    found = cells(executed(notebook, tmp_path))
    assert "600 labels: abseiling, " in text(found["labels"])
    assert "a0-base float32" in text(found["network"])
    assert "the base model:" in text(found["network"])
    assert text(found["export"]).count("delegate partitions") == 3
    assert len(pictures(found["animation"])) == 1


def test_the_outputs_are_kept_clean() -> None:
    content = NOTEBOOK.read_text("utf-8")
    assert len(content) < MEGABYTES * 1e6
    kept = cells(nbformat.read(NOTEBOOK, 4))
    assert [cell.execution_count for cell in kept.values()] == list(range(1, len(kept) + 1))
    for name, cell in kept.items():
        said = text(cell)
        assert not re.search(r"/(tmp|home|root|work|usr|Users)/|\x1b|\d\d:\d\d:\d\d", said), name
        assert all(output.output_type != "error" for output in cell.outputs)
    assert {name for name, cell in kept.items() if not cell.outputs} == {
        *("settings", "setup", "top", "clip")
    }
    assert not kept["board"].outputs[0].text.startswith("Skipped")
    for name in ("frames", "course", "animation"):
        (picture,) = pictures(kept[name])
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 50
    (moving,) = pictures(kept["animation"])
    assert getattr(moving, "n_frames", 1) == 23  # the still one before 22 frames
