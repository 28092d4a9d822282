"""The order of rows: words made and sorted, counted out by digits, on several threads.

The words of one row stay in their order (:mod:`fastcos.kernels.lookup`), for each pass keeps what
the one before has done. Two passes of 8 bits do for 65,536 rows: a million words take half of the
time of a sort by comparison that has instructions for it, as NumPy's has on some processors, and a
tenth of others.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastcos.kernels.cpu.memory import long_tuple, longs
from fastcos.kernels.lookup import OPERAND_BITS

#: Tasks of a pass, and bits of a digit at most: the places that a task writes to are 2,048.
TASKS, DIGIT = 16, 11
#: What a pass does: it makes words and counts their digits, counts those of words that are there,
#: or puts the words where the counts say.
MAKE, COUNT, SCATTER = 0, 1, 2

_OPERAND = (1 << OPERAND_BITS) - 1


class Digits(NamedTuple):
    """The arguments of a pass."""

    losses: int  # what the loop over tasks fills in; not of use here
    does: int
    source: int  # the address of the words
    target: int  # the address of memory for as many
    counts: int  # the address of a number for each digit and task
    words: int  # how many there are
    place: int  # where the digit is in a word
    bits: int  # how many bits it has
    shift: int  # of the number of a row, within a word
    samples: int  # how many there are of each operand
    operands: int  # the number of each operand, by OPERAND_BITS bits
    # The addresses of the numbers of their rows
    first: int
    second: int
    third: int


FIELDS = len(Digits._fields)


def digit_kernel() -> Callable[[int, int], int]:
    """``kernel(t, address of Digits) -> 1``: a task of a pass."""

    def kernel(t: int, block: int) -> int:
        n = Digits(*long_tuple(block, FIELDS))
        size = 1 << n.bits
        words, own = longs(n.source, n.words), longs(n.counts + 8 * size * t, size)
        start, end = t * n.words // TASKS, (t + 1) * n.words // TASKS
        if n.does == SCATTER:
            target = longs(n.target, n.words)
            for e in range(start, end):
                digit = (words[e] >> n.place) & (size - 1)
                target[own[digit]] = words[e]
                own[digit] += 1
            return 1
        for digit in range(size):
            own[digit] = 0
        if n.does == MAKE:
            begin = 0
            for k in range(n.words // n.samples):
                operand = (n.operands >> k * OPERAND_BITS) & _OPERAND
                at = n.first if k == 0 else n.second if k == 1 else n.third
                numbers = longs(at, n.samples)
                for e in range(max(start, begin), min(end, begin + n.samples)):
                    i = e - begin
                    words[e] = numbers[i] << n.shift | i << OPERAND_BITS | operand
                begin += n.samples
        for e in range(start, end):
            own[(words[e] >> n.place) & (size - 1)] += 1
        return 1

    return kernel
