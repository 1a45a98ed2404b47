"""Label sets of published models."""

from importlib.resources import files


def kinetics600() -> list[str]:
    """Return the 600 class names of Kinetics-600 in the order of the logits."""
    return _names("kinetics600")


def kinetics400() -> list[str]:
    """Return the 400 class names of Kinetics-400 in the order of the logits."""
    return _names("kinetics400")


def _names(dataset: str) -> list[str]:
    text = files("movinet_models").joinpath(f"data/{dataset}.txt").read_text("utf-8")
    return text.splitlines()
