"""What a step computes and moves is counted right; the least is below what is taken.

The counts are compared with formulas over the family's table, which know nothing of the files.
"""

import json
import subprocess
import sys
from dataclasses import replace
from math import ceil, sqrt
from pathlib import Path

import pytest

from movinet_benchmarks.arm.cores import AARCH64
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.environment import Snapshot
from movinet_benchmarks.limits import __main__ as command
from movinet_benchmarks.limits import count, page, taken
from movinet_benchmarks.limits.count import Step, counted
from movinet_benchmarks.limits.least import VECTORS, Peak, least_instructions, least_time
from movinet_benchmarks.limits.taken import Effort, Times, times
from movinet_models.family import ModelSpec, lookup
from movinet_runtime.errors import ModelFileError, UsageError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile
from tests.conftest import write_stream_model

CLASSES = 600
PEAK = Peak(float32=50e9, int8=80e9, cached=50e9, memory=10e9)


def multiply_adds(spec: ModelSpec, classes: int) -> dict[str, int]:
    """Multiply-adds of a step by kind, from tables 1 and 2 of the paper."""
    arch = spec.architecture
    side = ceil(spec.resolution / 2)
    found = dict.fromkeys(count.PRODUCT_KINDS, 0)
    found[count.DENSE] = side**2 * 27 * arch.stem
    for layer in spec.layers():
        time, height, width = layer.kernel
        found[count.DENSE] += side**2 * layer.in_filters * layer.expand
        side = ceil(side / layer.stride)
        found[count.SPATIAL] += side**2 * height * width * layer.expand
        found[count.TEMPORAL] += side**2 * time * layer.expand if time > 1 else 0
        if arch.squeeze_excitation:
            found[count.GATES] += layer.se_hidden * (layer.se_inputs + layer.expand)
        skip = layer.in_filters if layer.projects_skip else 0
        found[count.DENSE] += side**2 * (layer.expand + skip) * layer.filters
    found[count.DENSE] += side**2 * arch.blocks[-1].filters * arch.project
    found[count.HEAD] = arch.head * (arch.project + classes)
    return found


def state_bytes(spec: ModelSpec) -> int:
    """Bytes of all states in float32: past frames, means, and the count."""
    side, values = ceil(spec.resolution / 2), 1 + spec.architecture.project
    for layer in spec.layers():
        side = ceil(side / layer.stride)
        values += (layer.kernel[0] - 1) * side**2 * layer.expand
        values += layer.expand if spec.architecture.squeeze_excitation else 0
    return 4 * values


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("limits")
    return {
        member: write_stream_model(folder / f"{member}.tflite", lookup(f"{member}-stream"), CLASSES)
        for member in ("a0", "t0", "a0lite")
    }


@pytest.fixture(scope="module")
def a0(models: dict[str, Path]) -> Step:
    return counted(models["a0"])


@pytest.mark.parametrize("member", ["a0", "t0", "a0lite"])
def test_multiply_adds_are_those_of_the_table(models: dict[str, Path], member: str) -> None:
    found = counted(models[member]).multiply_adds_by_kind()
    assert found == multiply_adds(lookup(f"{member}-stream"), CLASSES)


@pytest.mark.parametrize(
    ("member", "frames", "giga"),
    [
        ("a0", 50, 2.71),
        ("a1", 50, 6.02),
        ("a2", 50, 10.3),
        ("a3", 120, 56.9),
        ("a4", 80, 105.0),
        ("a5", 120, 281.0),
    ],
)
def test_multiply_adds_are_near_those_of_the_paper(member: str, frames: int, giga: float) -> None:
    """GFLOPs of table 4: of a clip through the base form, a multiply-add counted once."""
    found = frames * sum(multiply_adds(lookup(f"{member}-stream"), CLASSES).values()) / 1e9
    assert found == pytest.approx(giga, rel=0.1)


@pytest.mark.parametrize("member", ["a0", "t0", "a0lite"])
def test_states_are_those_of_the_table(models: dict[str, Path], member: str) -> None:
    step = counted(models[member])
    found = sum(tensor.bytes for tensor in step.states.values())
    assert found == state_bytes(lookup(f"{member}-stream"))
    assert found == inspect(ModelFile.read(models[member])).state_bytes


def test_bytes_of_a0_are_known(a0: Step, models: dict[str, Path]) -> None:
    moved = a0.bytes_moved()
    assert state_bytes(lookup("a0-stream")) == 2_696_772  # 2.70 MB
    assert moved["states written"] == 2_696_772
    assert moved["image read"] == 172 * 172 * 3 * 4
    assert moved["logits written"] == 4 * CLASSES
    # A past frame but the oldest is read twice, for the convolution and to be moved.
    assert 1.5 * 2_696_772 < moved["states read"] < 2.1 * 2_696_772
    weights = a0.weight_bytes
    assert 0.98 < weights / len(ModelFile.read(models["a0"]).content) < 1


