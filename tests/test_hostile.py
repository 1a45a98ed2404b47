"""Hostile files through the command line: a result or one line and exit code 2, no crash."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.hostile import MODELS, STATES, VALUES
from tests.hostile_weights import TIMES

ROOT = Path(__file__).parents[1]


def test_a_thousand_hostile_files_end_in_one_line(tmp_path: Path) -> None:
    """Models, fields of descriptions and states; each model through run and inspect."""
    command = [sys.executable, "-m", "tests.hostile", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=300
    )
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    last = cases[-1][0] if cases else "nothing"
    assert done.returncode == 0, f"killed by what came after {last}"
    refused: Counter[str] = Counter()
    for name, code, said in cases:
        if code == 2:
            assert len(said) == 1, (name, said)
            assert said[0].startswith("movinet: "), (name, said)
            assert len(said[0]) < 500, name
            refused[name.split()[0]] += 1
        else:
            assert (code, said) == (0, []), name
    assert MODELS + 9 * len(VALUES) + STATES > 1000
    assert refused["model"] > MODELS  # each counts twice
    assert refused["state"] > 0.9 * STATES
    for field, right in {"version": 1, "fps": 4, "horizon": 6, "labels": 2, "in_place": 1}.items():
        assert refused[field] == 2 * (len(VALUES) - right), field
    assert refused["description"] == 4 * len(VALUES)


def test_damaged_weights_of_every_kind_end_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hostile_weights", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    last = found[-1][0] if found else f"nothing: {done.stderr[-300:]}"
    assert done.returncode == 0, f"killed by what came after {last}"
    assert len(found) == sum(TIMES.values())
    refused: Counter[str] = Counter()
    for name, raised, text in found:
        assert raised in (None, "MovinetError"), (name, raised, text)
        if raised:
            assert "\n" not in text, name
            refused[name.split()[0]] += 1
    assert set(refused) == set(TIMES)  # none of these tests passes for want of damage
