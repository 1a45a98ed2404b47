"""Other engines beside ours: the same logits from all, with states that no one copies."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from movinet_benchmarks.engines import race
from movinet_benchmarks.engines.contenders import (
    CONTENDERS,
    Contender,
    Files,
    Rings,
    UnfitError,
    converted,
)
from movinet_benchmarks.engines.page import page, picture, remarks, table_of
from movinet_benchmarks.fidelity import sqnr
from movinet_benchmarks.pairs import Effort
from movinet_benchmarks.process.race import Frame
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_models.family import lookup

SIDE, CLASSES, FRAMES = 64, 5, 24
STATES = {"count": "count_out", "past_0": "past_1", "past_1": "past_out"}


def noise() -> list[Frame]:
    return list(np.random.default_rng(0).integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A small float32 model as .tflite and as ONNX."""
    pytest.importorskip("onnx", reason="onnx is not installed: movinet-convert[onnx]")
    from movinet_convert.onnx_export import contents
    from movinet_convert.onnx_file import output_name, serialize
    from movinet_runtime.model_file import METADATA_NAME

    folder = tmp_path_factory.mktemp("engines")
    spec = lookup("a0-stream").at(SIDE)
    weights = random_weights(spec, CLASSES)
    tflite, onnx = folder / "a0-stream-float32.tflite", folder / "a0-stream-float32.onnx"
    tflite.write_bytes(flatbuffer.serialize(stream_graph.build(spec, weights), "", {}))
    graph = stream_graph.build(spec, weights, frames_apart=True)
    states = {
        name: output_name(then) if then in graph.outputs else then
        for name, then in stream_graph.successors(graph).items()
    }
    onnx.write_bytes(serialize(graph, "test", {METADATA_NAME: json.dumps({"states": states})}))
    found = contents(onnx.read_bytes())
    return Files({"float32": tflite}, onnx, found.inputs, found.outputs, states)


