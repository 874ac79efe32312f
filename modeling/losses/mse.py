"""Mean squared error, for regressions."""

from __future__ import annotations

from torch import Tensor, nn

from modeling.losses import LOSSES


@LOSSES.register("mse")
class MeanSquaredError(nn.Module):
    """The mean over samples of the squared error, averaged over the values of a sample."""

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predictions B or B x 1 (or the entry "prediction") against batch["target"], B. An empty batch has loss 0."""
        prediction = outputs["prediction"] if isinstance(outputs, dict) else outputs
        target = batch["target"].float()
        error = prediction.float().reshape(target.shape) - target
        return {"loss": error.square().sum() / max(error.numel(), 1)}
