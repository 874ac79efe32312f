"""Evaluators by name: a file in this folder that registers one is all that is needed."""

from utils.registry import Registry

EVALUATORS = Registry("evaluator", "engine.evaluators")

__all__ = ["EVALUATORS"]
