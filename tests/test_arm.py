"""The runtime on emulated ARM cores: what it answers, counts and refuses; the gate on counts."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.arm import blocks
from movinet_benchmarks.arm.cores import AARCH64, ARMV7L, CORES
from movinet_benchmarks.arm.decode import decoded
from movinet_benchmarks.arm.emulate import Emulation, emulate, find_core
from movinet_benchmarks.arm.root import assemble, missing_tools
from movinet_benchmarks.measure import frames_for
from movinet_models.family import lookup
from movinet_models.variants import variants_of
from movinet_runtime.errors import MissingPackageError, MovinetError, UsageError

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
BASELINE = Path(__file__).parent / "data" / "bench" / "baseline.json"
ERROR = {"float32": 1e-3} | dict.fromkeys(variants_of(lookup("a0-stream"))[1:], 0.05)
FRAMES = 4
BOARDS = ("cortex-a72", "cortex-a76")


def needs(*machines: object) -> None:
    for machine in machines:
        if missing := missing_tools(machine):  # type: ignore[arg-type]
            pytest.skip(f"no emulation here without {', '.join(missing)}")


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A0 with seeded weights in its own resolution, as `movinet export` writes it."""
    needs(AARCH64)
    folder = tmp_path_factory.mktemp("arm")
    command = [*MOVINET, "export", "a0-stream", "-w", "random:0", "-o", str(folder)]
    command += [word for name in ERROR for word in ("-q", name)]
    command += ["--calibrate", "none", "--long-frames", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: folder / f"a0-stream-{name}.tflite" for name in ERROR}


