"""What kernels that look rows up in tables share, on a CPU and on a GPU.

A first kernel visits the samples. Beside the loss it keeps what the gradients of a sample need: of
each operand where its row is, and of each distance what :func:`kept_words` counts. A second one
visits the rows of a table, each with the samples that name it, in the order of *words* sorted by
row, and within a row in an order that follows from the shape::

    row << shift | sample << OPERAND_BITS | operand
"""

from fastcos.distances import Functions
from fastcos.losses import PAIRS, operand_count

#: Bits of a word that say which operand of the sample names the row.
OPERAND_BITS = 2
#: Words of 8 bytes of a cache line.
LINE = 8
#: The operands that the k-th distance of a loss is between.
FIRST, SECOND = zip(*PAIRS, strict=True)


def word_shift(samples: int) -> int:
    """By how many bits the number of a row is shifted in the words of so many samples."""
    return max(samples - 1, 0).bit_length() + OPERAND_BITS


def is_linear(functions: Functions, size: int) -> bool:
    """Whether the gradient is kept as coefficients, ``r (u x - y + e)``, of a dtype of that size.

    In float64 they lose nothing against the gradient of rows in float32; of rows in float64 the
    scale of a row would have to fit them, too.
    """
    return functions.linear is not None and size <= 4


def kept_words(functions: Functions, parameters: int, arity: int, size: int) -> int:
    """How many words of 8 bytes are kept of a sample.

    Of each operand the address of its row; of each distance five coefficients, or its slope, itself
    and its state. These of a pair are seven, and padded to a cache line, which is then all that is
    read of a sample.
    """
    state = 5 if is_linear(functions, size) else 2 + len(functions.init(0.0, *[1.0] * parameters))
    words = operand_count(arity) + arity * state
    return LINE if words == LINE - 1 else words
