"""One stream's way from a frame to a prediction: fit, classify, smooth, begin anew."""

from dataclasses import dataclass, field

from movinet_runtime.classifier import Prediction, StreamClassifier
from movinet_runtime.decisions import Smoother
from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.sources.frame import Frame
from movinet_runtime.stats import Stages


@dataclass
class Stream:
    """What one camera, file or pipe has of its own; the model's weights may be shared.

    Attributes:
        classifier: holds the state.
        smoother: of its predictions.
        fit: how frames of another aspect ratio are brought to the model's.
        reset_on_loss: begin anew when a live source comes back; frame numbers run on.
        stages: where the time went.
    """

    classifier: StreamClassifier
    smoother: Smoother = field(default_factory=Smoother)
    fit: Fit = "crop"
    reset_on_loss: bool = False
    stages: Stages = field(default_factory=Stages)

    def predict(self, frame: Frame) -> Prediction:
        """Return what is seen now."""
        if frame.reopened and self.reset_on_loss:
            self.classifier.reset(keep_index=True)
            self.smoother.reset()
        with self.stages.stage("resize"):
            image = resized(frame.image, self.classifier.size, self.fit)
        with self.stages.stage("infer"):
            prediction = self.classifier.step(image, frame.time)
        self.stages.frames += 1
        return self.smoother.update(prediction)
