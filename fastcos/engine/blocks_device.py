"""What :mod:`fastcos.engine.blocks` runs on arrays of a GPU: the functions of ``blocks_host``."""
