"""Engines as steps from a camera's frame to logits, each as its authors would run it.

All get the same ONNX file, in which past frames are states of their own (docs/onnx.md): memory is
laid out once as rings, and what a step reads and writes is bound before the first one, so that no
state is copied. One thread; float32 unless the name says otherwise.
"""

import ctypes
import importlib.util
import itertools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.process.race import Frame
from movinet_runtime.engines import open_engine
from movinet_runtime.errors import MovinetError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE

# What pnnx leaves as it is: 3x3, every other, one more row and column at the end.
POOLING = re.compile(r"^AveragePool( +\S+ +1 1 \S+ \S+)$", re.MULTILINE)
FULL_WINDOWS = r"Pooling\1 0=1 1=3 11=3 2=2 12=2 5=0 6=0"

Logits = NDArray[np.float32]
LogitsStep = Callable[[Frame], Logits]


class UnfitError(MovinetError):
    """An engine that cannot take part here; the message says why."""


@dataclass(frozen=True)
class Files:
    """What the engines load.

    Attributes:
        tflite: our files by variant.
        onnx: the float32 one, with
        inputs, outputs: their shapes by name, in the file's order, and
        states: what each state takes after a frame, an output or what another one was.
    """

    tflite: Mapping[str, Path]
    onnx: Path
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    states: Mapping[str, str]


@dataclass(frozen=True)
class Contender:
    """One row of the race.

    Attributes:
        name: in the table.
        packages: distributions that it needs; the first one's version is the engine's.
        settings: what was chosen, for people.
        open: loads the model and begins a stream.
    """

    name: str
    packages: tuple[str, ...]
    settings: str
    open: Callable[[Files], LogitsStep]

    def about(self) -> dict[str, str]:
        """Return what a reader must know to repeat it."""
        return {"version": f"{self.packages[0]} {self.version()}", "settings": self.settings}

    def version(self) -> str:
        """Return the engine's version.

        Raises:
            UnfitError: it is not installed.
        """
        for package in self.packages:
            try:
                version(package)
            except PackageNotFoundError:
                raise UnfitError(f"{package} is not installed") from None
        return version(self.packages[0])


def ours(variant: str) -> Callable[[Files], LogitsStep]:
    """Our file of a variant, in the runtime's engine."""

    def opened(files: Files) -> LogitsStep:
        return open_engine(ModelFile.read(files.tflite[variant]), 1).session().step

    return opened


@dataclass(frozen=True)
class Rings:
    """The memory of all states, and what a step reads and writes at each turn.

    A state that comes out goes into the slot of the ring that is read last:

        turn 0   reads  0 1    writes 2         a buffer of two past frames: three slots
        turn 1   reads  1 2    writes 0
        turn 2   reads  2 0    writes 1

    Attributes:
        inputs, outputs: for each turn, the array of each input and output by name.
    """

    inputs: list[dict[str, NDArray[np.float32]]]
    outputs: list[dict[str, NDArray[np.float32]]]

    def logits(self) -> Logits:
        """Copy what the last step said, [classes]."""
        return np.array(self.outputs[0]["logits"][0], np.float32)

    @classmethod
    def of(cls, files: Files) -> "Rings":
        """Lay out rings for the states of an ONNX file."""
        chains = [chain_to(name, files.states) for name in files.outputs if name != "logits"]
        turns = math.lcm(*(len(chain) for chain in chains))
        inputs: list[dict[str, Any]] = [{} for _ in range(turns)]
        outputs: list[dict[str, Any]] = [{} for _ in range(turns)]
        for *past, output in chains:
            slots = [np.zeros(files.outputs[output], np.float32) for _ in range(len(past) + 1)]
            for turn in range(turns):
                for i, name in enumerate(past):
                    inputs[turn][name] = slots[(turn + i) % len(slots)]
                outputs[turn][output] = slots[(turn + len(past)) % len(slots)]
        scores = np.zeros(files.outputs["logits"], np.float32)
        for one in outputs:
            one["logits"] = scores
        return cls(inputs, outputs)


def chain_to(output: str, states: Mapping[str, str]) -> list[str]:
    """Return the states that an output passes through, the oldest first, and the output."""
    chain = [output]
    before = {then: name for name, then in states.items()}
    while chain[0] in before:
        chain.insert(0, before[chain[0]])
    return chain


def filled(target: NDArray[np.float32], frame: Frame) -> None:
    """Write a frame [h, w, 3] into an image [1, 3, h, w] of values in [0, 1]."""
    np.multiply(frame.transpose(2, 0, 1), SCALE, out=target[0])


