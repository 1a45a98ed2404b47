"""movinet label: the same rows whatever the workers, and nothing lost."""

import csv
import json
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from movinet_runtime import StreamModel, UsageError, events, open_frames
from movinet_runtime.archive.formats import Cues, subtitle_paths
from movinet_runtime.archive.journal import Journal, Part
from movinet_runtime.archive.pieces import (
    About,
    Job,
    cuts,
    lead_in,
    mapped,
    path_map,
    pieces,
    reach,
    window_begin,
    window_of,
)
from movinet_runtime.archive.plan import Entry, find
from movinet_runtime.archive.rows import Row
from movinet_runtime.archive.work import digest
from movinet_runtime.workers import Lost, local_processes, results
from tests import labelling
from tests.labelling import archive, film, killed_at, label
from tests.small import LABELS, small_model

DAMAGED = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.tflite")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("archive") / "films", 60, DAMAGED)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("long") / "long.mp4", 61.3, fps=12, seed=7)


@pytest.fixture(scope="module")
def undisturbed(films: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one process makes of the films."""
    output = tmp_path_factory.mktemp("undisturbed") / "labels.jsonl"
    about = label(films, "-o", output, "-m", model, "--on", 1)
    assert (about["files"], about["failed"]) == (60, DAMAGED)
    return output.read_bytes()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_of_files_and_errors(films: Path, undisturbed: bytes) -> None:
    rows = [json.loads(line) for line in undisturbed.splitlines()]
    paths = list(dict.fromkeys(row["path"] for row in rows))
    assert paths == sorted(map(str, films.iterdir()))
    wrong = [row for row in rows if row["error"]]
    assert [Path(row["path"]).name for row in wrong] == [
        "0003.mp4",
        "0018.mp4",
        "0033.mp4",
        "0048.mp4",
    ]
    assert all(row["label"] is None and row["top"] == [] for row in wrong)
    first = [row for row in rows if row["path"] == paths[0]]
    assert [(row["start"], row["end"], row["frame"]) for row in first] == [
        (0.0, 1.0, 0),
        (1.0, 2.0, 5),
    ]
    assert first[0]["top"][0] == {
        "label": first[0]["label"],
        "probability": first[0]["probability"],
    }
    assert sum(one["probability"] for one in first[0]["top"]) == pytest.approx(1, abs=1e-5)


def test_windows_are_means_of_what_run_says(model: Path, films: Path, undisturbed: bytes) -> None:
    stream = StreamModel(model, threads=1).stream()
    with open_frames(films / "0000.mp4") as source:
        said = [stream.step(f.image, f.time).probabilities for f in source.sampled(5.0)]
    rows = [json.loads(line) for line in undisturbed.splitlines()[:2]]
    for row, window in zip(rows, (said[:5], said[5:]), strict=True):
        told = {one["label"]: one["probability"] for one in row["top"]}
        mean = np.mean(window, axis=0)
        assert [told[name] for name in LABELS] == pytest.approx(mean.tolist(), abs=2e-6)


def test_any_workers_make_the_same(
    films: Path, model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "labels.jsonl"
    label(films, "-o", output, "-m", model, "--on", 3)
    assert output.read_bytes() == undisturbed


def test_killed_three_times_and_resumed(
    films: Path, model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "labels.jsonl"
    journal = tmp_path / "labels.jsonl.journal"
    arguments = (films, "-o", output, "-m", model, "--on", 2)
    chance = random.Random(19)
    count = 0
    for i in range(3):
        count = labelling.finished(journal) + chance.randint(3, 12)
        killed_at(count, journal, *arguments, *(["--resume"] if i else []))
        assert not output.exists()
    refused = label(*arguments, code=2)
    assert "--resume goes on" in refused["said"]
    about = label(*arguments, "--resume")
    assert about["skipped_pieces"] >= count
    assert output.read_bytes() == undisturbed
    again = label(*arguments, "--resume")
    assert again["skipped_pieces"] == 60 - DAMAGED
    assert again["frames"] == 0
    assert output.read_bytes() == undisturbed


def test_ctrl_c_leaves_whole_files(
    films: Path, model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "labels.jsonl"
    arguments = (films, "-o", output, "-m", model, "--on", 2)

    def interrupt(pid: int) -> None:
        os.kill(pid, signal.SIGINT)

    journal = tmp_path / "labels.jsonl.journal"
    done = killed_at(9, journal, *arguments, who=interrupt)
    assert done.returncode == 130
    (said,) = done.stderr.splitlines()
    assert "--resume goes on" in said
    rows = output.read_bytes().splitlines()
    assert 9 <= len(rows) < len(undisturbed.splitlines())
    assert set(rows) <= set(undisturbed.splitlines())
    label(*arguments, "--resume")
    assert output.read_bytes() == undisturbed


def test_a_killed_process_costs_nothing(
    films: Path, model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "labels.jsonl"

    def kill_a_worker(pid: int) -> None:
        os.kill(labelling.children(pid)[0], signal.SIGKILL)

    journal = tmp_path / "labels.jsonl.journal"
    done = killed_at(5, journal, films, "-o", output, "-m", model, "--on", 2, who=kill_a_worker)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == undisturbed


def test_a_task_that_kills_is_tried_elsewhere_and_given_up() -> None:
    found = dict(results("2", labelling.deadly, iter(range(8))))
    assert isinstance(found.pop(3), Lost)
    assert found == {i: 2 * i for i in range(8) if i != 3}


def test_a_task_whose_process_dies_once_has_a_result(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    found = dict(results("local:2", labelling.deadly_once, ((i, mark) for i in range(5))))
    assert found == {i: 2 * i for i in range(5)}


def test_processes_end_with_their_parent(films: Path, model: Path, tmp_path: Path) -> None:
    workers: list[int] = []

    def kill(pid: int) -> None:
        workers.extend(labelling.children(pid))
        os.kill(pid, signal.SIGKILL)

    output = tmp_path / "labels.jsonl"
    killed_at(
        5, tmp_path / "labels.jsonl.journal", films, "-o", output, "-m", model, "--on", 2, who=kill
    )
    assert len(workers) == 2
    labelling.wait_for(lambda: not any(_lives(pid) for pid in workers), 10)


def _has(journal: Path, count: int) -> bool:
    return labelling.finished(journal) >= count


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "rows", [["--every", "frame"], ["--every", "1.4s"], ["--events", "--threshold", "0.4"]]
)
def test_cut_equals_uncut(model: Path, long_film: Path, tmp_path: Path, rows: list[str]) -> None:
    """The small model remembers one frame, so that even a lead-in of one is enough."""
    made = []
    for i, segment in enumerate((0, 7)):
        output = tmp_path / f"{i}.jsonl"
        options = ("--lead-in", 0.2, "--segment", segment)
        label(long_film, "-o", output, "-m", model, *rows, *options, "--on", 2)
        made.append(output.read_bytes())
    assert made[0] == made[1]
    assert len(made[0].splitlines()) > 4


def test_events_are_those_of_the_library(model: Path, long_film: Path, tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    label(long_film, "-o", output, "-m", model, "--events", "--threshold", 0.4, "--segment", 9)
    stream = StreamModel(model, threads=1).stream()
    with open_frames(long_film) as source:
        predictions = [stream.step(f.image, f.time) for f in source.sampled(5.0)]
    ends = [event for event in events(predictions, on=0.4) if event.kind == "end"]
    assert len(ends) > 3
    for row, event in zip(lines(output), ends, strict=True):
        assert row["label"] == event.label
        assert row["end"] == pytest.approx(event.time)
        assert row["end"] - row["start"] == pytest.approx(event.duration, abs=2e-6)
        assert row["probability"] == pytest.approx(event.probability, abs=1e-6)


def test_real_clips_cut_and_uncut(shared: Path, tmp_path: Path) -> None:
    """The embedded model's lead-in by default, over clips one after the other."""
    import av

    joined = tmp_path / "joined.mp4"
    names = ("arm_wrestling", "carving_ice", "cleaning_pool")
    with av.open(str(joined), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for name in names * 4:
            for frame in open_frames(shared / "clips" / f"{name}.mp4").sampled(10.0):
                picture = av.VideoFrame.from_ndarray(frame.image, "rgb24")
                for packet in stream.encode(picture.reformat(160, 120, "yuv420p")):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    made = []
    for i, segment in enumerate((0, 12)):
        label(joined, "-o", tmp_path / f"{i}.jsonl", "--every", "frame", "--segment", segment)
        made.append(lines(tmp_path / f"{i}.jsonl"))
    assert len(made[0]) > 500
    decided = [
        (one["label"], other["label"])
        for one, other in zip(*made, strict=True)
        if one["top"][0]["probability"] - one["top"][1]["probability"] > 0.1
    ]
    assert len(decided) > 100
    assert sum(one == other for one, other in decided) >= 0.99 * len(decided)


def test_formats_hold_the_same(films: Path, model: Path, tmp_path: Path) -> None:
    some = [films / "0000.mp4", films / "0003.mp4", films / "0005.mp4"]
    for suffix in ("jsonl", "parquet", "csv", "json"):
        label(*some, "-o", tmp_path / f"labels.{suffix}", "-m", model, "--on", 1)
    rows = lines(tmp_path / "labels.jsonl")
    table = pyarrow.parquet.read_table(tmp_path / "labels.parquet")
    assert table.to_pylist() == rows
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds == {
        "path": "string",
        "start": "double",
        "end": "double",
        "frame": "int64",
        "label": "string",
        "probability": "double",
        "top": "list<element: struct<label: string, probability: double>>",
        "truth": "string",
        "error": "string",
    }
    with (tmp_path / "labels.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [(row["path"], row["label"]) for row in told] == [
        (row["path"], row["label"] or "") for row in rows
    ]
    results = json.loads((tmp_path / "labels.json").read_text())
    assert results["results"]["0003"] == []
    assert str(some[1]) in results["external_data"]["errors"]
    assert results["results"]["0000"][0] == {
        "label": rows[0]["label"],
        "score": rows[0]["probability"],
        "segment": [0.0, 1.0],
    }


def test_lists_with_times_and_truths(long_film: Path, model: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "clips.csv", tmp_path / "labels.jsonl"
    table.write_text(
        f"path,start,end,label\n{long_film},10,12,swimming\n{long_film},,,\ngone.mp4,0,1,x\n"
    )
    label(table, "-o", output, "-m", model, "--every", "frame", "--segment", 0)
    rows = lines(output)
    part = [row for row in rows if row["truth"] == "swimming"]
    assert [row["frame"] for row in part] == list(range(10))
    assert (part[0]["start"], part[-1]["end"]) == (10.0, 12.0)
    stream = StreamModel(model, threads=1).stream()
    with open_frames(long_film) as source:
        frames = [f.image for f in source.sampled(5.0)][50:60]
    said = [stream.step(frame).top()[0][0] for frame in frames]
    assert [row["label"] for row in part] == said
    assert rows[-1]["error"] is not None
    assert rows[-1]["truth"] == "x"

    listed = tmp_path / "clips.txt"
    listed.write_text(f"{long_film} 2\n")
    label(listed, "-o", output, "-m", model)
    assert {row["truth"] for row in lines(output)} == {LABELS[2]}


def test_subtitles(model: Path, long_film: Path, tmp_path: Path) -> None:
    label(long_film, "-o", tmp_path / "a.jsonl", "-m", model, "--vtt", tmp_path)
    text = (tmp_path / "long.vtt").read_text()
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> ")
    cues = Cues()
    for start, name in ((0.0, "a<b"), (1.0, "a<b"), (3.0, "a<b"), (4.0, "c")):
        cues.add(Row("x", start, start + 1, 0, name, 0.5 + start / 10))
    assert cues.text().splitlines()[2:] == [
        "00:00:00.000 --> 00:00:02.000",
        "a&lt;b 60%",
        "",
        "00:00:03.000 --> 00:00:04.000",
        "a&lt;b 80%",
        "",
        "00:00:04.000 --> 00:00:05.000",
        "c 90%",
    ]
    with pytest.raises(UsageError, match="would both be"):
        subtitle_paths(["a/x.mp4", "b/x.mp4"], "out")


def test_several_streams_in_a_step(films: Path, tmp_path: Path) -> None:
    from movinet_convert import flatbuffer, metadata, stream_graph
    from movinet_convert.parameters import random_weights
    from movinet_convert.sources import LoadedWeights
    from movinet_models.family import lookup

    spec = lookup("a0-stream").at(32)
    weights = random_weights(spec, 12)
    loaded = LoadedWeights(weights, "random:0", "0" * 64, licence=None)
    made = []
    for streams in (1, 3):
        graph = stream_graph.build(spec, weights, streams=streams)
        about = metadata.of_variant(metadata.describe(spec, loaded, None), "float32", graph)
        content = flatbuffer.serialize(graph, spec.id, metadata.buffers(about, graph))
        path = tmp_path / f"{streams}.tflite"
        path.write_bytes(content)
        some = sorted(films.iterdir())[:8]
        label(*some, "-o", tmp_path / "labels.jsonl", "-m", path, "--on", 2)
        made.append(lines(tmp_path / "labels.jsonl"))
    assert len(made[0]) == len(made[1]) > 12
    for one, other in zip(*made, strict=True):
        assert one["label"] == other["label"]
        if one["probability"] is not None:
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_memory_of_the_parent_stays_flat(films: Path, model: Path, tmp_path: Path) -> None:
    """One file under many names: each begins elsewhere, so that none is known already."""
    table, journal = tmp_path / "many.csv", tmp_path / "labels.jsonl.journal"
    entries = "".join(f"{films / '0000.mp4'},{i / 10000}\n" for i in range(500))
    table.write_text(f"path,start\n{entries}")
    memory = []

    def measure(pid: int) -> None:
        for count in (150, 450):
            labelling.wait_for(partial(_has, journal, count))
            status = Path(f"/proc/{pid}/status").read_text()
            memory.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)

    done = killed_at(
        10, journal, table, "-o", tmp_path / "labels.jsonl", "-m", model, "--on", 2, who=measure
    )
    assert done.returncode == 0, done.stderr
    assert memory[1] - memory[0] < 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.mp4"], "nothing.mp4 does not exist"),
        (["."], "no videos in"),
        (["a.mp4", "-o", "labels.xls"], "-o ends in"),
        (["a.mp4", "--every", "never"], "--every is a time"),
        (["a.mp4", "--on", "mars"], "--on is local"),
        (["a.mp4", "--path-map", "/a=/b"], "--path-map is for workers"),
        (["a.mp4", "--threshold", "0.5"], "--threshold is for --events"),
        (["a.mp4", "--events", "--top", "2"], "--top is for rows of frames"),
        (["a.mp4", "--vtt", "gone"], "--vtt is 'beside' or a folder"),
        (["a.mp4", "-o", "gone/labels.csv"], "the folder gone does not exist"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    output = [] if "-o" in arguments else ["-o", "labels.csv"]
    if arguments == ["."]:
        (tmp_path / "a.mp4").unlink()
    found = label(*arguments, *output, "-m", model, code=2)
    (line,) = found["said"].splitlines()
    assert said in line
    assert {path.name for path in tmp_path.iterdir()} <= {"a.mp4"}


def test_a_journal_survives_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    key, other, wrong = ("ab" * 16, "cd" * 16, "ef" * 16)
    journal = Journal(path, resume=False)
    journal.add(key, Part([(0, 5, [(1, 0.5)])]))
    journal.add(wrong, Part([], "unreadable"))
    journal.add(other, Part([]))
    with pytest.raises(UsageError, match="another movinet label"):
        Journal(path, resume=True)
    journal.close(done=False)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UsageError, match="--resume"):
        Journal(path, resume=False)
    journal = Journal(path, resume=True)
    assert key in journal
    assert other not in journal
    assert wrong not in journal  # it may be readable by now
    assert str(journal.part(key).rows) == "[[0, 5, [[1, 0.5]]]]"
    journal.add(other, Part([]))
    journal.close(done=True)
    assert len(Journal(path, resume=True)) == 2


def test_keys_say_content_options_and_place(tmp_path: Path) -> None:
    job = Job("m", "0", 5.0, segment=10, lead=3)
    about = About("digest", 30.0)
    keys = [piece.key for piece in pieces(Entry("a"), "a", about, job)]
    assert len(set(keys)) == 3
    assert keys == [piece.key for piece in pieces(Entry("b"), "c", about, job)]
    for changed in (
        pieces(Entry("a"), "a", About("other", 30.0), job),
        pieces(Entry("a", begin=1.0), "a", about, job),
        pieces(Entry("a"), "a", about, Job("m", "1", 5.0, segment=10, lead=3)),
        pieces(Entry("a"), "a", about, Job("m", "0", 5.0, top=2, segment=10, lead=3)),
    ):
        assert not set(keys) & {piece.key for piece in changed}
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    before = digest(str(large))
    with large.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert digest(str(large)) != before


def test_cuts_fall_between_windows() -> None:
    for every, fps, frames, segment in ((1.0, 5.0, 2000, 60.0), (1.4, 5.0, 400, 7.0)):
        begins = cuts(frames, segment, every, fps)
        assert begins[0] == 0
        assert len(begins) > 3
        for begin in begins[1:]:
            window = window_of(begin, every, fps)
            assert window_begin(window, every, fps) == begin
            assert window_of(begin - 1, every, fps) == window - 1
    assert cuts(10_000, 0, 1.0, 5.0) == [0]
    assert cuts(10, 60.0, None, 5.0) == [0]
    assert [window_of(k, 0.1, 5.0) for k in range(3)] == [0, 1, 2]


def test_the_lead_in_is_the_models(stream_model: Path) -> None:
    model = StreamModel(stream_model, threads=1)
    assert reach(model.engine.states) == 28
    assert lead_in(model.engine.states, model.horizon) == 28 + 2 * model.horizon
    assert lead_in({}, 0) == 1


def test_paths_and_places(tmp_path: Path) -> None:
    pairs = path_map(["/a=/b", "/c/=/d"])
    assert [mapped(p, pairs) for p in ("/a/x", "/ab/x", "/c/y")] == ["/b/x", "/ab/x", "/d/y"]
    assert mapped("x/y", []) == str(Path("x/y").absolute())  # workers have folders of their own
    assert mapped("x/y", path_map(["x=s3://there"])) == "s3://there/y"
    assert mapped("s3://a/y", pairs) == "s3://a/y"
    with pytest.raises(UsageError, match="HERE=THERE"):
        path_map(["/a"])
    assert local_processes("3") == local_processes("local:3") == 3
    assert local_processes("dask://here:1") is None
    with pytest.raises(UsageError, match="names no port"):
        local_processes("dask://here")
    (tmp_path / "inner").mkdir()
    for name in ("b.mp4", "a.GIF", "inner/c.mkv", "d.txt"):
        (tmp_path / name).touch()
    assert [Path(entry.path).name for entry in find([str(tmp_path)])] == ["a.GIF", "b.mp4", "c.mkv"]
    assert [Path(entry.path).name for entry in find([f"{tmp_path}/*"])] == [
        "a.GIF",
        "b.mp4",
        "c.mkv",
    ]


def test_activitynet_has_one_place_for_each_video(films: Path, model: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    a, b = (films / name for name in ("0000.mp4", "0001.mp4"))
    listed.write_text(f"path,start,end\n{a},0,1\n{b},0,1\n{a},1,2\n", "utf-8")
    output = tmp_path / "labels.json"
    refused = label(listed, "-o", output, "-m", model, "--on", 1, code=2)
    assert f"put the rows of {a} together" in refused["said"]
    assert list(tmp_path.iterdir()) == [listed]
    listed.write_text(f"path,start,end\n{a},0,1\n{a},1,2\n{b},0,1\n", "utf-8")
    label(listed, "-o", output, "-m", model, "--on", 1)
    found = json.loads(output.read_text())["results"]
    assert [
        sorted({tuple(one["segment"]) for one in found[name]}) for name in ("0000", "0001")
    ] == [
        [(0.0, 1.0), (1.0, 2.0)],
        [(0.0, 1.0)],
    ]


def test_a_clip_after_the_end_is_an_error_and_no_name_ends_a_run(
    films: Path, model: Path, tmp_path: Path
) -> None:
    """Names that are not UTF-8; clips that begin after their film's end."""
    odd = tmp_path / os.fsdecode(b"a\xff.mp4")
    odd.write_bytes((films / "0000.mp4").read_bytes())
    table = tmp_path / "clips.csv"
    table.write_text(f"path,start,end\n{films}/0000.mp4,100,110\n")
    for ending in ("jsonl", "csv", "json", "parquet"):
        output = tmp_path / f"labels.{ending}"
        about = label(tmp_path / "a*.mp4", table, "-o", output, "-m", model, "--on", 1)
        assert (about["files"], about["failed"]) == (2, 1)
    found = lines(tmp_path / "labels.jsonl")
    assert found[0]["path"].endswith("a\\udcff.mp4")
    assert found[-1]["error"] == "has no frames at second 100"


def test_copies_of_a_damaged_film_are_errors_both(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    content = film(tmp_path / "whole.mp4", 4.0).read_bytes()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(content[:40])
    about = label(folder, "-o", tmp_path / "l.jsonl", "-m", model, "--on", 1)
    assert about["failed"] == 2
    errors = {row["error"] for row in lines(tmp_path / "l.jsonl")}
    assert len(errors) == 1
    assert "a.mp4" not in errors.pop()


def test_an_interrupted_run_leaves_a_larger_output(
    films: Path, model: Path, tmp_path: Path
) -> None:
    """Of the run before, whether its journal is begun anew or not."""
    output = tmp_path / "labels.jsonl"
    label(films, "-o", output, "-m", model, "--on", 1)
    before = output.read_bytes()
    journal = tmp_path / "labels.jsonl.journal"

    def interrupted(pid: int) -> None:
        labelling.wait_for(lambda: 3 <= labelling.finished(journal) < 40)  # begun anew
        os.kill(pid, signal.SIGINT)

    again = (films, "-o", output, "-m", model, "--on", 1, "--top", 2)
    done = killed_at(0, journal, *again, who=interrupted)
    assert done.returncode == 130
    assert "is left as it was (60 files), --resume goes on" in done.stderr
    assert output.read_bytes() == before
    assert label(*again, "--resume")["files"] == 60
    assert output.read_bytes() != before


def test_what_would_be_lost_or_never_end_is_refused(
    films: Path, model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "own.csv"
    table.write_text(f"path,label\n{films}/0000.mp4,red\n")
    before = table.read_bytes()
    for words, message in (
        ((table, "-o", table), "is what is to be labelled"),
        ((films, "-o", tmp_path / "d.csv"), "is a folder"),
        ((films, "-o", tmp_path / "l.csv", "--segment", "inf"), "is a number of seconds"),
        ((films, "-o", tmp_path / "l.csv", "--lead-in", "inf"), "is a number of seconds"),
    ):
        (tmp_path / "d.csv").mkdir(exist_ok=True)
        said = label(*words, "-m", model, code=2)["said"]
        assert message in said
        assert len(said.splitlines()) == 1
    assert table.read_bytes() == before
    os.mkfifo(tmp_path / "pipe.mp4")
    odd = tmp_path / "odd.csv"
    odd.write_text(f"path\na\0b.mp4\n{tmp_path}/pipe.mp4\n{films}/0000.mp4\n")
    about = label(odd, "-o", tmp_path / "l.jsonl", "-m", model, "--on", 1)
    assert (about["files"], about["failed"]) == (3, 2)
    errors = [row["error"] for row in lines(tmp_path / "l.jsonl")][:2]
    assert "null byte" in errors[0]
    assert errors[1] == "is no regular file"


def test_a_closed_terminal_ends_a_run_as_ctrl_c_does(
    films: Path, model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labels.jsonl"
    done = killed_at(
        5, tmp_path / "labels.jsonl.journal", films, "-o", output, "-m", model, "--on", 1,
        who=lambda pid: os.kill(pid, signal.SIGHUP),
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGHUP
    assert "--resume goes on" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert output.exists()
