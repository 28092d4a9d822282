"""The kernel of a listwise loss on a GPU: similarities in, losses and, in their place, slopes out.

A block of threads has the row of one anchor, and goes over it three times: for the numbers and
their extremes, for the sums, and for the slopes. A thread has the same candidates each time, so
that nobody waits for what another has written, but where a loss wants the numbers in order. What
threads have found is put together in an order that only their number has a say in.
"""

import math
from collections.abc import Callable
from typing import Any

from fastcos.kernels import EUCLIDEAN, PRODUCT, SQUARED
from fastcos.kernels.arguments import Block
from fastcos.kernels.cuda.teams import WARP, WHOLE_WARP
from fastcos.kernels.cuda.unroll import tuple_of
from fastcos.kernels.functions import jitable, registered
from fastcos.kernels.listwise import DOUBTFUL, Variant
from fastcos.listwise.record import Candidate, Order, Row

FIELDS = len(Block._fields)
# Numbers that the first pass finds: how many positives and how many bad numbers, and extremes.
_FOUND = 6


def count_of_anchors(parameters: int) -> tuple[int, int]:
    """How many int64 and how many float64 numbers the kernel takes.

    Those are a :class:`Block`, whose ``parameters`` are not used; the addresses of the parameters
    of the loss, 0 for those that are not in memory; and these.
    """
    return FIELDS + parameters, parameters


