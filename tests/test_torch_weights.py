"""PyTorch state dicts: read without torch, refused if they would run anything."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_convert import clip_graph, flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.proof import model_logits
from movinet_convert.sources import load_weights
from movinet_models.errors import WeightsError
from movinet_models.family import MODEL_IDS, lookup
from tests.pth import FakeTensor, save, save_weights
from tests.reference import relative_error

STREAMS = ["a0-stream", "a1-stream", "a2-stream"]
BASES = [name for name in MODEL_IDS if name.endswith("base") and not name.startswith("t0")]


@pytest.mark.parametrize("model_id", [*STREAMS, *BASES])
def test_every_published_id_round_trips(model_id: str, tmp_path: Path) -> None:
    spec = lookup(model_id)
    weights = random_weights(spec, 7)
    path = save_weights(weights, tmp_path / "weights.pth")
    loaded = load_weights(str(path), spec)
    assert loaded.weights.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value, err_msg=name)
    assert loaded.gate == ("fifth" if spec.streams else None)
    assert loaded.licence == "not stated"
    assert loaded.classes == 7


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [(os.system, "touch {}", "posix.system"), (eval, "open({!r}, 'w')", "__builtin__.eval")],
)
def test_a_pickle_that_would_run_code_is_refused(
    function: Any, argument: str, named: str, tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    content = OrderedDict(x=Evil(function, argument.format(str(mark))))
    path = save(content, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=f"its pickle asks for {named}") as caught:
        load_weights(str(path), lookup("a0-stream"))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_evil_pickle_would_have_run(tmp_path: Path) -> None:
    """The test above can fail: Python's own unpickler does run it."""
    import pickle
    import zipfile

    mark = tmp_path / "it-ran"
    path = save(OrderedDict(x=Evil(os.system, f"touch {mark}")), tmp_path / "evil.pth")
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("archive/data.pkl"))
    assert mark.exists()


def test_what_is_no_state_dict_is_one_line(tmp_path: Path) -> None:
    spec = lookup("a0-stream")
    whole = save_weights(random_weights(spec, 2), tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("weights")
    save([1, 2], tmp_path / "list.pth")
    save(OrderedDict(a=3), tmp_path / "numbers.pth")
    save(OrderedDict(), tmp_path / "empty.pth")
    for name, message in {
        "cut": "not the zip",
        "text": "not the zip",
        "list": "no state dict",
        "numbers": "no state dict",
        "empty": "no state dict",
        "gone": "no weights at",
    }.items():
        with pytest.raises(WeightsError, match=message) as caught:
            load_weights(str(tmp_path / f"{name}.pth"), spec)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_around_the_state_dict_and_several_devices(tmp_path: Path) -> None:
    from tests.pth import state_dict

    spec = lookup("t0-stream")
    weights = random_weights(spec, 2)
    inner = {f"module.{key}": FakeTensor(value) for key, value in state_dict(weights).items()}
    path = save({"epoch": 3, "state_dict": inner}, tmp_path / "checkpoint.pth")
    loaded = load_weights(str(path), spec)
    np.testing.assert_array_equal(loaded.weights["head/kernel"], weights["head/kernel"])


@pytest.mark.parametrize("form", ["stream", "base"])
def test_the_port_s_own_outputs(form: str, shared: Path) -> None:
    spec = lookup(f"a0-{form}")
    folder = shared / "reference" / "torch"
    loaded = load_weights(str(folder / f"a0_{form}.pth"), spec)
    golden = np.load(folder / f"a0_{form}.golden.npz")
    frames = golden["frames"]
    if spec.streams:
        graph = stream_graph.build(spec, loaded.weights, loaded.hard_sigmoid)
    else:
        graph = clip_graph.build(spec, loaded.weights, len(frames))
    found = model_logits(flatbuffer.serialize(graph, "a0", {}), frames)
    assert relative_error(found, golden["logits"].reshape(found.shape)) < 1e-4