@pytest.fixture
def apart() -> Iterator[Executor]:
    """A thread for engines: ONNX Runtime turns denormals to zero, for good, in what opens it."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def test_rings_give_each_frame_its_place_for_ever() -> None:
    """An engine of one line: what came out becomes the newest, then older, then is overwritten."""
    shapes = {"count": (1, 1, 1, 1), "past_0": (1, 2, 1, 1), "past_1": (1, 2, 1, 1)}
    outputs = {"count_out": (1, 1, 1, 1), "past_out": (1, 2, 1, 1), "logits": (1, 3)}
    rings = Rings.of(Files({}, Path(), shapes, outputs, STATES))
    assert len(rings.inputs) == len(rings.outputs) == 6  # three slots of frames, two of counts
    for frame, turn in zip(range(20), itertools.cycle(range(6)), strict=False):
        given, made = rings.inputs[turn], rings.outputs[turn]
        assert given["count"].item() == frame
        assert [given[f"past_{i}"][0, 0].item() for i in (0, 1)] == [
            max(0, frame - 1),  # frames are numbered from 1 on, and zeros come before
            frame,
        ]
        assert not any(made[name] is array for name in made for array in given.values())
        made["count_out"][:] = given["count"] + 1
        made["past_out"][:] = frame + 1


@pytest.mark.parametrize(
    "contender",
    [one for one in CONTENDERS if "dynamic" not in one.name and "int8" not in one.name],
    ids=lambda one: one.name,
)
def test_an_engine_gives_our_logits(contender: Contender, files: Files, apart: Executor) -> None:
    def logits(opened: Contender, frames: list[Frame]) -> np.ndarray:
        step = opened.open(files)
        return np.stack([step(frame) for frame in frames])

    try:
        contender.version()
        found = apart.submit(logits, contender, noise()).result()
    except UnfitError as error:
        pytest.skip(str(error))
    expected = logits(CONTENDERS[0], noise())
    assert sqnr(found, expected) > (20 if "bf16" in contender.name else 90)
    alone = apart.submit(logits, contender, noise()[-1:]).result()
    assert sqnr(alone[-1], expected[-1]) < 40, "the states do nothing"


def test_what_is_missing_is_named_and_left_out(files: Files) -> None:
    def broken(_: Files) -> Callable[[Frame], Any]:
        raise RuntimeError("no such kernel\nat line 7")

    base = CONTENDERS[0]
    missing = replace(base, name="nobody's", packages=("no-such-engine",))
    odd = replace(base, name="odd", open=broken)
    steps, logits, out = race.opened([base, missing, odd], files, noise()[:2], turn=1)
    assert steps.keys() == logits.keys() == {base.name}
    assert out == {
        "nobody's": "no-such-engine is not installed",
        "odd": "RuntimeError: no such kernel",
    }


def test_without_pnnx_ncnn_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnfitError, match="pip install --no-deps pnnx"):
        converted(tmp_path / "a.onnx")


def test_one_process_times_all_hot_and_paced(files: Files, apart: Executor) -> None:
    """And rows are made of several."""
    names = [CONTENDERS[0].name, "ONNX Runtime, float32"]
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    effort = Effort(2, 3, 1, pace=50)
    once = apart.submit(race.measured_once, names, files, noise(), effort, turn=0).result()
    assert once.left_out == {}
    assert [len(one) for one in once.hot[names[1]]] == [2, 2]
    assert {name: len(times) for name, times in once.paced.items()} == dict.fromkeys(names, 3)
    assert once.db[names[1]] > 90
    row = race.row_of(names[1], [once] * 3)
    assert row["hot_ratio"] > 0
    low, high = row["paced_ratio_95"]
    assert low <= row["paced_ratio"] <= high
    assert race.row_of(names[0], [once])["paced_ratio"] == 1


RESULTS: dict[str, Any] = {
    "date": "2026-11-28",
    "weights": "embedded",
    "frames": 100,
    "machine": {"cpu": "a core", "disturbances": ["the machine was busy"]},
    "effort": {"rounds": 150, "paced_rounds": 40, "processes": 7, "pace": 5.0},
    "engines": {
        race.BASE: {
            "version": "litert 1",
            "settings": "none",
            "db": 200.0,
            "hot_ms": 2.0,
            "hot_ratio": 1.0,
            "paced_ms": 3.0,
            "paced_ratio": 1.0,
        },
        "theirs": {
            "version": "theirs 2",
            "settings": "all that helps",
            "db": 36.25,
            "hot_ms": 3.0,
            "hot_ratio": 1.5,
            "hot_ratio_95": [1.4, 1.6],
            "paced_ms": 4.5,
            "paced_ratio": 1.5,
            "paced_ratio_95": [1.25, 1.75],
        },
    },
    "left_out": {"absent": "it is not installed"},
}


def test_the_page_says_what_was_found_and_what_is_left_out(tmp_path: Path) -> None:
    text = page(RESULTS, "engines.png")
    assert f"| {race.BASE} | 1.00 | 1.00 |  |" in text
    assert "| theirs | 1.50 (1.25–1.75) | 1.50 (1.40–1.60) | 36.2 |" in text
    assert "| theirs | theirs 2 | all that helps |" in text
    assert "absent is left out: it is not installed." in text
    assert "](engines.png)" in text
    assert "7 processes, a core, 2026-11-28" in text
    console = Console(record=True, width=160)
    console.print(table_of(RESULTS))
    assert "1.50 (1.25–1.75)" in console.export_text()
    assert remarks(RESULTS) == [
        "absent is left out: it is not installed",
        "DISTURBED: the machine was busy",
    ]
    picture(RESULTS, tmp_path / "engines.png")
    assert (tmp_path / "engines.png").stat().st_size > 5_000


def test_the_docs_page_is_what_the_command_writes() -> None:
    """Its words: the figures are a machine's."""
    written = (Path(__file__).parents[1] / "docs/engines.md").read_text("utf-8")
    ours = page(RESULTS, "engines.png")
    for part in ("*At a camera's pace*:", "Memory is in huge pages", "## Again"):
        start = ours.index(part)
        assert ours[start : start + 90] in written


def test_the_readme_has_the_pages_figures() -> None:
    root = Path(__file__).parents[1]
    rows = [line.split("|") for line in (root / "docs/engines.md").read_text("utf-8").splitlines()]
    paced = {
        row[1].strip(): row[2].split()[0] for row in rows if len(row) == 6 and "dB" not in row[4]
    }
    readme = (root / "README.md").read_text("utf-8")
    said = readme[readme.index("Other engines on the same network") :].split("\n\n")[0]
    names = ("ONNX Runtime, float32", "OpenVINO, float32", "OpenVINO, bf16", "ncnn, float32")
    for name in (*names, "ncnn, bf16", "ours, dynamic"):
        assert paced[name] in said, name


def test_help_names_every_option() -> None:
    command = [sys.executable, "-m", "movinet_benchmarks.engines", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    for option in ("--rounds", "--paced-rounds", "--processes", "--pace", "--output", "--json"):
        assert option in done.stdout
