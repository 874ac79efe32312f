"""From a finished run to what others can use: predictions of any image files, and exported models that need no Fieldbook."""

from engine.shipping.predictor import Prediction, Predictor, load_predictor

__all__ = ["Prediction", "Predictor", "load_predictor"]
