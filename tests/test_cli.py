"""The command line as a user meets it: real processes, exit codes, one-line errors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from movinet_runtime.cli.main import main

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MOVINET, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, io, contextlib; sys.argv = ['movinet', '--help']\n"
        "from movinet_runtime.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "assert 'export' in out.getvalue()"
    )
    heavy = {"numpy", "PIL", "av", "ai_edge_litert", "keras", "tensorflow", "rich"}
    assert not modules_after(code) & heavy


def test_the_runtime_never_loads_tensorflow(stream_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    code = (
        "import movinet_runtime as m\n"
        "for name in m.__all__: getattr(m, name)\n"
        f"c = m.StreamClassifier({str(stream_model)!r})\n"
        f"for f in m.open_frames({str(tmp_path)!r}).sampled(c.fps): c.step(f.image).top(5)"
    )
    loaded = modules_after(code)
    assert "ai_edge_litert" in loaded
    assert not loaded & {"tensorflow", "keras", "tf_keras", "movinet_convert", "av"}


def test_all_names_what_is_exported() -> None:
    import movinet_runtime

    assert set(movinet_runtime.__all__) == set(movinet_runtime._HOMES)
    for name in movinet_runtime.__all__:
        assert getattr(movinet_runtime, name).__module__.startswith("movinet_runtime.")
    with pytest.raises(AttributeError):
        movinet_runtime.nothing_like_it  # noqa: B018


def test_every_error_source_and_event_is_public() -> None:
    import movinet_runtime
    from movinet_runtime import decisions, errors
    from movinet_runtime.sources import source

    public = set(movinet_runtime.__all__)
    for module in (errors, decisions, source):
        for name, thing in vars(module).items():
            own = isinstance(thing, type) and thing.__module__ == module.__name__
            if own and not name.startswith("_") and name != "SampledRun":
                assert name in public, name


def test_run_as_json_and_as_text(stream_model: Path, write_video: Callable[..., Path]) -> None:
    clip = write_video(frames=12, fps=10)
    done = movinet("run", clip, "--model", stream_model, "--top-k", 2, "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    *frames, final = [json.loads(line) for line in done.stdout.splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(6))
    assert final["final"] is True
    assert final["frames"] == 6
    assert final["top"] == frames[-1]["top"]
    assert len(final["top"]) == 2
    assert final["top"][0]["label"].startswith("action ")

    text = movinet("run", clip, "--model", stream_model)
    assert text.returncode == 0
    assert f"{final['top'][0]['probability']:.1%}" in text.stdout
    assert "6 frames" in text.stdout


def test_export_inspect_run(tmp_path: Path) -> None:
    path, labels = tmp_path / "a0.tflite", tmp_path / "labels.txt"
    labels.write_text("\n".join(f"label {i}" for i in range(600)))
    arguments = ("-w", "random:1", "--resolution", 64, "--labels", labels, "-o", path)
    fast = ("--calibrate", "none", "--long-frames", 20)
    done = movinet("export", "a0-stream", *arguments, *fast, "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads(done.stdout)
    assert summary["parity"][0]["error"] < 1e-4
    assert summary["parity"][0]["holds"]
    assert summary["delegate_partitions"] == 1
    inspected = movinet("inspect", path, "--json")
    assert json.loads(inspected.stdout)["metadata"]["labels"][7] == "label 7"
    table = movinet("inspect", path, "--tensors")
    assert "state_block1_layer0_stream_buffer_1 " in table.stdout
    for i in range(3):
        Image.effect_noise((64, 64), 80).save(tmp_path / f"{i}.png")
    assert "label " in movinet("run", tmp_path, "-m", path).stdout


def test_auto_takes_the_fastest_that_is_true_enough(tmp_path: Path) -> None:
    fast = ("--resolution", 64, "--calibrate", "none", "--long-frames", 50)
    random = ("-w", "random:1", *fast, "-q", "auto", "-o", tmp_path)
    done = movinet("export", "t0-stream", *random, "--min-sqnr", 45)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()
    assert path.name in ("t0-stream-float16.tflite", "t0-stream-float32.tflite")
    assert "fastest with 45 dB" in done.stdout
    chosen = [line for line in done.stdout.splitlines() if line.rstrip().endswith("chosen")]
    assert [line.split()[0] for line in chosen] == [path.stem.removeprefix("t0-stream-")]

    exact = movinet("export", "t0-stream", *random, "--min-sqnr", 199)
    assert exact.returncode == 0, exact.stderr
    assert (tmp_path / "t0-stream-float32.tflite").exists()


def test_models_lists_the_family() -> None:
    assert "a5-base" in movinet("models").stdout
    listed = json.loads(movinet("models", "--json").stdout)
    assert listed["models"]["a0-stream"]["top1"] == 72.05
    assert listed["models"]["t0-stream"]["sources"] == []


def test_models_recommends_a_variant_for_each_board() -> None:
    shown = movinet("models").stdout
    for core, board in json.loads(movinet("models", "--json").stdout)["cores"].items():
        assert core in shown
        true = [v for v in board["variants"] if v["sqnr_db"] >= 30]
        cheapest = min(true, key=lambda variant: variant["instructions"])
        assert board["take"] == cheapest["variant"]
        assert f"{cheapest['instructions']:.1f}" in shown


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path: Path, stream_model: Path) -> None:
    cut, clip_model = tmp_path / "cut.tflite", tmp_path / "base.tflite"
    cut.write_bytes(stream_model.read_bytes()[:100_000])
    from movinet_convert import clip_graph, flatbuffer
    from movinet_convert.parameters import random_weights
    from movinet_models.family import lookup

    base = lookup("t0-base").at(32)
    graph = clip_graph.build(base, random_weights(base, 4), frames=2)
    clip_model.write_bytes(flatbuffer.serialize(graph, "base", {}))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "two.txt").write_text("a\nb\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    out = tmp_path / "out.tflite"
    random = ("-w", "random", "--resolution", 32)
    for arguments, message in (
        (("run", tmp_path / "a.png", "-m", cut), "cannot be"),
        (("run", tmp_path / "a.png", "-m", clip_model), "no stream model"),
        (("run", tmp_path / "a.png", "-m", tmp_path / "gone.tflite"), "No such file"),
        (("run", tmp_path / "gone.mp4", "-m", stream_model), "does not exist"),
        (("run", tmp_path / "empty.mp4", "-m", stream_model), "no video that can be read"),
        (("run", tmp_path / "a.png", "-m", stream_model, "--fit", "zoom"), "--fit is"),
        (("run", tmp_path / "a.png", "-m", stream_model, "--fps", "0"), "must be positive"),
        (("inspect", cut), "cannot be"),
        (("export", "a9-stream", "-o", out), "unknown model"),
        (("export", "t0-stream", "-o", out), "give --weights"),
        (("export", "a0-stream", "-w", tmp_path / "gone", "-o", out), "no weights at"),
        (("export", "a0-stream", *random, "-o", out, "--frames", 3), "for base models"),
        (
            ("export", "a0-stream", *random, "-o", out, "--labels", tmp_path / "two.txt"),
            "2 labels for 600 logits",
        ),
        (("export", "a0-stream", *random, "-o", tmp_path / "no" / "out.tflite"), "cannot write"),
        (("export", "a0-stream", *random, "-o", out, "-q", "int4"), "no variant 'int4'"),
        (("export", "a0-stream", *random, "-o", out, "-q", "all"), "name a folder"),
        (("export", "a0-stream", *random, "-o", out, "-q", "auto", "--target", "z80"), "no target"),
        (("verify", cut, "--against", cut, "--clips", tmp_path / "a.png"), "cannot be"),
    ):
        done = movinet(*arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr, done.stderr
        lines = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
        assert len(lines) == 1, done.stderr
        assert not out.exists()
    assert "Traceback" in movinet("run", "gone.mp4", "-m", stream_model, "--debug").stderr


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from movinet_runtime.cli import main
    from movinet_runtime.errors import MissingPackageError

    monkeypatch.setattr(main, "_offered", dict)
    monkeypatch.setattr(sys, "argv", ["movinet", "export", "a0-stream"])
    with pytest.raises(MissingPackageError, match="pip install movinet-convert"):
        main.app(["export", "a0-stream"], standalone_mode=False)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "No space left on device: /tmp/x"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_machine_lacks_is_one_line(
    raised: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(arguments: list[str]) -> None:
        raise raised

    monkeypatch.setattr("movinet_runtime.cli.main.app", fails)
    monkeypatch.setattr(sys, "argv", ["movinet", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"movinet: {said}\n"
    monkeypatch.setattr(sys, "argv", ["movinet", "run", "--debug"])
    with pytest.raises(type(raised)):
        main()


def test_an_interrupt_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(group: object, context: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperGroup.invoke", interrupted)
    monkeypatch.setattr(sys, "argv", ["movinet", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert "movinet: interrupted" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_fails_before_the_work(tmp_path: Path) -> None:
    words = ["export", "a0-stream", "-w", "random", "-o", "/proc/x.tflite"]
    done = movinet(*words)
    assert done.returncode == 2
    assert "cannot write /proc/x.tflite" in done.stderr
    assert "reading" not in done.stderr
    missing = tmp_path / "gone"
    done = movinet("export", "a0-stream", "-w", tmp_path / "no", "-o", missing)
    assert done.returncode == 2
    assert not missing.exists()


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("run clip.gif", "--on", "0.5"),
        ("run clip.gif", "--off", "0.5"),
        ("run clip.gif", "--min-duration", "1"),
        ("run clip.gif", "--size", "8x8"),
        ("export t0-stream -w random -q float32", "--calibrate", "none"),
        ("export t0-base -w random", "--long-frames", "9"),
        ("export t0-stream -w random -q dynamic", "--no-half-arithmetic", None),
        ("export t0-stream -w random", "--target", "cortex-a72"),
        ("bench m.tflite", "--long-frames", "9"),
        ("bench m.tflite", "--core-frames", "9"),
        ("bench m.tflite", "--host-limit", "9"),
        ("bench compare a.json b.json", "--rounds", "9"),
        ("bench compare a.json b.json", "--processes", "9"),
        ("bench compare a.json b.json", "--against", "m.tflite"),
    ],
)
def test_options_that_change_nothing_are_refused(
    command: str,
    option: str,
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*command.split(), *(["-o", "x.tflite"] if "export" in command else []), option]
    monkeypatch.setattr(sys, "argv", ["movinet", *words, *([] if value is None else [value])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"movinet: {option.replace('--no-', '--')} is for ")


def test_auto_looks_for_its_output_before_it_measures(tmp_path: Path) -> None:
    words = ("-w", "random:1", "--resolution", 32, "-q", "auto", "-o", tmp_path / "gone/x.tflite")
    done = movinet("export", "t0-stream", *words)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert "reading" not in done.stderr
    assert "measuring" not in done.stderr


def test_names_with_brackets_are_names(stream_model: Path, tmp_path: Path) -> None:
    """rich would take them for its markup, or for an error in it."""
    odd = tmp_path / "a[b] [red].tflite"
    odd.write_bytes(stream_model.read_bytes())
    for i in range(3):
        Image.effect_noise((64, 64), 80).save(tmp_path / f"{i}.png")
    clips = ("--clips", tmp_path / "*.png")
    for words in (
        ("verify", odd, "--against", stream_model, *clips, "--long-frames", 4),
        ("bench", odd, "--processes", 1, "--rounds", 2),
        ("inspect", odd),
    ):
        done = movinet(*words)
        assert done.returncode == 0, done.stderr
        assert "a[b]" in done.stdout
