"""Regularisers that a run may combine: pure functions, and what hooks them into training."""

from terrablate.training.regularize.regularization import Regularization

__all__ = ["Regularization"]
