"""The rooms of the code: no circle between modules, and no function too long to read."""

import ast
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "models": "movinet_models",
    "runtime": "movinet_runtime",
    "convert": "movinet_convert",
    "benchmarks": "movinet_benchmarks",
}
LONGEST = 80  # lines of a function without its options and docstring


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for room, package in PACKAGES.items():
        for path in (ROOT / room / package).rglob("*.py"):
            parts = path.relative_to(ROOT / room).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Container[str]) -> Iterator[str]:
    """The modules that a file imports anywhere: for types and inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def test_no_import_circle() -> None:
    known = modules()
    needs = {name: set(imported(path, known)) for name, path in known.items()}
    assert len(needs) > 90
    # Names of movinet_runtime itself are looked up in its modules when they are used.
    needs["movinet_runtime"] = set()
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    assert not needs, f"import each other: {sorted(needs)}"


@pytest.mark.parametrize("room", PACKAGES)
def test_no_function_is_too_long(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1
                assert lines <= LONGEST, f"{path.name}: {node.name} has {lines} lines"


def test_nothing_of_the_runtime_needs_the_watching() -> None:
    """So that movinet run and the library stay as light as they are."""
    known = modules()
    inside = "movinet_runtime.watch"
    for name, path in known.items():
        if name.startswith("movinet_runtime") and not name.startswith(inside):
            assert not any(other.startswith(inside) for other in imported(path, known)), name


def called(path: Path) -> set[str]:
    """The names of the functions and methods that a file calls."""
    calls = [
        node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    ]
    names = [call.id for call in calls if isinstance(call, ast.Name)]
    return {*names, *(call.attr for call in calls if isinstance(call, ast.Attribute))}


def test_clips_are_decoded_sampled_and_resized_in_one_place() -> None:
    """And movinet run, which times each of the steps."""
    loops = [name for name, path in modules().items() if {"resized", "sampled"} <= called(path)]
    # Training cuts windows out of clips before it resizes them.
    assert sorted(loops) == ["movinet_convert.training.reading", "movinet_runtime.sources.clips"]


def test_the_frame_count_has_one_name() -> None:
    named = [name for name, path in modules().items() if '"state_frame_count"' in path.read_text()]
    assert named == ["movinet_runtime.tensors"]