def test_what_is_not_stored_is_found(a0: Step) -> None:
    """A convolution, its hard swish and its relu6 are one; no two convolutions are."""
    groups = a0.groups()
    assert sorted(map(id, (op for group in groups for op in group))) == sorted(
        map(id, a0.operators)
    )
    assert all(sum(op.multiply_adds > 0 for op in group) <= 1 for group in groups)
    names = [[op.op for op in group] for group in groups]
    assert names.count(["CONV_2D", "HARD_SWISH"]) == 1 + 15 + 15  # stem, expansions, gates
    (project,) = (one for one in names if one[:3] == ["CONV_2D", "HARD_SWISH", "MEAN"])
    assert project[3:] == ["SUB", "MUL", "ADD"]  # the running mean
    assert names.count(["DEPTHWISE_CONV_2D", "HARD_SWISH"]) == 15 + 11  # in space, in time
    outside = {t.index for side in (a0.inputs, a0.outputs) for t in side.values()}
    local = [t for op in a0.operators for t in op.outputs if t.local]
    assert local
    assert outside.isdisjoint(t.index for t in local)


def test_least_instructions_of_a_matrix_product(a0: Step) -> None:
    found = least_instructions(a0, VECTORS["cortex-a72"])
    dense = a0.multiply_adds_by_kind()[count.DENSE]
    assert found[count.DENSE].products == dense / 4
    # At least 2 / sqrt(128) values loaded for a multiply-add, eight an instruction.
    assert found[count.DENSE].memory > 0.9 * 2 * dense / sqrt(128) / 8
    head = a0.multiply_adds_by_kind()[count.HEAD]
    assert found[count.HEAD].memory == pytest.approx(head / 8, rel=0.01)  # a weight is used once
    assert found[count.COPIES].total == found[count.CONVERSIONS].total == 0


def test_tiles_hold_more_than_the_convolutions(a0: Step) -> None:
    """Widths of 8, 24, 56, 104 and 184 do not fill tiles of 16."""
    assert a0.tiled(1, 8) == 1  # all widths are multiples of 8
    assert a0.tiled(4, 16) == pytest.approx(1.121, abs=0.001)
    assert a0.tiled(1, 1) == 1
    (stem,) = [op for op in a0.operators if op.multiply_adds == 86 * 86 * 27 * 8]
    assert Step((stem,), {}, {}).tiled(1, 16) == 2


def test_half_precision_halves_the_least(a0: Step) -> None:
    """A float32 file stays in float32 on a core that has half precision."""
    assert not a0.half
    on_a72, on_a76 = (least_instructions(a0, VECTORS[core]) for core in VECTORS)
    assert on_a72 == on_a76
    assert sum(one.products for one in on_a72.values()) == a0.multiply_adds / 4


def test_least_time_is_a_roofline(a0: Step) -> None:
    computing = least_time(a0, Peak(50e9, 50e9, 1e18, 1e18))
    work = sum(op.work for op in a0.operators)
    assert computing.total == pytest.approx(1e3 * (a0.multiply_adds + work) / 50e9)
    moving = least_time(a0, Peak(1e18, 1e18, 50e9, 50e9))
    assert moving.total == pytest.approx(moving.paced)
    assert moving.total > 1e3 * (a0.weight_bytes + 2_696_772) / 50e9
    both = least_time(a0, PEAK)
    assert max(computing.total, moving.total) < both.total < computing.total + moving.total
    # From a slower memory at least the weights come more slowly.
    assert both.paced > both.total
    assert least_time(a0, Peak(50e9, 80e9, 50e9, 1e9)).paced > 1e3 * a0.weight_bytes / 1e9
    assert both.below(1 << 60) == pytest.approx(both.total)
    assert both.below(1) > 0


def test_small_operators_hold_few_of_the_multiply_adds(a0: Step) -> None:
    operators, products = a0.share_below(command.SMALL)
    assert operators > 0.75
    assert products < 0.03
    assert a0.share_below(0) == (0, 0)


def test_variants_of_a_file_compute_the_same(tmp_path: Path, a0: Step) -> None:
    found = command.export_all(["a0"], tmp_path, lambda n: None)
    steps = {path.stem.rpartition("-")[2]: counted(path) for path in found}
    assert steps.keys() == set(command.VARIANTS)
    for step in steps.values():
        assert step.multiply_adds_by_kind() == a0.multiply_adds_by_kind()
    assert steps["float16"].half
    assert not steps["dynamic"].half
    assert steps["float16"].weight_bytes == pytest.approx(a0.weight_bytes / 2, rel=0.001)
    assert steps["dynamic"].weight_bytes < 0.3 * a0.weight_bytes
    least = {
        (name, core): sum(one.total for one in least_instructions(step, VECTORS[core]).values())
        for name, step in steps.items()
        for core in VECTORS
    }
    assert least["float16", "cortex-a76"] < 0.55 * least["float32", "cortex-a76"]
    assert least["float16", "cortex-a72"] == pytest.approx(
        least["float32", "cortex-a72"], rel=0.001
    )
    assert least["dynamic", "cortex-a76"] < least["float32", "cortex-a76"]
    assert command.fits(steps["float16"], "cortex-a76")
    assert not command.fits(steps["float16"], command.HERE)
    assert command.fits(steps["dynamic"], command.HERE)
    assert not command.fits(steps["dynamic"], "cortex-a72")