@pytest.fixture(scope="module")
def report(variants: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `movinet bench` finds of them here and on both boards."""
    path = tmp_path_factory.mktemp("bench") / "today.json"
    command = [*MOVINET, "bench", *map(str, variants.values()), "--against"]
    command += [str(variants["float32"]), "--rounds", "2", "--processes", "1", "-o", str(path)]
    command += [word for name in BOARDS for word in ("--core", name)]
    done = subprocess.run([*command, "--core-frames", str(FRAMES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def emulated(report: Path) -> dict[tuple[str, str], Emulation]:
    return {
        (variant["name"].removeprefix("a0-stream-"), core): Emulation(**found)
        for variant in json.loads(report.read_text())["variants"]
        for core, found in variant["arm"].items()
    }


def test_boards_answer_as_this_machine_does(
    emulated: dict[tuple[str, str], Emulation],
) -> None:
    for (variant, core), one in emulated.items():
        assert one.error <= ERROR[variant], (variant, core)
        assert one.frames == FRAMES
        if variant in ("float32", "dynamic-si8"):
            assert one.agreement == 1, (variant, core)


def test_the_engine_is_chosen_before_it_can_kill(
    emulated: dict[tuple[str, str], Emulation],
) -> None:
    """The compiled model's library dies on a Cortex-A72; the runtime did not touch it."""
    for (_, core), one in emulated.items():
        assert one.engine == {"cortex-a72": "InterpreterEngine"}.get(core, "CompiledEngine")


def test_counts_repeat(
    variants: dict[str, Path], emulated: dict[tuple[str, str], Emulation]
) -> None:
    images = frames_for((172, 172), 5.0, None, 4)
    again = emulate([variants["float32"]], [CORES["cortex-a72"]], images)
    (one,) = again.values()
    first = emulated["float32", "cortex-a72"]
    assert abs(one.instructions / first.instructions - 1) < 0.005
    assert max(r.spread for r in emulated.values()) < 0.005


def test_half_precision_pays_where_a_core_has_it(
    emulated: dict[tuple[str, str], Emulation],
) -> None:
    def share(variant: str, core: str) -> float:
        one, whole = emulated[variant, core], emulated["float32", core]
        return one.instructions / whole.instructions

    assert share("half", "cortex-a76") < 0.58
    assert share("half", "cortex-a72") > 1
    # int8 in the middle of the network: nothing after it is in half precision.
    assert share("heavy", "cortex-a76") > 0.7
    assert share("heavy", "cortex-a72") < 1


def test_the_gate_on_the_committed_baseline(report: Path, tmp_path: Path) -> None:
    """Instructions, sizes, ops, partitions and fidelity of what the exporter writes today.

    After a change for the better: movinet bench ... -o tests/data/bench/baseline.json.
    """
    today = tmp_path / "today.json"
    today.write_bytes(report.read_bytes())
    gate = [*MOVINET, "bench", "compare", str(BASELINE), str(today)]
    gate += ["--no-times", "--json"]
    done = subprocess.run(gate, capture_output=True, text=True)
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 0, [check for check in checks if check["verdict"] == "worse"]
    counted = [check for check in checks if check["what"].startswith("M instructions")]
    assert len(counted) == len(ERROR) * len(BOARDS)

    worse = json.loads(today.read_text())
    for variant in worse["variants"]:
        counted_there = variant["arm"]["cortex-a76"]
        counted_there["instructions"] = round(1.01 * counted_there["instructions"])
    today.write_text(json.dumps(worse))
    assert subprocess.run(gate, capture_output=True).returncode == 1


def test_export_chooses_by_a_cores_instructions(tmp_path: Path) -> None:
    needs(AARCH64)
    command = [*MOVINET, "export", "a0-stream", "-w", "random:1", "--resolution", "64"]
    command += ["--calibrate", "none", "-q", "auto", "--target", "cortex-a76", "-o", str(tmp_path)]
    command += ["--long-frames", "20"]
    done = subprocess.run([*command, "--min-sqnr", "45"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "M instr." in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a0-stream-float16.tflite"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("fmla v24.4s, v16.4s, v0.s[0]; fmla v25.4s, v16.4s, v1.s[0]; ldr q16, [x5]", blocks.ROWS),
        (
            "sdot v2.4s, v16.16b, v0.4b[0]; sdot v3.4s, v16.16b, v1.4b[0]; ldr q16, [x5]",
            blocks.ROWS,
        ),
        ("ldp q16, q17, [x5]; fmla v24.8h, v16.8h, v0.h[1]; ldr q0, [x3]", blocks.VECTOR),
        ("ldp q5, q7, [x22]; fmla v2.4s, v4.4s, v5.4s; fmla v3.4s, v6.4s, v7.4s", blocks.DEPTHWISE),
        (
            "fmla v3.4s, v2.4s, v6.4s; fmax v3.4s, v3.4s, v0.4s; fmin v3.4s, v3.4s, v1.4s; "
            "fmul v3.4s, v6.4s, v3.4s",
            blocks.ACTIVATIONS,
        ),
        (
            "fadd v6.8h, v4.8h, v0.8h; fmul v4.8h, v4.8h, v3.8h; smax v6.8h, v6.8h, v1.8h; "
            "smin v6.8h, v6.8h, v2.8h; fmul v4.8h, v4.8h, v6.8h",
            blocks.ACTIVATIONS,
        ),
        ("fcvtl v1.4s, v0.4h; fcvtl2 v2.4s, v0.8h; stp q1, q2, [x1]", blocks.CONVERSIONS),
        ("fadd v1.4s, v1.4s, v2.4s; ldr q2, [x1]; str q1, [x2]", blocks.ELEMENTWISE),
        ("ldp q0, q1, [x1]; stp q0, q1, [x0]; subs x2, x2, #0x20", None),
        ("fadd d0, d1, d2; add x0, x0, #1; mul x1, x2, x3", None),
    ],
)
def test_loops_are_known_by_what_they_do(code: str, kind: str | None) -> None:
    assert blocks.kind_of(code.split("; ")) == kind


@pytest.mark.parametrize(
    ("code", "known"),
    [
        (".byte 0x14, 0x12, 0x00, 0x4f", "fmla v20.8h, v16.8h, v0.h[0]"),
        (".byte 0x82, 0x0c, 0x45, 0x4e", "fmla v2.8h, v4.8h, v5.8h"),
        (".byte 0x84, 0x1c, 0x43, 0x6e", "fmul v4.8h, v4.8h, v3.8h"),
        (".byte 0x86, 0x14, 0x40, 0x4e", "fadd v6.8h, v4.8h, v0.8h"),
        (".byte 0x82, 0x34, 0x40, 0x4e", "fmax v2.8h, v4.8h, v0.8h"),
        (".byte 0x42, 0x34, 0xc1, 0x4e", "fmin v2.8h, v2.8h, v1.8h"),
        (".byte 0x00, 0x00, 0x00, 0x00", ".byte 0x00, 0x00, 0x00, 0x00"),
        ("fadd d0, d1, d2", "fadd d0, d1, d2"),
    ],
)
def test_half_precision_is_read(code: str, known: str) -> None:
    assert decoded(code) == known


def test_where_the_instructions_go(variants: dict[str, Path]) -> None:
    """The kinds make up the whole frame, as it was counted, and the network is most of it."""
    images = frames_for((172, 172), 5.0, None, 3)
    core = CORES["cortex-a72"]
    counted = emulate([variants["float32"]], [core], images)[variants["float32"], core.name]
    functions = blocks.attributed(variants["float32"], core.name)
    found = blocks.totals(functions)
    together = sum(found.values())
    assert together == pytest.approx(counted.instructions, rel=0.005)
    assert 0.5 < found[blocks.ROWS] / together < 0.62
    assert 0.15 < found[blocks.DEPTHWISE] / together < 0.2
    assert found[blocks.CONVERSIONS] < 0.01 * together
    assert found[blocks.OTHER] < 0.03 * together
    assert len({(one.library, one.offset) for one in functions}) > 20
    with pytest.raises(UsageError, match="aarch64 only"):
        blocks.attributed(variants["float32"], "armv7")


def test_an_elf_without_a_table_has_no_functions(tmp_path: Path) -> None:
    assert blocks.function_starts(tmp_path / "gone.so") == ()
    (tmp_path / "no.so").write_bytes(b"\x7fELF\x02\x01" + bytes(20))
    assert blocks.function_starts(tmp_path / "no.so") == ()


def test_32_bit_systems_run_tflite_runtime(variants: dict[str, Path]) -> None:
    needs(ARMV7L)
    images = frames_for((172, 172), 5.0, None, 4)
    found = emulate([variants["float32"]], [CORES["armv7"]], images)
    (one,) = found.values()
    assert (one.engine, one.agreement) == ("InterpreterEngine", 1)
    assert one.error < 1e-3


def test_what_cannot_be_emulated_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no core 'cortex-m0'; there are cortex-a72"):
        find_core("cortex-m0")
    nowhere = replace(AARCH64, emulator="qemu-of-nobody")
    with pytest.raises(MissingPackageError, match=r"qemu-of-nobody \(package qemu-user\)"):
        assemble(nowhere)
    needs(AARCH64)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    frame = [np.zeros((172, 172, 3), np.uint8)] * 3
    with pytest.raises(MovinetError, match="damaged"):
        emulate([damaged], [CORES["cortex-a72"]], frame)
    with pytest.raises(UsageError, match="needs 3 frames"):
        emulate([damaged], [CORES["cortex-a72"]], frame[:2])


def test_a_board_shows_its_own_processor() -> None:
    needs(AARCH64)
    root = assemble(AARCH64)
    with root.as_board(CORES["cortex-a76"]) as board:
        command = [AARCH64.emulator, "-L", str(board), "-cpu", "cortex-a76", str(root.python)]
        script = "import platform; print(platform.machine(), open('/proc/cpuinfo').read())"
        done = subprocess.run([*command, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("aarch64")
    assert done.stdout.count("0xd0b") == 4
