"""What kernels of listwise losses for the CPU and for GPUs have in common."""

from typing import NamedTuple

#: A squared distance that is less than this part of the squares that it is the difference of is
#: measured again, from the rows. Of what is not, the product has cost five bits at most.
DOUBTFUL = 2.0**-5


class Variant(NamedTuple):
    """What a kernel is compiled for, beside the functions of the loss."""

    dtype: str  # that of the similarities, float32 or float64
    parameters: int  # how many the loss has
    sums: int  # how many it keeps
    of: int  # what its numbers are made of: PRODUCT, SQUARED or EUCLIDEAN
    ordered: bool  # whether it wants them in order
    paired: bool  # whether it wants numbers and scales of candidates
