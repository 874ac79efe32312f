"""Evaluators by name: a file in this folder that registers one is all that is needed.

An evaluator may say in `averages` how predictions over views are averaged (softmax, sigmoid, mean, feature), for
TEST.AUGMENT, and in `target_kinds` which kinds of `Dataset.target_kind` it is for: then predictions.csv is written too.
"""

from utils.registry import Registry

EVALUATORS = Registry("evaluator", "engine.evaluators")

__all__ = ["EVALUATORS"]
