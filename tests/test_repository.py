"""What users and contributors copy out of the repository holds what the code says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import yaml

from movinet_models import MODEL_IDS

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "examples" / "movinet.service"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MOVINET = Path(sys.executable).with_name("movinet")


def movinet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MOVINET, *arguments], capture_output=True, text=True)


def settings(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Z]\w+=", line))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("mistake", ["", "Reboot=always\n"])
def test_systemd_takes_the_unit(tmp_path: Path, mistake: str) -> None:
    copy = tmp_path / "movinet.service"
    text = UNIT.read_text("utf-8").replace("/opt/movinet/bin/movinet", str(MOVINET))
    copy.write_text(text.replace("[Service]\n", f"[Service]\n{mistake}"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    if "Failed to" in done.stderr and "bus" in done.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {done.stderr.splitlines()[0]}")
    # It complains of what it ignores and still ends with 0.
    assert (done.returncode == 0 and not done.stderr.strip()) == (not mistake), done.stderr


def test_the_unit_runs_what_the_page_installs() -> None:
    found = settings(UNIT.read_text("utf-8"))
    assert {"0", "143"} <= set(found["SuccessExitStatus"].split())
    program, command, *arguments = shlex.split(found["ExecStart"])
    known = movinet(command, "--help").stdout
    assert all(word in known for word in arguments if word.startswith("--"))
    page = (ROOT / "docs" / "raspberry-pi.md").read_text("utf-8")
    assert "(../examples/movinet.service)" in page
    folder = str(Path(program).parents[1])
    assert f"sudo python3 -m venv {folder}\n" in page
    assert f"sudo {folder}/bin/pip install ./movinet_runtime-*.whl" in page
    assert f"useradd --system --groups {found['SupplementaryGroups']} {found['User']}" in page
    assert arguments[arguments.index("--model") + 1].startswith(folder)


def test_ci_runs_what_we_run_on_every_python() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    least, beyond = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(int(least), int(beyond))]
    assert job["strategy"]["matrix"]["python"] == versions
    runs = [step.get("run", "").strip() for step in job["steps"]]
    assert runs.index(".ci/run") < runs.index("make wheels")
    (upload,) = (step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == "dist/*.whl"
    assert "secrets" not in text


def test_hooks_check_what_make_lint_checks(tmp_path: Path) -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    _, _, lint = (ROOT / "Makefile").read_text("utf-8").partition("\nlint: setup\n")
    linters = re.findall(r"\t\$\(BIN\)/(\w+ ?\w*)", lint.partition("\n\n")[0])
    ours = {" ".join([Path(entry[0]).name, *entry[1:2]]) for entry in entries}
    assert ours == {linter.strip() for linter in linters}
    bad = tmp_path / "bad.py"
    for program, *arguments in entries[:2]:
        bad.write_text("import os\nx = {  }\n")
        here = Path(sys.executable).with_name(Path(program).name)
        command: list[str | Path] = [here, *arguments, "--no-cache", bad]
        done = subprocess.run(command, capture_output=True, cwd=ROOT)
        assert done.returncode or bad.read_text() != "import os\nx = {  }\n", program


def test_the_changelog_knows_the_version_and_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(PROJECT['version'])} - \d{{4}}-\d\d-\d\d", headings[1])
    commands = re.findall(r"^│? *(\w+)  ", movinet("--help").stdout, flags=re.MULTILINE)
    assert {"run", "export", "pull"} <= set(commands)
    for command in commands:
        assert f"`movinet {command}" in text, command


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    targets = set(re.findall(r"^(\w+): ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", text)) <= targets
    named = re.findall(r"`((?:models|convert|runtime|benchmarks|tests)/[\w./]*)", text)
    for name in named:
        path = name.replace("NAME", "torch").rstrip(".")
        assert (ROOT / path).exists(), name


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / page).read_text("utf-8")):
        assert (ROOT / target).exists(), target


def test_pages_name_models_that_exist() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8") + (ROOT / "README.md").read_text("utf-8")
    for name in re.findall(r"`(\w\d(?:lite)?-(?:stream|base))`", text):
        assert name in MODEL_IDS, name
