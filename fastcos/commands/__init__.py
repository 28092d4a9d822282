"""What ``python -m fastcos`` does: ``demo``, ``info``, ``warmup``, ``search``, ``duplicates``."""
