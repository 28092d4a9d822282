"""The gradients of a sample: computed from the terms of its distances, and written.

Each public function makes a ``write(team, terms, addresses, modes, visit)``. The terms are a
:class:`~fastcos.kernels.linear.Scaled` for each distance; the addresses are those of the sample's
rows and gradients, and of the sums of all tasks.
"""

from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import ADD, WRITE
from fastcos.kernels.arguments import Addresses
from fastcos.kernels.cuda.access import are_aligned
from fastcos.kernels.cuda.teams import Team, Variant, Visit, components
from fastcos.kernels.cuda.unroll import all_of, at_each, tuple_of
from fastcos.kernels.functions import jitable, registered
from fastcos.kernels.linear import linear_gradient, linear_triplet_gradient
from fastcos.losses import PAIRS, operand_count


def write_nothing(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """Writes nothing: no gradient is wanted."""
    return jitable()(lambda team, terms, addresses, modes, visit: None)


def write_rows(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """Writes the gradient of each operand into a row of its own, 16 bytes at a time."""
    count, storage = operand_count(arity), gpu.STORAGE[variant.dtype]
    size, vector, number = storage.size, storage.vector, storage.number
    load, get = at_each(count, storage.load), at_each(count, storage.get)
    are_zero = all_of(arity, lambda k: lambda terms: terms[k].c == 0)
    aligned, transposed = are_aligned(count), gpu.transposed
    float64_slopes = _float64_slopes(arity, distance, gpu)
    zeros = tuple_of(count, lambda m: lambda: number(0))

    coefficients_of, float32_slopes = _float32_slopes(arity, distance, size, zeros, gpu)
    cast = tuple_of(count, lambda m: lambda slopes: number(slopes[m]))

    @jitable()
    def slopes_of(terms: Any, coefficients: Any, n: Any) -> Any:
        fits, factors = coefficients
        return float32_slopes(factors, n) if fits else cast(float64_slopes(terms, n))

    vector_slopes = tuple_of(
        vector, lambda k: lambda terms, coefficients, n: slopes_of(terms, coefficients, n[k])
    )

    def writing(write_one: Any) -> Any:
        def for_operand(m: int) -> Any:
            def write(modes: Any, grads: Any, at: Any, slopes: Any) -> bool:
                if modes[m] == WRITE:
                    write_one(grads[m] + at, slopes[m])
                return True

            return write

        return tuple_of(count, for_operand)

    store_zeros = gpu.store_zeros
    store, put = writing(storage.store), writing(storage.put)
    clear = writing(jitable()(lambda address, slopes: store_zeros(address)))

    @jitable()
    def write(team: Team, terms: Any, addresses: Addresses, modes: Any, visit: Visit) -> None:
        rows, grads, features = addresses.rows, addresses.grads, visit.features
        zero, coefficients = are_zero(terms), coefficients_of(terms)
        whole = features & -vector if aligned(rows) and aligned(grads) else 0
        k = team.lane * vector
        while k < whole:
            at = k * size
            if zero:
                clear(modes, grads, at, zeros())
            else:
                slopes = vector_slopes(terms, coefficients, transposed(load(rows, at)))
                store(modes, grads, at, transposed(slopes))
            k += team.width * vector
        k = whole + team.lane
        while k < features:
            at = k * size
            if zero:
                put(modes, grads, at, zeros())
            else:
                put(modes, grads, at, slopes_of(terms, coefficients, get(rows, at)))
            k += team.width

    return write


def write_and_sum(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """Writes gradients, or adds them up in float64 over the samples of the task.

    A thread has the same components of every sample, and so of the sums, wherever the rows lie.
    """
    count, storage = operand_count(arity), gpu.STORAGE[variant.dtype]
    size, number, vector = storage.size, storage.number, storage.vector
    get_double, put_double, float64 = gpu.get_double, gpu.put_double, gpu.float64
    load, get = at_each(count, storage.load), at_each(count, storage.get)
    store, put, aligned, transposed = storage.store, storage.put, are_aligned(count), gpu.transposed
    load_two, store_two = gpu.STORAGE["float64"].load, gpu.STORAGE["float64"].store
    slopes_of = _float64_slopes(arity, distance, gpu)
    vector_slopes = tuple_of(vector, lambda i: lambda terms, n: slopes_of(terms, n[i]))
    cast = tuple_of(vector, lambda i: lambda column: number(column[i]))
    first, following = components(vector)

    def adding(i: int) -> Any:
        def add_two(at: Any, fresh: Any, column: Any) -> bool:
            x, y = (0.0, 0.0) if fresh else load_two(at + 16 * i)
            store_two(at + 16 * i, (float64(x + column[2 * i]), float64(y + column[2 * i + 1])))
            return True

        return add_two

    add_vector = tuple_of(vector // 2, adding)

    def writing(m: int) -> Any:
        def write_one(slopes: Any, k: Any, addresses: Addresses, modes: Any, visit: Visit) -> bool:
            if modes[m] == WRITE:
                put(addresses.grads[m] + k * size, number(slopes[m]))
            elif modes[m] == ADD:
                sum_at = addresses.sums[m] + 8 * (visit.task * visit.features + k)
                put_double(sum_at, slopes[m] if visit.first else get_double(sum_at) + slopes[m])
            return True

        return write_one

    def writing_vector(m: int) -> Any:
        def write_one(columns: Any, k: Any, addresses: Addresses, modes: Any, visit: Visit) -> bool:
            if modes[m] == WRITE:
                store(addresses.grads[m] + k * size, cast(columns[m]))
            elif modes[m] == ADD:
                sum_at = addresses.sums[m] + 8 * (visit.task * visit.features + k)
                add_vector(sum_at, visit.first, columns[m])
            return True

        return write_one

    write_each, write_vectors = tuple_of(count, writing), tuple_of(count, writing_vector)

    @jitable()
    def write(team: Team, terms: Any, addresses: Addresses, modes: Any, visit: Visit) -> None:
        rows, features = addresses.rows, visit.features
        whole = features & -vector
        k = first(team, whole)
        # Rows of sums are aligned where there is an even number of components.
        if aligned(rows) and aligned(addresses.grads) and features & 1 == 0:
            while k < whole:
                slopes = vector_slopes(terms, transposed(load(rows, k * size)))
                write_vectors(transposed(slopes), k, addresses, modes, visit)
                k += team.width * vector
            k = whole + team.lane
        while k < features:
            write_each(slopes_of(terms, get(rows, k * size)), k, addresses, modes, visit)
            k = following(team, whole, k)

    return write


def _float32_slopes(
    arity: int, distance: Functions, size: int, zeros: Any, gpu: Any
) -> tuple[Any, Any]:
    """``(terms) -> (fits, factors)`` and ``(factors, numbers) -> slopes``, if float32 will do.

    ``fits`` says whether it will for the sample. For triplets that is asked of half types only, as
    on a CPU, for the gradients of the two distances may cancel; and not with ``swap``, where it
    took registers that a third block of threads needs.
    """
    linear = registered(distance.linear)
    if linear and arity == 1 and size <= 4:
        of_one, slopes_of_one = linear_gradient(linear, gpu.fma, jitable)

        @jitable()
        def coefficients_of_one(terms: Any) -> Any:
            factors = of_one(*terms[0])
            return factors.fits, factors

        return coefficients_of_one, jitable()(lambda k, n: slopes_of_one(k, n[0], n[1]))
    if linear and arity == 2 and size == 2:
        of_two, slopes_of_two = linear_triplet_gradient(linear, False, gpu.fma, jitable)

        @jitable()
        def coefficients_of_two(terms: Any) -> Any:
            factors = of_two(terms[0], terms[1], False)
            return factors.fits, factors

        return coefficients_of_two, jitable()(lambda k, n: slopes_of_two(k, n[0], n[1], n[2]))
    return jitable()(lambda terms: (False, 0)), jitable()(lambda factors, n: zeros())


def _float64_slopes(arity: int, distance: Functions, gpu: Any) -> Any:
    """``(terms, numbers) -> slopes`` with respect to one component of each operand."""
    gradient, float64, pairs = registered(distance.gradient), gpu.float64, PAIRS[:arity]

    def of_pair(k: int) -> Any:
        i, j = pairs[k]

        def slopes(terms: Any, n: Any) -> Any:
            c, state, d = terms[k]
            if c == 0:
                return 0.0, 0.0
            dx, dy = gradient(state, d, float64(n[i]), float64(n[j]))
            return c * dx, c * dy

        return slopes

    def of_operand(m: int) -> Any:
        (k, side), *others = [(k, pair.index(m)) for k, pair in enumerate(pairs) if m in pair]
        if not others:
            return lambda slopes: slopes[k][side]
        ((k2, side2),) = others
        return lambda slopes: slopes[k][side] + slopes[k2][side2]

    by_pair, by_operand = tuple_of(arity, of_pair), tuple_of(operand_count(arity), of_operand)
    return jitable()(lambda terms, n: by_operand(by_pair(terms, n)))
