"""The table of sources, and the labels of their weights."""

from movinet_models import SOURCES, kinetics400, kinetics600
from movinet_models.registry import DATASETS, KINDS, LAYOUTS
from movinet_models.urls import checked, direct


def test_every_row_can_be_downloaded_and_told_apart() -> None:
    for model_id, rows in SOURCES.items():
        places = [(row.dataset, row.kind) for row in rows]
        assert len(places) == len(set(places)), model_id
        assert [KINDS.index(row.kind) for row in rows if row.dataset == "kinetics-600"] == sorted(
            KINDS.index(row.kind) for row in rows if row.dataset == "kinetics-600"
        )
        for row in rows:
            assert row.kind in KINDS
            assert row.dataset in DATASETS
            assert row.url.startswith("https://")
            assert row.page.startswith("https://")
            assert row.file.endswith(LAYOUTS)
            assert checked(row.url) == direct(row.url) == row.url
            assert row.gate == (None if "base" in model_id or "lite" in model_id else "fifth")


def test_kinetics_400_is_published_for_base_models_only() -> None:
    having = {
        model_id for model_id, rows in SOURCES.items() for row in rows if "400" in row.dataset
    }
    assert having == {f"a{i}-base" for i in range(6)}
    labels = kinetics400()
    assert len(set(labels)) == 400
    assert labels == sorted(labels)  # as in Kinetics-600
    assert kinetics600() == sorted(kinetics600())
    assert all(label == label.strip() and label for label in labels)
    assert len(set(labels) & set(kinetics600())) == 368
