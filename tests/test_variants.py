"""Names of variants: what they say is in the files, and in help, documents and pictures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks import peers
from movinet_convert import stream_graph
from movinet_convert.frames import frames_apart
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics, needs_ranges
from movinet_models.costs import cores, costs
from movinet_models.embedded import MODEL
from movinet_models.family import lookup
from movinet_models.variants import FORMER, VARIANTS, best_here, best_on_arm, named, variants_of
from movinet_runtime.model_file import ModelFile

ROOT = Path(__file__).parents[1]
MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
SHORT = {"float32": "fp32", "float16": "fp16", "int8": "i8"}
STREAM, LITE, BASE = lookup("a0-stream"), lookup("a0lite-stream"), lookup("a0-base")


def graph_of(variant: str) -> Graph:
    spec = (LITE if variant == "int8" else STREAM).at(64)
    graph = stream_graph.build(spec, random_weights(spec, 600))
    ranges = dict.fromkeys(needs_ranges(variant, graph), (-9.0, 9.0))
    return frames_apart(TRANSFORMS[variant](graph, Statistics(ranges=ranges)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recipe_is_what_is_in_the_file(variant: str) -> None:
    """Most of the weights' values; what convolutions give; the past frames."""
    graph = graph_of(variant)
    written = {op.outputs[0]: op.inputs[0] for op in graph.ops if op.kind == "DEQUANTIZE"}
    convolutions = [op for op in graph.ops if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    sizes: dict[str, int] = {}
    for op in convolutions:
        kernel = graph.tensors[written.get(op.inputs[1], op.inputs[1])]
        sizes[SHORT[kernel.dtype.name]] = sizes.get(SHORT[kernel.dtype.name], 0) + int(
            np.prod(kernel.shape)
        )
    weights, activations, states = re.fullmatch(
        r"w((?:i8|fp16|fp32)+)_a(\w+)_s(\w+)", VARIANTS[variant].recipe
    ).groups()  # type: ignore[union-attr]
    many = {name for name, size in sizes.items() if size > 0.05 * sum(sizes.values())}
    assert set(re.findall(r"i8|fp16|fp32", weights)) == many
    gives = [SHORT[graph.tensors[op.outputs[0]].dtype.name] for op in convolutions]
    assert max(set(gives), key=gives.count) == activations
    past = {
        SHORT[graph.tensors[tensor].dtype.name]
        for name, tensor in graph.inputs.items()
        if "stream_buffer" in name
    }
    assert past == {states}


def test_former_names_and_recipes_are_taken() -> None:
    assert [named(STREAM, name) for name in FORMER] == ["half", "heavy", "dynamic-si8"]
    assert named(LITE, "int8") == "int8"
    assert named(STREAM, "wi8_afp32_sfp32") == "dynamic"
    assert named(STREAM, "wi8_ai8_si8") is named(BASE, "int8") is named(STREAM, "fast") is None
    for spec in (STREAM, LITE, BASE):
        assert set(variants_of(spec)) <= set(VARIANTS)
        assert best_here(spec) in variants_of(spec)


def test_each_core_gets_what_it_runs_best() -> None:
    """Of the variants whose fidelity was recorded, by the recorded instructions."""
    assert best_on_arm("Features : fp asimd fphp asimdhp\n") == costs("cortex-a76")[0].variant
    assert best_on_arm("Features : fp asimd\n") == costs("cortex-a72")[0].variant


def test_names_agree_everywhere() -> None:
    names = set(VARIANTS)
    assert set(TRANSFORMS) == names
    assert {cost.variant for core in cores() for cost in costs(core)} == names - {"int8"}
    assert set(peers.VARIANTS) == names - {"int8"}
    page = (ROOT / "docs" / "quantization.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `(w\w+)` \|", page, flags=re.MULTILINE))
    assert rows == {name: variant.recipe for name, variant in VARIANTS.items()}
    readme = (ROOT / "README.md").read_text("utf-8")
    boards = readme[readme.index("| variant | Pi 4") :]
    found = re.findall(r"^\| ([\w-]+) \|", boards[: boards.index("\n\n")], flags=re.MULTILINE)
    assert found[1:] == [name for name in VARIANTS if name != "int8"]
    assert ModelFile.read(MODEL).metadata["variant"] == MODEL.stem.split("-", 2)[2]
    help_text = subprocess.run([*MOVINET, "export", "--help"], capture_output=True, text=True)
    assert all(name in help_text.stdout for name in names)


def test_models_tells_them_apart() -> None:
    table = subprocess.run([*MOVINET, "models"], capture_output=True, text=True).stdout
    assert all(variant.recipe in table for variant in VARIANTS.values())
    data = subprocess.run([*MOVINET, "models", "--json"], capture_output=True, text=True).stdout
    assert list(json.loads(data)["variants"]) == list(VARIANTS)


def test_a_former_name_is_taken_with_a_note(tmp_path: Path) -> None:
    command = [*MOVINET, "export", "t0-stream", "-w", "random", "--resolution", "32"]
    command += ["-q", "wide", "--calibrate", "none", "--long-frames", "2", "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t0-stream-heavy.tflite"]
    assert "'wide' is called heavy now" in done.stdout
