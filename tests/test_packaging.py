"""The runtime wheel alone, in an empty environment, as on a board."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import tomllib
from PIL import Image

ROOT = Path(__file__).parents[1]


def test_the_runtime_wheel_installs_alone_and_runs(tmp_path: Path, stream_model: Path) -> None:
    wheels = tmp_path / "wheels"
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--outdir",
        wheels,
        ROOT / "runtime",
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.glob("movinet_runtime-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run([*pip, wheel], check=True, capture_output=True)

    for i in range(3):
        Image.effect_noise((64, 64), 80).save(tmp_path / f"{i}.png")
    # The folder of the checkout must not be what is imported.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [tmp_path / "env" / "bin" / "movinet", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    done = movinet("run", tmp_path, "--model", stream_model)
    assert done.returncode == 0, done.stderr
    assert "action " in done.stdout
    assert movinet("inspect", stream_model).returncode == 0
    missing = movinet("export", "a0-stream", "-o", "a.tflite")
    assert missing.returncode == 2
    assert "pip install movinet-convert" not in missing.stderr  # it is on no registry
    assert "dist/movinet_benchmarks-*.whl dist/movinet_convert-*.whl" in missing.stderr
    (tmp_path / "a.mp4").write_bytes(b"x")
    no_video = movinet("run", tmp_path / "a.mp4", "--model", stream_model)
    assert no_video.returncode == 2
    assert "pip install 'movinet-runtime[video]'" in no_video.stderr


def test_the_table_of_commands_is_what_the_packages_offer() -> None:
    table = ROOT / "runtime" / "movinet_runtime" / "cli" / "commands.json"
    known = {name: package for name, (package, _) in json.loads(table.read_text()).items()}
    offered = {}
    for project in ROOT.glob("*/pyproject.toml"):
        about = tomllib.loads(project.read_text())["project"]
        for name in about.get("entry-points", {}).get("movinet.commands", {}):
            offered[name] = about
    assert known.keys() == offered.keys()
    for name, package in known.items():
        needed = re.fullmatch(r"([\w-]+)(?:\[(\w+)\])?", package)
        assert needed is not None
        assert needed[1] == offered[name]["name"], name
        assert needed[2] is None or needed[2] in offered[name]["optional-dependencies"], name


def test_packages_need_only_those_before_them() -> None:
    order = json.loads((ROOT / "runtime" / "movinet_runtime" / "packages.json").read_text())
    for at, name in enumerate(order):
        text = (ROOT / name.removeprefix("movinet-") / "pyproject.toml").read_text()
        about = tomllib.loads(text)["project"]
        assert about["name"] == name
        extras = about.get("optional-dependencies", {}).values()
        needed = [*about["dependencies"], *(one for extra in extras for one in extra)]
        ours = {found[0] for one in needed if (found := re.match(r"movinet-\w+", one))}
        assert ours <= set(order[:at]), name
    assert {f"movinet-{path.parent.name}" for path in ROOT.glob("*/pyproject.toml")} == set(order)


def test_the_runtime_does_not_know_who_depends_on_it() -> None:
    for file in (ROOT / "runtime").rglob("*.py"):
        for other in ("convert", "models", "benchmarks"):
            assert not re.search(rf"movinet[-_]{other}\b", file.read_text()), file


@pytest.mark.parametrize("room", ["models", "runtime", "benchmarks"])
def test_only_convert_imports_tensorflow(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in ("tensorflow", "keras", "tf_keras"), file


def test_convert_names_its_interpreter_and_no_keras_with_known_holes() -> None:
    """CVE-2025-8747 and CVE-2025-9905: mended in 3.11.3."""
    about = tomllib.loads((ROOT / "convert/pyproject.toml").read_text())["project"]
    assert any(one.startswith("ai-edge-litert") for one in about["dependencies"])
    (keras,) = (one for one in about["dependencies"] if one.startswith("keras"))
    least = re.search(r">=([\d.]+)", keras)
    assert least is not None
    assert tuple(map(int, least[1].split("."))) >= (3, 11, 3)