def test_other_files_are_one_line(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(UsageError, match="does not say which model it is"):
        command.Subject.read(shared / "published/movinet_a0_stream_int8.tflite", ())
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\0\0\0\0TFL3" + bytes(40))
    with pytest.raises(ModelFileError):
        counted(damaged)


def test_googles_file_is_counted(shared: Path) -> None:
    """Nobody here wrote it; it is A0 without squeeze-excitation, all in int8."""
    step = counted(shared / "published/movinet_a0_stream_int8.tflite")
    assert step.multiply_adds_by_kind() == multiply_adds(lookup("a0lite-stream"), CLASSES)
    assert all(op.int8 for op in step.operators if op.multiply_adds)


def figures(models: dict[str, Path]) -> dict[str, object]:
    """Rows of two models, with times and counts that are made up."""
    rows = []
    for member in ("a0", "t0"):
        subject = command.Subject.read(models[member], ())
        rows.append(command.time_row(subject, PEAK, Times(2.0, 3.0, 0.73, ())))
        loops = dict.fromkeys(taken.LOOPS, 4_000_000)
        rows.append(command.instruction_row(subject, "cortex-a72", loops))
    machine = {"cpu": "a core"}
    peaks = {"float32": 5e10, "int8": 8e10, "memory": 1e10, "models": {"a0": {"cached": 5e10}}}
    effort = {"rounds": 2, "processes": 1}
    return {"date": "today", "machine": machine, "effort": effort, "peaks": peaks, "rows": rows}


def test_the_page_gets_new_tables_and_keeps_its_words(
    models: dict[str, Path], tmp_path: Path
) -> None:
    found = json.loads(json.dumps(figures(models)))
    old = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    new = page.rewritten(old, found, "x.md")
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert page.rewritten(new, found, "x.md") == new
    assert "| a0-stream-float32 | cortex-a72 | 16.2" in new
    assert "| 0.73 | 46% |" in new  # Amdahl's law
    page.picture(found, tmp_path / "limits.png")
    with pytest.raises(UsageError, match="has no place for tables"):
        page.rewritten("nothing", found, "x.md")


def test_the_document_is_of_today(a0: Step) -> None:
    """Made by the command, of the graph that is exported now."""
    text = (Path(__file__).parents[1] / "docs/limits.md").read_text("utf-8")
    assert text.count(page.BEGIN) == text.count(page.END) == 1
    least = least_instructions(a0, VECTORS["cortex-a72"])
    shown = f"{sum(one.total for one in least.values()) / 1e6:.2f} M"
    assert f"| a0-stream-float32 | cortex-a72 | {shown} |" in text, "run make limits"


def test_a_model_is_not_disturbed_by_the_one_before(stream_model: Path) -> None:
    """What loads the machine is judged by how it was when the command began."""
    effort = Effort(processes=1, rounds=2, paced_rounds=2, pace=50)
    busy = replace(Snapshot.now(), load=99.0)
    assert "the machine was busy before it began (load 99.0)" in (
        times(stream_model, effort, busy).disturbances
    )
    calm = times(stream_model, effort, replace(busy, load=0.0)).disturbances
    assert not any("busy before" in why for why in calm)


def test_the_command_measures_here(models: dict[str, Path], tmp_path: Path) -> None:
    small = write_stream_model(tmp_path / "small.tflite", lookup("t0-stream").at(64))
    run = [sys.executable, "-m", "movinet_benchmarks.limits", str(small), "--on", command.HERE]
    run += ["--processes", "1", "--rounds", "2", "--paced-rounds", "2", "--pace", "50", "--json"]
    done = subprocess.run([*run, "--output", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    assert row["on"] == command.HERE
    # A step cannot be faster than the machine, however it is disturbed.
    assert 0 < page.total(row["least"]) < row["taken"]
    assert found["peaks"]["int8"] > 0.5 * found["peaks"]["float32"] > 0
    assert json.loads((tmp_path / "out/limits.json").read_text()) == found
    assert (tmp_path / "out/limits.png").stat().st_size > 1000


def test_least_is_below_what_a_core_executes(tmp_path: Path) -> None:
    if missing := missing_tools(AARCH64):
        pytest.skip(f"no emulation here without {', '.join(missing)}")
    path = write_stream_model(tmp_path / "small.tflite", lookup("t0-stream").at(64))
    executed = taken.instructions([(path, "cortex-a72")])[path, "cortex-a72"]
    least = least_instructions(counted(path), VECTORS["cortex-a72"])
    for loop, kinds in taken.LOOPS.items():
        assert sum(least[kind].total for kind in kinds) <= executed[loop], loop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--member", "a9"], "unknown model 'a9-stream'"),
        (["--on", "cray"], "no limit is known for 'cray'"),
        (["--page", "nowhere.md"], "cannot read the page nowhere.md"),
        (["nowhere.tflite"], "cannot read the model nowhere.tflite"),
    ],
)
def test_what_cannot_be_is_one_line(options: list[str], message: str) -> None:
    run = [sys.executable, "-m", "movinet_benchmarks.limits", *options]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