def onnx_runtime(files: Files) -> LogitsStep:
    """ONNX Runtime with a binding for each turn of the rings: it writes where the next reads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(files.onnx), options, ["CPUExecutionProvider"])
    rings = Rings.of(files)
    image = np.zeros(files.inputs["image"], np.float32)
    bindings = []
    for inputs, outputs in zip(rings.inputs, rings.outputs, strict=True):
        binding = session.io_binding()
        for bind, arrays in (
            (binding.bind_input, inputs | {"image": image}),
            (binding.bind_output, outputs),
        ):
            for name, array in arrays.items():  # the rings stay alive as long as the step does
                bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        bindings.append(binding)
    turn = itertools.cycle(bindings)

    def step(frame: Frame) -> Logits:
        filled(image, frame)
        session.run_with_iobinding(next(turn))
        return rings.logits()

    return step


def openvino(precision: str) -> Callable[[Files], LogitsStep]:
    """OpenVINO with a request for each turn of the rings; it reads the frame as it is."""

    def opened(files: Files) -> LogitsStep:
        import openvino as ov

        core = ov.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in capabilities:
            raise UnfitError("this CPU has no bf16")
        prepared = ov.preprocess.PrePostProcessor(core.read_model(files.onnx))
        image_of = prepared.input("image")
        image_of.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        image_of.preprocess().convert_element_type(ov.Type.f32).scale(255.0)
        image_of.model().set_layout(ov.Layout("NCHW"))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(prepared.build(), "CPU", settings)
        rings = Rings.of(files)
        n, c, h, w = files.inputs["image"]
        image = np.zeros((n, h, w, c), np.uint8)
        requests = []
        for inputs, outputs in zip(rings.inputs, rings.outputs, strict=True):
            request = compiled.create_infer_request()
            for name, array in (inputs | {"image": image} | outputs).items():
                request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            requests.append(request)
        turn = itertools.cycle(requests)

        def step(frame: Frame) -> Logits:
            image[0] = frame
            next(turn).infer(share_outputs=True)
            return rings.logits()

        return step

    return opened


def ncnn(bf16: bool) -> Callable[[Files], LogitsStep]:
    """ncnn on what pnnx makes of the ONNX file; states stay in its own layout, by reference."""

    def opened(files: Files) -> LogitsStep:
        import ncnn as engine

        parameters = converted(files.onnx)
        net = engine.Net()
        options = net.opt
        options.num_threads = 1
        options.use_packing_layout = True
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_packed = options.use_bf16_storage = bf16
        allocators = engine.UnlockedPoolAllocator(), engine.UnlockedPoolAllocator()
        options.blob_allocator, options.workspace_allocator = allocators
        for one in allocators:  # they must outlive all blobs, whatever goes first at the end
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
        net.opt = options
        if net.load_param(str(parameters)) or net.load_model(str(parameters.with_suffix(".bin"))):
            raise UnfitError("ncnn does not know all operators")
        blobs = {name: f"in{i}" for i, name in enumerate(files.inputs)}
        results = {name: f"out{i}" for i, name in enumerate(files.outputs)}
        inputs = {}
        for name, (_, c, h, w) in files.inputs.items():
            inputs[name] = engine.Mat(w, h, c)
            inputs[name].fill(0.0)
        image = np.zeros(files.inputs["image"], np.float32)
        inputs["image"] = engine.Mat(image[0])

        def step(frame: Frame) -> Logits:
            filled(image, frame)
            extractor = net.create_extractor()
            for name, value in inputs.items():
                extractor.input(blobs[name], value)
            _, logits = extractor.extract(results["logits"])
            values = {
                name: extractor.extract(blob, 1)[1]  # 1: as it is, packed
                for name, blob in results.items()
                if name != "logits"
            }
            moved = {name: inputs.get(then) or values[then] for name, then in files.states.items()}
            inputs.update(moved)
            return np.array(logits)

        return step

    return opened


def converted(onnx: Path) -> Path:
    """Let pnnx make an ncnn network of a file, in float32; made once for all processes.

    pnnx knows no average pooling whose padding is not the same on all sides. The one it leaves
    as it is, 3x3 with a row and a column at the end, is ncnn's own with full windows.

    Raises:
        UnfitError: pnnx is not there, or cannot read the file.
    """
    made = onnx.with_suffix(".ncnn.param")
    if made.exists():
        return made
    spec = importlib.util.find_spec("pnnx")  # found, not imported: it would want torch
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    program = shutil.which("pnnx", path=os.pathsep.join(folders))
    if program is None:
        raise UnfitError("pnnx is not installed: pip install --no-deps pnnx")
    files = [f"ncnnparam={made}", f"ncnnbin={made.with_suffix('.bin')}"]
    command = [program, str(onnx), "fp16=0", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=onnx.parent)
    if done.returncode or not made.exists():
        raise UnfitError("pnnx cannot read the ONNX file")
    made.write_text(POOLING.sub(FULL_WINDOWS, made.read_text()))
    return made


LITERT = "in this project's runtime: LiteRT's compiled model"
CONTENDERS = (
    Contender("ours, float32", ("ai-edge-litert",), LITERT, ours("float32")),
    Contender("ours, dynamic", ("ai-edge-litert",), "the same", ours("dynamic")),
    Contender("ours, dynamic-si8", ("ai-edge-litert",), "the same", ours("dynamic-si8")),
    Contender(
        "ONNX Runtime, float32",
        ("onnxruntime",),
        "all graph optimizations, sequential, one thread within and between operators, denormals "
        "are zero (in the whole thread, so for all here), an IOBinding for each turn of the states",
        onnx_runtime,
    ),
    Contender(
        "OpenVINO, float32",
        ("openvino",),
        "latency hint, f32, one stream, one thread; conversion of the frame in the model, an infer "
        "request for each turn of the states",
        openvino("f32"),
    ),
    Contender(
        "OpenVINO, bf16",
        ("openvino",),
        "as float32, with the bf16 hint",
        openvino("bf16"),
    ),
    Contender(
        "ncnn, float32",
        ("ncnn",),
        "pnnx with fp16=0, one thread, packed layout, pool allocators without locks, states by "
        "reference in their packed layout",
        ncnn(bf16=False),
    ),
    Contender("ncnn, bf16", ("ncnn",), "as float32, with bf16 storage", ncnn(bf16=True)),
)
