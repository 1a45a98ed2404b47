"""Label sets of published models."""

from importlib.resources import files


def kinetics600() -> list[str]:
    """Return the 600 class names of Kinetics-600 in the order of the logits."""
    text = files("movinet_models").joinpath("data/kinetics600.txt").read_text("utf-8")
    return text.splitlines()
