"""The pieces that the stream graph and the clip graph share."""

from dataclasses import dataclass

import numpy as np

from movinet_convert.fold import Conv, folded
from movinet_convert.graph import Activation, Graph
from movinet_convert.parameters import DEFAULT_GATE, HARD_SIGMOIDS, HardSigmoid, Weights, units
from movinet_models.family import Gate, Layer, ModelSpec


@dataclass(frozen=True)
class Builder:
    """A graph under construction with the folded convolutions of a model."""

    graph: Graph
    spec: ModelSpec
    convs: dict[str, Conv]
    weights: Weights
    gate: HardSigmoid

    @classmethod
    def of(cls, spec: ModelSpec, weights: Weights, gate: Gate = DEFAULT_GATE) -> "Builder":
        """Fold the weights of a model and start an empty graph."""
        classes = weights["classifier/bias"].shape[0]
        convs = {unit.name: folded(unit, weights) for unit in units(spec, classes)}
        return cls(Graph(), spec, convs, weights, HARD_SIGMOIDS[gate])

    def conv(
        self,
        name: str,
        x: str,
        stride: int = 1,
        fused: Activation = "",
        conv: Conv | None = None,
    ) -> str:
        """Apply a unit's convolution; ``conv`` replaces it by one with more folded in."""
        conv = conv or self.convs[name]
        return self.graph.conv(name, x, conv.kernel, conv.bias, stride, fused)

    def swish(self, name: str, x: str) -> str:
        """x * sigmoid(x), which TFLite has no operator for."""
        gate = self.graph.unary("LOGISTIC", f"{name}/sigmoid", x)
        return self.graph.binary("MUL", f"{name}/activation", x, gate)

    def hard_swish(self, name: str, x: str) -> str:
        """x * relu6(x + 3) / 6 as one operator."""
        return self.graph.unary("HARD_SWISH", f"{name}/activation", x)

    @property
    def fused(self) -> Activation:
        """The stream form's activation if a convolution can do it itself, as it can relu6."""
        return "relu6" if self.spec.architecture.activation == "relu6" else ""

    def activated(self, name: str, x: str, stride: int = 1, depthwise: bool = False) -> str:
        """Apply a unit's convolution and the stream form's activation."""
        conv = self.convs[name]
        add = self.graph.depthwise if depthwise else self.graph.conv
        y = add(name, x, conv.kernel, conv.bias, stride, activation=self.fused)
        return y if self.fused else self.hard_swish(name, y)

    def residual(self, layer: Layer, x: str, gated: str, gate_slope: float = 1.0) -> str:
        """Project a gated expansion, scale it, and add the skip path.

        The layer's learned scale and the gate's slope are folded into the projection.
        """
        scale = float(self.weights[f"{layer.name}/scale"])
        conv = self.convs[f"{layer.name}/projection"].scaled(scale).fed_scaled(gate_slope)
        y = self.conv(f"{layer.name}/projection", gated, conv=conv)
        if layer.projects_skip:
            if layer.stride > 1:
                x = self.graph.average_pool(f"{layer.name}/skip/pool", x, 3, layer.stride)
            x = self.conv(f"{layer.name}/skip", x)
        return self.graph.binary("ADD", layer.name, x, y)

    def classify(self, pooled: str) -> None:
        """The head: dense with swish, dense to the classes; makes ``logits`` an output."""
        swish = self.spec.architecture.squeeze_excitation
        x = self._dense("head", pooled, "" if swish else self.fused)
        x = self.swish("head", x) if swish else x
        x = self._dense("classifier", x)
        streams, _, _, classes = self.graph.shape(x)
        self.graph.output("logits", self.graph.reshape("logits", x, (streams, classes)))

    def _dense(self, name: str, x: str, fused: Activation = "") -> str:
        return self.graph.give_role(self.conv(name, x, fused=fused), "dense")

    def channel_constant(
        self, name: str, values: np.ndarray[tuple[int], np.dtype[np.float32]]
    ) -> str:
        """A constant that broadcasts along channels."""
        return self.graph.constant(name, values.astype(np.float32).reshape(1, 1, 1, -1))
