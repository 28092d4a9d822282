"""What ``python -m fastcos`` does: ``demo``, ``info`` and ``warmup``, two of them public functions."""
