"""The files themselves: versions of operators, TFLite's own metadata, and what they refuse."""

import importlib.util
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from movinet_convert import clip_graph, flatbuffer, metadata, stream_graph
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics, needs_ranges
from movinet_convert.quantize.half import half
from movinet_convert.sources import LoadedWeights
from movinet_convert.sources.tflite_float import kind
from movinet_convert.versions import METADATA_NAME, RUNTIMES, operator_version
from movinet_models.errors import WeightsError
from movinet_models.family import lookup
from movinet_models.variants import variants_of

TYPES = {code: name for name, code in vars(tfl.TensorType).items() if isinstance(code, int)}
SIDE = 32


def variant_graph(model_id: str, variant: str) -> Graph:
    spec = lookup(model_id).at(SIDE)
    weights = random_weights(spec, 3)
    graph = (
        stream_graph.build(spec, weights) if spec.streams else clip_graph.build(spec, weights, 3)
    )
    spans = dict.fromkeys(needs_ranges(variant, graph), (-9.0, 9.0))
    return TRANSFORMS[variant](graph, Statistics(ranges=spans))


def signatures(content: bytes) -> dict[tuple[Any, ...], int]:
    """Map each operator, by its kind and the types of what it takes and gives, to its version."""
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    tensors = model.subgraphs[0].tensors
    found: dict[tuple[Any, ...], int] = {}
    for op in model.subgraphs[0].operators:
        types = tuple(TYPES[tensors[i].type] for i in (*op.inputs, *op.outputs) if i >= 0)
        rank = len(tensors[op.inputs[0]].shape)
        key = (kind(model, op), types, rank > 4)
        version = model.operatorCodes[op.opcodeIndex].version
        # A converter that merged operator codes wrote the highest version of them.
        found[key] = min(version, found.get(key, version))
    return found


def min_runtime(content: bytes) -> str:
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    (entry,) = (m for m in model.metadata if m.name == METADATA_NAME.encode())
    return bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()


@pytest.mark.parametrize(
    ("model_id", "variant", "runtime"),
    [
        ("a0-stream", "float32", "2.5.0"),
        ("a3-stream", "float16", "2.5.0"),
        ("a0-stream", "dynamic", "2.5.0"),
        ("a0-stream", "dynamic-si8", "2.5.0"),
        ("a0lite-stream", "int8", "2.5.0"),
        ("t0-base", "float32", "1.14.0"),
        ("t0-base", "dynamic", "2.4.0"),
    ],
)
def test_operators_have_the_versions_that_they_need(
    model_id: str, variant: str, runtime: str
) -> None:
    graph = variant_graph(model_id, variant)
    content = flatbuffer.serialize(graph, "x", {})
    assert {(op.kind, operator_version(op, graph)) for op in graph.ops} <= RUNTIMES.keys()
    assert min_runtime(content) == runtime
    found = signatures(content)
    expected = {
        ("CONV_2D", ("FLOAT32", "INT8", "FLOAT32", "FLOAT32"), False): 5,
        ("CONV_2D", ("INT8", "INT8", "INT32", "INT8"), False): 3,
        ("DEQUANTIZE", ("FLOAT16", "FLOAT32"), False): 3,
        ("DEQUANTIZE", ("INT8", "FLOAT32"), False): 2,
        ("CONCATENATION", ("INT8", "INT8", "INT8"), True): 2,
    }
    assert {key: found[key] for key in expected.keys() & found.keys()} == {
        key: version for key, version in expected.items() if key in found
    }
    assert expected.keys().isdisjoint(found) == (variant == "float32")


def test_versions_are_those_of_the_converter(shared: Path) -> None:
    """What TensorFlow's own converter wrote for the same operators on the same types."""
    theirs: dict[tuple[Any, ...], int] = {}
    for path in [*sorted((shared / "peers").glob("*.tflite")), *(shared / "published").iterdir()]:
        for key, version in signatures(path.read_bytes()).items():
            theirs[key] = min(version, theirs.get(key, version))
    compared = 0
    for model_id in ("a0-stream", "a0lite-stream"):
        for variant in variants_of(lookup(model_id)):
            ours = signatures(flatbuffer.serialize(variant_graph(model_id, variant), "x", {}))
            for key in ours.keys() & theirs.keys():
                assert ours[key] == theirs[key], key
                compared += 1
    assert compared > 40


@pytest.fixture(scope="module")
def published_schema(tmp_path_factory: pytest.TempPathFactory) -> types.ModuleType:
    """The metadata schema as tflite-support publishes it."""
    folder = tmp_path_factory.mktemp("schema")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    done = subprocess.run([*map(str, command), "tflite-support==0.4.4"], capture_output=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip("no package registry has tflite-support for this Python")
    with zipfile.ZipFile(wheels[0]) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith("/metadata_schema_py_generated.py"))
        (folder / "schema.py").write_bytes(wheel.read(name))
    spec = importlib.util.spec_from_file_location("schema", folder / "schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("labels", [None, ["walk", "run", "«fall»"]])
def test_tflite_s_own_metadata_reads_back(
    labels: list[str] | None, published_schema: types.ModuleType
) -> None:
    spec = lookup("t0-stream").at(SIDE)
    graph = stream_graph.build(spec, random_weights(spec, 3))
    loaded = LoadedWeights(random_weights(spec, 3), "x", "0" * 64, licence="CC-BY-4.0")
    about = metadata.of_variant(metadata.describe(spec, loaded, labels), "float32", graph)
    raw = metadata.buffers(about, graph)["TFLITE_METADATA"]
    read = published_schema.ModelMetadataT.InitFromObj(
        published_schema.ModelMetadata.GetRootAsModelMetadata(raw, 0)
    )
    assert read.name == b"MoViNet t0-stream float32"
    assert read.license == b"CC-BY-4.0"
    (subgraph,) = read.subgraphMetadata
    assert [t.name.decode() for t in subgraph.inputTensorMetadata] == list(graph.inputs)
    assert [t.name.decode() for t in subgraph.outputTensorMetadata] == list(graph.outputs)
    image = next(t for t in subgraph.inputTensorMetadata if t.name == b"image")
    properties = image.content.contentProperties
    assert properties.colorSpace == published_schema.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (SIDE, SIDE)
    (unit,) = image.processUnits
    assert unit.optionsType == published_schema.ProcessUnitOptions.NormalizationOptions
    assert (list(unit.options.mean), list(unit.options.std)) == ([0.0], [255.0])
    assert (list(image.stats.min), list(image.stats.max)) == ([0.0], [1.0])
    logits = next(t for t in subgraph.outputTensorMetadata if t.name == b"logits")
    if labels is None:
        assert not logits.associatedFiles
    else:
        (file,) = logits.associatedFiles
        assert file.name == b"labels.txt"
        assert file.type == published_schema.AssociatedFileType.TENSOR_AXIS_LABELS


def test_half_precision_refuses_what_it_cannot_hold() -> None:
    spec = lookup("t0-stream").at(SIDE)
    weights = random_weights(spec, 3)
    half(stream_graph.build(spec, weights))
    weights["head/kernel"][0, 0, 0, 0] = 70_000
    with pytest.raises(WeightsError, match=r"head/filter holds 70000, more than half precision"):
        half(stream_graph.build(spec, weights))


def test_a_constant_has_one_value() -> None:
    graph = Graph()
    graph.constant("one", np.ones(1, np.float32))
    graph.constant("one", np.ones(1, np.float32))
    for other in (np.zeros(1, np.float32), np.ones(2, np.float32), np.ones(1, np.int32)):
        with pytest.raises(ValueError, match="another value already"):
            graph.constant("one", other)
