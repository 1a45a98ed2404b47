"""The install lines of README and docs, read from there and run in empty environments."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

from movinet_models.figures import Clip, render
from movinet_runtime import save_frames
from movinet_runtime.install import install_hint, interpreter_hint

ROOT = Path(__file__).parents[1]
PLACEHOLDER = "<URL of this repository>"
CLIP = Clip("test", 3)
FPS = 5.0
RUN = "movinet run ~/clip.gif --json >> ~/answers"
FAST = "--calibrate none --long-frames 20"
EXPORT = f"movinet export a0-stream --weights embedded {FAST} -o ~/made.tflite\n"


@dataclass(frozen=True)
class Shell:
    """A user's shell in an empty folder, where ``~`` is that folder."""

    home: Path

    def run(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run lines as they stand in a document; nothing of this process's environment helps."""
        python = Path(os.path.realpath(sys.executable)).parent
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHON", "MAKEFLAGS", "MAKELEVEL")
        } | {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
        lines = f"set -euo pipefail\n{script.replace('~/', f'{self.home}/')}"
        command = ["bash", "-c", lines]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.home, env=environment
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done


@pytest.fixture
def shell(registry: None, tmp_path: Path) -> Shell:
    frames = render(CLIP, fps=FPS)
    save_frames(tmp_path / "clip.gif", frames, FPS)
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The working tree as a repository with one commit, by its URL."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git, or no checkout of it")
    folder = tmp_path_factory.mktemp("repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *command], check=True, cwd=folder)
    return f"file://{folder}"


@pytest.fixture(scope="module")
def wheels(registry: None, repository: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``make wheels`` fills in a clone."""
    folder = tmp_path_factory.mktemp("wheels")
    Shell(folder).run(f"git clone -q {repository} here && cd here && make wheels")
    return folder / "here" / "dist"


def blocks(document: str, heading: str) -> list[str]:
    """Return the shell blocks of a section and the sections under it."""
    text = (ROOT / document).read_text("utf-8")
    level = heading.partition(" ")[0]
    _, _, section = text.partition(f"\n{heading}\n")
    assert section, f"{document} has no section {heading}"
    section = re.split(rf"\n#{{1,{len(level)}}} ", section)[0]
    return re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)


def checked_after_each(script: str, line: str) -> str:
    """Put a line after each installation of a script."""
    script = script.replace("\\\n", " ")
    return re.sub(r"^(\S*pip install .*)$", rf"\1\n{line}", script, flags=re.MULTILINE)


def answers(shell: Shell) -> list[str]:
    """Return the best label of each run."""
    lines = map(json.loads, (shell.home / "answers").read_text().splitlines())
    return [line["top"][0]["label"] for line in lines if "final" in line]


def test_the_readme_installs_from_wheels(shell: Shell, repository: str) -> None:
    from_wheels, _ = blocks("README.md", "## Install")
    script = checked_after_each(from_wheels.replace(PLACEHOLDER, repository), RUN)
    shell.run(f"{script}{EXPORT}{RUN} --model ~/made.tflite\nmovinet bench --help\npip check")
    assert answers(shell) == [CLIP.label] * 4


def test_the_readme_installs_from_git(shell: Shell, repository: str) -> None:
    _, from_git = blocks("README.md", "## Install")
    script = checked_after_each(from_git.replace(PLACEHOLDER, repository), RUN)
    # TensorFlow was installed once already; whether the line resolves is what is new.
    tensorflow = 'pip install "git+$URL#subdirectory=benchmarks'
    assert script.count(tensorflow) == 1
    script = script.replace(tensorflow, tensorflow.replace("install", "install --dry-run"))
    done = shell.run(script)
    assert re.search(r"Would install .*movinet-convert-0\.1\.0.* tensorflow-", done.stdout)
    assert answers(shell) == [CLIP.label] * 3


def test_the_page_for_boards_installs(shell: Shell, wheels: Path) -> None:
    on_computer, on_board, _ = blocks("docs/raspberry-pi.md", "## Install")
    copied = re.search(r"^scp (.*) pi@", on_computer, flags=re.MULTILINE)
    assert copied is not None
    shell.run(f"cd {wheels.parent} && cp {copied[1]} {shell.home}")
    lines = [line for line in on_board.splitlines() if not line.startswith("sudo ")]
    shell.run("\n".join(lines).replace("--system-site-packages ", ""))
    assert (shell.home / "movinet.service").exists()
    done = shell.run("~/movinet/bin/movinet run clip.gif --json")
    assert json.loads(done.stdout.splitlines()[-1])["top"][0]["label"] == CLIP.label


def test_the_page_for_watching_installs(shell: Shell, wheels: Path) -> None:
    on_computer, on_board, *_ = blocks(
        "docs/watch.md", "## From an empty SD card to the first event"
    )
    copied = re.search(r"^ *scp (.*) pi@", on_computer, flags=re.MULTILINE)
    assert copied is not None
    shell.run(f"cd {wheels.parent} && cp {copied[1]} {shell.home}")
    lines = [line for line in on_board.splitlines() if not re.match(r" *sudo (apt|useradd)", line)]
    shell.run("\n".join(lines).replace("sudo ", "").replace("/opt/movinet", "~/movinet"))
    assert (shell.home / "movinet-watch.service").exists()
    movinet = "~/movinet/bin/movinet watch"
    done = shell.run(f"{movinet} --example > config.toml\n{movinet} config.toml --check")
    assert "is right: 1 cameras, door" in done.stdout
    shell.run("~/movinet/bin/python -c 'import av, paho.mqtt.client'")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime ends with Python 3.11")
def test_the_lines_for_32_bits_give_a_runtime_without_litert(shell: Shell, wheels: Path) -> None:
    _, _, on_32_bits = blocks("docs/raspberry-pi.md", "## Install")
    shell.run(f"cp {wheels}/*.whl .\n{on_32_bits}")
    done = shell.run("~/movinet/bin/movinet run clip.gif --json")
    assert json.loads(done.stdout.splitlines()[-1])["top"][0]["label"] == CLIP.label
    assert "litert" not in shell.run("~/movinet/bin/pip list").stdout


@pytest.mark.parametrize("origin", ["wheels", "git"])
def test_what_is_missing_names_a_line_that_adds_it(
    shell: Shell, wheels: Path, repository: str, origin: str
) -> None:
    runtime = {
        "wheels": f"{wheels}/movinet_runtime-*.whl",
        "git": f"'git+{repository}#subdirectory=runtime'",
    }[origin]
    shell.run(f"python3 -m venv ~/env && ~/env/bin/pip install {runtime}")
    (shell.home / "a.mp4").write_bytes(b"x")

    def follow(arguments: str, extra: str = "") -> str:
        done = shell.run(f"~/env/bin/movinet {arguments}", check=False)
        assert done.returncode == 2, done.stderr
        line = re.search(rf"{shell.home}/env/bin/python3? -m pip .*", done.stderr)
        assert line is not None, done.stderr
        return shell.run(f"{line[0]} {extra}").stdout

    follow("run clip.gif")  # which model?
    assert CLIP.label in shell.run("~/env/bin/movinet run clip.gif").stdout
    if origin == "wheels":  # out of git: test_the_readme_installs_from_git
        follow("run a.mp4")  # a library
        assert "needs PyAV" not in shell.run("~/env/bin/movinet run a.mp4", check=False).stderr
        wanted = "movinet-benchmarks-0.1.0 movinet-convert-0.1.0"
        assert wanted in follow("export a0-stream -o a.tflite", "--dry-run")
    else:
        assert re.search(r"Would install .*\bav-", follow("run a.mp4", "--dry-run"))
    activated = shell.run(". ~/env/bin/activate; movinet export a -o a.tflite", check=False)
    assert "is not installed: pip install " in activated.stderr


def test_an_installed_package_needs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(Path(sys.executable).with_name(name)))
    assert install_hint("movinet-runtime[plot]") == "pip install 'movinet-runtime[plot]'"
    monkeypatch.setattr(shutil, "which", lambda name: f"/elsewhere/{name}")
    line = shlex.split(install_hint("movinet-runtime[plot]"))
    assert line == [sys.executable, "-m", "pip", "install", "movinet-runtime[plot]"]


@pytest.mark.parametrize(
    ("machine", "interpreter"),
    [
        *((machine, "ai-edge-litert") for machine in ("x86_64", "AMD64", "aarch64", "arm64")),
        *((machine, "tflite-runtime") for machine in ("armv7l", "armv8l")),
        ("armv6l", None),
    ],
)
def test_each_machine_gets_the_interpreter_that_exists_for_it(
    machine: str, interpreter: str | None
) -> None:
    project = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    needs = [Requirement(line) for line in project["dependencies"]]
    here = {"platform_machine": machine}
    taken = [one for one in needs if one.marker is None or one.marker.evaluate(here)]
    found = {one.name for one in taken} & {"ai-edge-litert", "tflite-runtime"}
    assert found == ({interpreter} if interpreter else set())
    (numpy,) = (one for one in taken if one.name == "numpy")
    assert ("2.0" in numpy.specifier) == (interpreter != "tflite-runtime")


def test_32_bits_are_told_what_to_do() -> None:
    assert interpreter_hint(None, "aarch64", 64).endswith("pip install ai-edge-litert")
    for machine in ("armv7l", "armv8l", "aarch64"):  # the last: a 64-bit kernel below
        hint = interpreter_hint("ai_edge_litert", machine, 32)
        assert "pip install 'tflite-runtime==2.14.0' 'numpy<2'" in hint
        assert "Python 3.9 to 3.11" in hint
    assert "pip" not in interpreter_hint(None, "armv6l", 32)
    assert "64-bit system" in interpreter_hint(None, "armv6l", 32)


def test_no_page_installs_our_packages_from_a_registry() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.*")]
    for page in pages:
        if page.suffix in (".md", ".py", ".service", ".ipynb"):
            text = page.read_text("utf-8")
            assert not re.search(r"pip install (--\S+ )*['\"]?movinet-\w+['\"`]?(\s|$)", text), page
