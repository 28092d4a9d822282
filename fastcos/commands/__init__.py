"""What ``python -m fastcos`` does: ``demo``, ``info`` and ``warmup``."""
