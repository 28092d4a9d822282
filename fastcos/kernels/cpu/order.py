"""The order of rows: words made and sorted, counted out by digits, on several threads.

The words of one row stay in their order (:mod:`fastcos.kernels.lookup`), for each pass keeps what
the one before has done. Two passes of 8 bits do for 65,536 rows: a million words take half of the
time of a sort by comparison that has instructions for it, as NumPy's has on some processors, and a
tenth of others.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastcos.kernels.cpu.memory import long_tuple, longs
from fastcos.kernels.functions import jitable
from fastcos.kernels.lookup import OPERAND_BITS

#: Tasks of a pass, and bits of a digit at most: the places that a task writes to are 2,048.
TASKS, DIGIT = 16, 11
_OPERAND = (1 << OPERAND_BITS) - 1


class Digits(NamedTuple):
    """The arguments of a pass."""

    losses: int  # what the loop over tasks fills in; not of use here
    source: int  # the address of the words; 0 of the first pass, which makes them
    target: int  # the address of memory for as many
    counts: int  # the address of a number for each digit and task
    words: int  # how many there are
    place: int  # where the digit is in a word
    bits: int  # how many bits it has
    scatters: int  # whether words are put where ``counts`` says; else they are counted
    shift: int  # of the number of a row, within a word
    samples: int  # how many there are of each operand
    operands: int  # the number of each operand, by OPERAND_BITS bits
    # The addresses of the numbers of their rows
    first: int
    second: int
    third: int


FIELDS = len(Digits._fields)


@jitable()
def _count_or_put(word: int, n: Digits, own: Any, target: Any) -> None:
    digit = (word >> n.place) & ((1 << n.bits) - 1)
    if n.scatters:
        target[own[digit]] = word
    own[digit] += 1


def digit_kernel() -> Callable[[int, int], int]:
    """``kernel(t, address of Digits) -> 1``: counts the digits of a task, or puts its words."""

    def kernel(t: int, block: int) -> int:
        n = Digits(*long_tuple(block, FIELDS))
        size = 1 << n.bits
        own, target = longs(n.counts + 8 * size * t, size), longs(n.target, n.words)
        start, end = t * n.words // TASKS, (t + 1) * n.words // TASKS
        if not n.scatters:
            for digit in range(size):
                own[digit] = 0
        if n.source != 0:
            words = longs(n.source, n.words)
            for e in range(start, end):
                _count_or_put(words[e], n, own, target)
            return 1
        begin = 0
        for k in range(n.words // n.samples):
            operand = (n.operands >> k * OPERAND_BITS) & _OPERAND
            numbers = longs(n.first if k == 0 else n.second if k == 1 else n.third, n.samples)
            for e in range(max(start, begin), min(end, begin + n.samples)):
                i = e - begin
                _count_or_put(numbers[i] << n.shift | i << OPERAND_BITS | operand, n, own, target)
            begin += n.samples
        return 1

    return kernel
