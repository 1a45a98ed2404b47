"""The short form of ``make soak``: half a minute of trouble."""

from pathlib import Path

from tests.soak import soak


def test_what_is_killed_sees_what_the_other_one_sees(tmp_path: Path) -> None:
    gone = {"camera": 2.0, "process": 1.0, "broker": 4.0}
    said: list[str] = []
    report = soak(0.4, tmp_path, said.append, gone)
    log = (tmp_path / "hurt" / "log").read_text()
    assert report.well, f"{report}\n{said}\n{log[-3000:]}"
    assert {"camera", "process"} <= set(report.disturbances)
    assert report.matched >= 5
