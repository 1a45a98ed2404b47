"""Where a training starts: a network with the weights of a source, or with none."""

from collections.abc import Callable
from dataclasses import dataclass

from movinet_convert.backend import keras
from movinet_convert.export import against_source
from movinet_convert.network import MoViNet, load_into_network
from movinet_convert.parameters import DEFAULT_GATE, Weights
from movinet_convert.proof import ParityError
from movinet_convert.sources import LoadedWeights, load_weights
from movinet_convert.sources.published import find, shown
from movinet_convert.training.plan import rises
from movinet_models.family import Gate, ModelSpec
from movinet_models.splits import unpacked

SCRATCH = "none"


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Attributes:
        network: with a classifier for the clips' labels.
        digest: of its weights.
        folded: whether their batch norm is folded into kernels.
        seen: fingerprints of the clips that they were trained on.
    """

    network: MoViNet
    digest: str
    folded: bool = False
    seen: frozenset[int] = frozenset()


def begin(
    spec: ModelSpec,
    weights: str | None,
    labels: list[str],
    *,
    dropout: float,
    drop_path: float = 0.0,
    gate: Gate | None = None,
    seed: int = 0,
    precision: str = "float32",
    report: Callable[[str], None] = lambda step: None,
) -> Start:
    """Build a network and give it weights.

    Args:
        spec: the model.
        weights: what export takes (None: the published ones), or ``none``.
        labels: of the clips; a classifier for more or fewer is replaced. A prior that it has
            is taken out: training weighs all classes alike.
        dropout: before the classifier, and
        drop_path: of residual branches (:class:`movinet_convert.network.MoViNet`).
        gate: the form of the hard sigmoid, if the weights are not to say.
        seed: of weights that are drawn, and of dropout.
        precision: that the network computes in: float32, float16 or bfloat16.
        report: called with what is being done.

    Raises:
        MovinetError: no such weights, or they do not compute what their source does.
    """
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    if weights == SCRATCH:
        network = MoViNet(
            spec.id,
            len(labels),
            spec.resolution,
            labels,
            dropout,
            gate=gate or DEFAULT_GATE,
            drop_path=drop_path,
        )
        return Start(network, SCRATCH)
    source, origin = find(weights, spec, shown(report))
    loaded = load_weights(source, spec, None, gate, origin)
    _check(loaded, spec, report)
    if loaded.classes != len(labels):
        loaded = load_weights(source, spec, len(labels), gate, origin)
    network = load_into_network(
        spec, _without_prior(loaded), labels, dropout, loaded.hard_sigmoid, drop_path
    )
    return Start(network, loaded.sha256, loaded.folded, unpacked(loaded.trained_on or ""))


def _without_prior(loaded: LoadedWeights) -> Weights:
    if not loaded.prior or not loaded.labels:
        return loaded.weights
    bias = loaded.weights["classifier/bias"] - rises(loaded.prior, loaded.labels)
    return {**loaded.weights, "classifier/bias": bias}


def _check(loaded: LoadedWeights, spec: ModelSpec, report: Callable[[str], None]) -> None:
    """Refuse weights that do not compute what their source does.

    Raises:
        ParityError: they do not.
    """
    for parity in against_source(spec, loaded, None, report):
        if not parity.holds:
            raise ParityError(f"{loaded.source}: {parity.failure()}")
