"""The loop and what hangs on it: evaluation, checkpoints, logging, ranks."""