def of_anchors(functions: Any, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of the four functions of a listwise loss."""
    start, accumulate, finalize, slope = map(registered, functions)
    cuda, float64 = gpu.cuda, gpu.float64
    get_long, get_double, put_double = gpu.get_long, gpu.get_double, gpu.put_double
    storage, array_at = gpu.STORAGE[variant.dtype], gpu.ARRAYS[variant.dtype]
    get, put, number, size = storage.get, storage.put, storage.number, storage.size
    share, shared_like = gpu.SHARING[variant.dtype]
    of, ordered, paired = variant.of, variant.ordered, variant.paired
    moves = 2 if of == SQUARED else 1
    measured = _measuring(variant, gpu)
    merge_found = reducing(_FOUND, _merge_found, gpu)
    add = tuple_of(variant.sums, lambda k: lambda one, other: one[k] + other[k])
    add_sums = reducing(variant.sums, add, gpu)
    add_two = reducing(2, tuple_of(2, lambda k: lambda one, other: one[k] + other[k]), gpu)
    zeros = tuple_of(variant.sums, lambda k: lambda: float64(0.0))
    parameters_of = _parameters(variant.parameters, gpu)
    sort = _sorting(variant, gpu)
    # Of what is put together in turn, and of tuples that the first thread finds for all.
    shared_size = max(WARP * max(_FOUND, variant.sums), gpu.SHARED)

    @jitable()
    def candidate(b: Block, row: Any, label: Any, j: Any) -> Candidate:
        s, positive = get(row + size * j), get_long(b.candidate_labels + 8 * j) == label
        if paired:
            own, scale = get(b.candidate_numbers + size * j), get(b.candidate_scales + size * j)
            return Candidate(s, positive, own, scale)
        return Candidate(s, positive, number(0), number(0))

    @jitable()
    def begun(shared: Any, known: Row, parameters: Any) -> Any:
        """The context, from the first thread: of the second call only the type is used."""
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            share(shared, start(known, *parameters))
        cuda.syncthreads()
        return shared_like(shared, start(known, *parameters))

    @jitable()
    def ended(shared: Any, at: Any, sums: Any, context: Any, known: Row, parameters: Any) -> Any:
        """The coefficients, as :func:`begun` has it; value and terms are written."""
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            value, terms, coefficients = finalize(sums, context, known, *parameters)
            put_double(at, float64(value))
            put_double(at + 8, float64(terms))
            share(shared, coefficients)
        cuda.syncthreads()
        return shared_like(shared, finalize(sums, context, known, *parameters)[2])

    if ordered:

        @jitable()
        def taken(sums: Any, context: Any, each: Candidate, order: Order) -> Any:
            return accumulate(sums, context, each, order)

        @jitable()
        def slope_of(coefficients: Any, each: Candidate, order: Order) -> Any:
            return number(slope(coefficients, each, order))

    else:

        @jitable()
        def taken(sums: Any, context: Any, each: Candidate, order: Order) -> Any:
            return accumulate(sums, context, each)

        @jitable()
        def slope_of(coefficients: Any, each: Candidate, order: Order) -> Any:
            return number(slope(coefficients, each))

    @jitable()
    def summed(b: Block, row: Any, own: Any, label: Any, context: Any, order: Order) -> Any:
        sums, j = zeros(), cuda.threadIdx.x
        while j < b.candidates:
            if j != own:
                sums = taken(sums, context, candidate(b, row, label, j), order)
            j += cuda.blockDim.x
        return sums

    @jitable()
    def learned(b: Block, row: Any, own: Any, label: Any, within: Any, order: Order) -> Any:
        """The sums of slopes, and of s times slope."""
        slopes, s_slopes, j = float64(0.0), float64(0.0), cuda.threadIdx.x
        while j < b.candidates:
            if j != own:
                each = candidate(b, row, label, j)
                g = float64(slope_of(within, each, order))
                slopes += g
                s_slopes += g * float64(each.s)
            j += cuda.blockDim.x
        return slopes, s_slopes

    @jitable()
    def write(
        b: Block, row: Any, own: Any, label: Any, within: Any, order: Order, scale: Any
    ) -> Any:
        """Writes the slopes of the products; the sum of those of distances."""
        # With q the square of the distance, or the distance: d product = -dq / 2, or -q dq.
        total, j, zero = float64(0.0), cuda.threadIdx.x, number(0)
        while j < b.candidates:
            g = zero
            if j != own:
                each = candidate(b, row, label, j)
                g = scale * slope_of(within, each, order)
                if of == EUCLIDEAN:
                    d = abs(each.s)
                    g = g / d if d > zero else zero
                if of != PRODUCT:
                    total += float64(g)
                    g = -g
            put(row + size * j, g)
            j += cuda.blockDim.x
        return total

    @jitable()
    def leave(b: Block, row: Any, i: Any, slope: Any) -> None:
        """Leaves an anchor whose slopes are all the same: 0, or NaN."""
        j = cuda.threadIdx.x
        while j < b.candidates:
            put(row + size * j, number(slope))
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            if b.sums != 0:
                put_double(b.sums + 8 * i, slope)
            if b.learned != 0:
                put_double(b.learned + 16 * i, slope)
                put_double(b.learned + 16 * i + 8, slope)

    @cuda.jit
    def visit(n: Any, d: Any) -> None:
        b, parameters = Block(*n[:FIELDS]), parameters_of(n, d)
        shared = cuda.shared.array(shared_size, float64)
        first = cuda.threadIdx.x == 0
        i = b.first + cuda.blockIdx.x
        row = b.similarities + size * b.candidates * cuda.blockIdx.x
        label = get_long(b.anchor_labels + 8 * i)
        own = b.ahead + i if b.excludes != 0 else -1
        found = merge_found(shared, measured(b, row, i, own, label))
        candidates = b.candidates - (1 if b.excludes != 0 else 0)
        wanted = b.anchor_scales != 0
        scale = get_double(b.anchor_scales + 8 * i) if wanted else float64(0.0)
        if found[1] != 0 or candidates <= 0:
            some = candidates > 0
            if first:
                put_double(b.values + 16 * i, math.nan if some else 0.0)
                put_double(b.values + 16 * i + 8, 1.0 if some else 0.0)
            if wanted:
                leave(b, row, i, math.nan if some and scale != 0 else 0.0)
            return
        known = Row(
            found[0],
            candidates - found[0],
            found[2],
            found[3],
            found[4],
            found[5],
            get_double(b.anchor_numbers + 8 * i) if b.anchor_numbers != 0 else float64(0.0),
            scale,
        )
        positives = int(found[0])
        in_order = b.sorted + size * b.candidates * cuda.blockIdx.x if ordered else 0
        order = Order(array_at(in_order, b.candidates), positives, candidates - positives)
        sort(b, row, in_order, own, label, positives)
        context = begun(shared, known, parameters)
        sums = add_sums(shared, summed(b, row, own, label, context, order))
        within = ended(shared, b.values + 16 * i, sums, context, known, parameters)
        if not wanted:
            return
        if scale == 0 and not paired:
            leave(b, row, i, 0.0)
            return
        by = float64(1.0) if paired else scale
        if b.learned != 0:
            both = add_two(shared, learned(b, row, own, label, within, order))
            if first:
                put_double(b.learned + 16 * i, by * both[0])
                put_double(b.learned + 16 * i + 8, by * both[1])
        total = write(b, row, own, label, within, order, number(by * (b.factor * moves)))
        if b.sums != 0:
            whole = add_two(shared, (total, float64(0.0)))
            if first:
                put_double(b.sums + 8 * i, whole[0])

    return visit


def _parameters(count: int, gpu: Any) -> Any:
    """``(n, d) -> numbers``: the parameters of a loss, from memory or as they are given."""
    get_double = gpu.get_double

    def parameter(k: int) -> Any:
        at = FIELDS + k
        return lambda n, d: d[k] if n[at] == 0 else get_double(n[at])

    return tuple_of(count, parameter) if count else jitable()(lambda n, d: ())


def reducing(count: int, merge: Any, gpu: Any) -> Any:
    """``(shared, part) -> whole``: what the threads of a block have found, for all of them.

    A part is a tuple of ``count`` float64 numbers; ``merge`` makes one of two, whichever is first.
    """
    cuda = gpu.cuda
    exchange = tuple_of(
        count, lambda k: lambda part, step: cuda.shfl_xor_sync(WHOLE_WARP, part[k], step)
    )

    def saving(k: int) -> Any:
        def save_one(shared: Any, at: Any, part: Any) -> bool:
            shared[at + k] = part[k]
            return True

        return save_one

    save = tuple_of(count, saving)
    load = tuple_of(count, lambda k: lambda shared, at: shared[at + k])

    @jitable()
    def reduced(shared: Any, part: Any) -> Any:
        step = WARP >> 1
        while step > 0:
            part = merge(part, exchange(part, step))
            step >>= 1
        # What is there may still be read.
        cuda.syncthreads()
        if cuda.threadIdx.x & (WARP - 1) == 0:
            save(shared, cuda.threadIdx.x // WARP * count, part)
        cuda.syncthreads()
        whole = load(shared, 0)
        for warp in range(1, cuda.blockDim.x // WARP):
            whole = merge(whole, load(shared, warp * count))
        return whole

    return reduced


@jitable()
def _merge_found(one: Any, other: Any) -> Any:
    return (
        one[0] + other[0],
        one[1] + other[1],
        one[2] if one[2] < other[2] else other[2],
        one[3] if one[3] > other[3] else other[3],
        one[4] if one[4] < other[4] else other[4],
        one[5] if one[5] > other[5] else other[5],
    )


def _measuring(variant: Variant, gpu: Any) -> Any:
    """``(b, row, i, own, label) -> found``: puts numbers in the place of products.

    What the thread has found among them: how many are of positives, how many are not finite, the
    least and the greatest of the positives, and those of the negatives.
    """
    cuda, float64, get_long, get_double = gpu.cuda, gpu.float64, gpu.get_long, gpu.get_double
    storage, of = gpu.STORAGE[variant.dtype], variant.of
    get, put, number, size = storage.get, storage.put, storage.number, storage.size

    @jitable()
    def squared_distance(b: Block, i: Any, j: Any) -> Any:
        """That of two rows, by all threads of a warp."""
        length, total = size * b.features, float64(0.0)
        x, y = b.anchor_rows + length * i, b.candidate_rows + length * j
        k = cuda.threadIdx.x & (WARP - 1)
        while k < b.features:
            t = float64(get(x + size * k)) - float64(get(y + size * k))
            total += t * t
            # A step that the compiler does not know: unrolled, the loop took half as many registers
            # again, of all that the kernel does.
            k += cuda.warpsize
        step = WARP >> 1
        while step > 0:
            total += cuda.shfl_xor_sync(WHOLE_WARP, total, step)
            step >>= 1
        return total

    @jitable()
    def distance(b: Block, i: Any, j: Any, there: bool, product: Any, square: Any) -> Any:
        """The distance to a candidate of the thread's, or its square, from the product."""
        squared, doubtful = number(0), False
        if there:
            both = square + get(b.candidate_squares + size * j)
            squared = both - number(2) * product
            doubtful = squared < number(DOUBTFUL) * both
        bits = cuda.ballot_sync(WHOLE_WARP, doubtful) & WHOLE_WARP
        lane = cuda.threadIdx.x & (WARP - 1)
        # By the bits that are set: a loop over all 32 is unrolled, for registers that all pay for.
        while bits != 0:
            other = cuda.ffs(bits) - 1
            again = squared_distance(b, i, j - lane + other)
            squared = number(again) if other == lane else squared
            bits &= bits - 1
        return number(math.sqrt(squared)) if of == EUCLIDEAN else squared

    @jitable()
    def measured(b: Block, row: Any, i: Any, own: Any, label: Any) -> Any:
        positives, bad, top, zero = 0, 0, number(math.inf), number(0)
        low_positive, high_positive, low_negative, high_negative = top, -top, top, -top
        offset, factor = number(b.offset), number(b.factor)
        square = zero
        if of != PRODUCT:
            square = number(get_double(b.anchor_squares + 8 * i))
        changes = of != PRODUCT or b.offset != 0 or b.factor != 1
        j, lane = cuda.threadIdx.x, cuda.threadIdx.x & (WARP - 1)
        # The threads of a warp go together: they measure a distance again together.
        while j - lane < b.candidates:
            there = j < b.candidates and j != own
            s = get(row + size * j) if there else zero
            if of != PRODUCT:
                s = distance(b, i, j, there, s, square)
            if there:
                if changes:
                    s = offset + factor * s
                    put(row + size * j, s)
                bad += 0 if s - s == zero else 1
                if get_long(b.candidate_labels + 8 * j) == label:
                    positives += 1
                    low_positive = s if s < low_positive else low_positive
                    high_positive = s if s > high_positive else high_positive
                else:
                    low_negative = s if s < low_negative else low_negative
                    high_negative = s if s > high_negative else high_negative
            j += cuda.blockDim.x
        return (
            float64(positives),
            float64(bad),
            float64(low_positive),
            float64(high_positive),
            float64(low_negative),
            float64(high_negative),
        )

    return measured


def _sorting(variant: Variant, gpu: Any) -> Any:
    """``(b, row, in_order, own, label, positives)``: puts the numbers of a row in order.

    Those of the positives, then those of the negatives, by a bitonic network: no memory but that
    of the result, no library, and threads that never wait for anything but each other.
    """
    if not variant.ordered:
        return jitable()(lambda b, row, in_order, own, label, positives: None)
    cuda, get_long = gpu.cuda, gpu.get_long
    storage = gpu.STORAGE[variant.dtype]
    get, put, size = storage.get, storage.put, storage.size

    @jitable()
    def apart(b: Block, row: Any, in_order: Any, own: Any, label: Any, positives: Any) -> None:
        """Has each warp put the numbers of its candidates where those of the warps before end."""
        # Warps have runs of candidates, which each counts for itself: all of them read the labels.
        lane, warp = cuda.threadIdx.x & (WARP - 1), cuda.threadIdx.x // WARP
        positive, negative = 0, positives
        run, j = 0, lane
        while j - lane < b.candidates:
            there = j < b.candidates and j != own
            is_positive = there and get_long(b.candidate_labels + 8 * j) == label
            of_positives = cuda.ballot_sync(WHOLE_WARP, is_positive)
            of_negatives = cuda.ballot_sync(WHOLE_WARP, there and not is_positive)
            if there and run == warp:
                before = (1 << lane) - 1
                if is_positive:
                    place = positive + cuda.popc(of_positives & before)
                else:
                    place = negative + cuda.popc(of_negatives & before)
                put(in_order + size * place, get(row + size * j))
            positive += cuda.popc(of_positives)
            negative += cuda.popc(of_negatives)
            run = run + 1 if run + 1 < cuda.blockDim.x // WARP else 0
            j += WARP
        cuda.syncthreads()

    @jitable()
    def compare(values: Any, low: Any, high: Any) -> None:
        a, b = get(values + size * low), get(values + size * high)
        if b < a:
            put(values + size * low, b)
            put(values + size * high, a)

    @jitable()
    def merged(values: Any, count: Any, step: Any, mirrored: bool) -> None:
        """Compares numbers that are a step apart, or as far from the middle of two steps."""
        # What would be beyond the end is greater than all, and is where it belongs.
        k = cuda.threadIdx.x
        inside = k & (step - 1)
        low = 2 * (k - inside) + inside
        while low < count:
            high = low - inside + 2 * step - 1 - inside if mirrored else low + step
            if high < count:
                compare(values, low, high)
            k += cuda.blockDim.x
            inside = k & (step - 1)
            low = 2 * (k - inside) + inside
        cuda.syncthreads()

    @jitable()
    def sort(b: Block, row: Any, in_order: Any, own: Any, label: Any, positives: Any) -> None:
        apart(b, row, in_order, own, label, positives)
        candidates = b.candidates - (1 if b.excludes != 0 else 0)
        for part in range(2):
            values = in_order if part == 0 else in_order + size * positives
            count = positives if part == 0 else candidates - positives
            length = 1
            while length < count:
                merged(values, count, length, True)
                step = length >> 1
                while step > 0:
                    merged(values, count, step, False)
                    step >>= 1
                length <<= 1

    return sort
