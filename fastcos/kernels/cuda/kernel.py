"""Kernels as they are launched: which thread visits which samples, and what it does at each.

The distances of a sample are measured in :mod:`fastcos.kernels.cuda.measure`, its gradients written
in :mod:`fastcos.kernels.cuda.write`.
"""

from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import WRITE, arguments
from fastcos.kernels.arguments import Addresses, Constants, DeviceIntegers, PerSample
from fastcos.kernels.cuda.access import addresses, offset, per_sample
from fastcos.kernels.cuda.measure import measure
from fastcos.kernels.cuda.teams import WARP, WHOLE_WARP, Team, Variant, Visit, thread_of
from fastcos.kernels.cuda.unroll import tuple_of
from fastcos.kernels.cuda.write import write_and_sum, write_nothing, write_rows
from fastcos.kernels.functions import as_it_is, jitable, registered, times
from fastcos.kernels.linear import Scaled
from fastcos.losses import Loss, operand_count


def in_order(operands: int) -> Any:
    """``(integers) -> (Addresses, modes, geometry)``: rows that lie one after another."""
    rows_from = arguments.DEVICE_FIXED
    grads_from, sums_from, modes_from, geometry_from = (
        rows_from + k * operands for k in (1, 2, 3, 4)
    )

    @jitable()
    def unpack(n: Any) -> Any:
        starts = Addresses(
            n[rows_from:grads_from], n[grads_from:sums_from], n[sums_from:modes_from]
        )
        return starts, n[modes_from:geometry_from], n[geometry_from:]

    return unpack


def kernel(
    operands: int, variant: Variant, gpu: Any, unpack: Any, sample: Any, state_size: int
) -> Callable[..., None]:
    """The kernel that visits the samples of a pass.

    ``unpack`` is :func:`in_order`, or another one that says where rows are; ``sample``, ``(team,
    starts, modes, visit, parameters) -> loss``, gets what it has found, and writes gradients, too.
    The parameters are those of the distance, as many as it has, and those of the loss.
    """
    cuda, put_double, float64 = gpu.cuda, gpu.put_double, gpu.float64
    storage = gpu.STORAGE[variant.dtype]
    put, number, size = storage.put, storage.number, storage.size
    number_of, block_sum = per_sample(variant.dtype, gpu), _block_sum(gpu)
    index_of = offset(variant.columns, 1 + 2 * operands)
    fixed_to, constants_to = arguments.DEVICE_FIXED, arguments.CONSTANTS
    loss_from = constants_to + variant.distance_parameters
    # Of a block that is a team: a state for each warp, and the one merged from them.
    shared_size = (WARP + 1) * state_size if variant.wide else WARP

    @cuda.jit
    def visit(n: Any, d: Any) -> None:
        fixed, constants = DeviceIntegers(*n[:fixed_to]), Constants(*d[:constants_to])
        skip = PerSample(fixed.skip_address, 0, fixed.skip_kind, 1.0)
        if skip.address != 0 and number_of(skip, 0) == 1:
            return
        labels = PerSample(fixed.label_address, fixed.label_step, fixed.label_kind, constants.label)
        weights = PerSample(
            fixed.weight_address, fixed.weight_step, fixed.weight_kind, constants.weight
        )
        scales = PerSample(fixed.scale_address, fixed.scale_step, fixed.scale_kind, constants.scale)
        starts, modes, geometry = unpack(n)
        parameters = d[constants_to:loss_from], d[loss_from:]
        shared = cuda.shared.array(shared_size, float64)
        lane, width, task = thread_of(cuda, fixed.team_shift)
        total = 0.0
        if task < fixed.tasks:
            outer, inside = 0, task
            if fixed.tasks != fixed.segments:
                outer = task // fixed.segments
                inside = task - outer * fixed.segments
            first = True
            while inside < fixed.inner:
                position = outer * fixed.inner + inside
                i = index_of(position, geometry)
                weight = number_of(weights, i)
                label, scale = number_of(labels, i), weight * number_of(scales, i)
                this = Visit(position, geometry, fixed.features, task, first, label, scale)
                team = Team(shared, lane, width)
                value = weight * sample(team, starts, modes, this, parameters)
                total += value
                if fixed.losses != 0 and lane == 0:
                    if fixed.losses_are_float64 != 0:
                        put_double(fixed.losses + 8 * i, value)
                    else:
                        put(fixed.losses + size * i, number(value))
                first = False
                inside += fixed.segments
        cuda.syncthreads()
        total = block_sum(shared, total if lane == 0 else 0.0)
        if cuda.threadIdx.x == 0:
            put_double(fixed.block_sums + 8 * cuda.blockIdx.x, total)

    return visit


def distances_sample(loss: Loss, variant: Variant, gpu: Any) -> Any:
    """A sample that is given by its distances, one number per operand."""
    loss_of, count, float64 = registered(loss.function), loss.arity, gpu.float64
    storage = gpu.STORAGE[variant.dtype]
    get, put, number = storage.get, storage.put, storage.number
    rows_of = addresses(count, variant.columns, 1)
    grads_of = addresses(count, variant.columns, 1 + count)
    numbers = tuple_of(count, lambda k: lambda rows: float64(get(rows[k])))

    def writing(k: int) -> Any:
        def write_one(modes: Any, grads: Any, scale: Any, slopes: Any) -> bool:
            if modes[k] == WRITE:
                put(grads[k], number(times(scale, slopes[k])))
            return True

        return write_one

    write = tuple_of(count, writing)

    @jitable()
    def sample(team: Team, starts: Addresses, modes: Any, visit: Visit, parameters: Any) -> Any:
        d = numbers(rows_of(starts.rows, visit.position, visit.geometry))
        value, slopes = loss_of(d, visit.label, *parameters[1])
        grads = grads_of(starts.grads, visit.position, visit.geometry)
        write(modes, grads, visit.scale, slopes)
        return value

    return sample


def rows_sample(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """A sample that is given by its rows."""
    loss_of, prepare = registered(loss.function), registered(distance.prepare or as_it_is)
    count = operand_count(loss.arity)
    rows_of = addresses(count, variant.columns, 1)
    grads_of = addresses(count, variant.columns, 1 + count)
    distances_of = measure(loss.arity, distance, variant, gpu)
    writers = {"none": write_nothing, "written": write_rows, "summed": write_and_sum}
    write = writers[variant.gradients](loss.arity, distance, variant, gpu)

    def term(k: int) -> Any:
        return lambda scale, slopes, states, d: Scaled(
            times(scale, slopes[k]), prepare(states[k], d[k]), d[k]
        )

    terms = tuple_of(loss.arity, term)

    @jitable()
    def sample(team: Team, starts: Addresses, modes: Any, visit: Visit, parameters: Any) -> Any:
        of_distance, of_loss = parameters
        rows = rows_of(starts.rows, visit.position, visit.geometry)
        states, d = distances_of(team, rows, visit.features, of_distance)
        value, slopes = loss_of(d, visit.label, *of_loss)
        grads = grads_of(starts.grads, visit.position, visit.geometry)
        there = Addresses(rows, grads, starts.sums)
        write(team, terms(visit.scale, slopes, states, d), there, modes, visit)
        return value

    return sample


def finishing(dtype: str, gpu: Any) -> Callable[..., None]:
    """The kernel that sums up float64 numbers, over a denominator, to one number of a dtype.

    It takes the address of the numbers, how many they are, the address of the denominator or 0 and
    that of the result; and the denominator, where there is no address. Over 0 the sum is 0.
    """
    cuda, get, put = gpu.cuda, gpu.get_double, gpu.STORAGE[dtype].put
    number, block_sum, float64 = gpu.STORAGE[dtype].number, _block_sum(gpu), gpu.float64

    @cuda.jit
    def finish(n: Any, d: Any) -> None:
        numbers, count, denominator_at, out = n
        shared = cuda.shared.array(WARP, float64)
        total = 0.0
        k, step = cuda.threadIdx.x, cuda.blockDim.x
        # Four numbers under way at a time: one after the other took 39 us for 65,536 of them, by
        # the latency of memory.
        while k + 3 * step < count:
            first, second = get(numbers + 8 * k), get(numbers + 8 * (k + step))
            third, fourth = get(numbers + 8 * (k + 2 * step)), get(numbers + 8 * (k + 3 * step))
            total += (first + second) + (third + fourth)
            k += 4 * step
        while k < count:
            total += get(numbers + 8 * k)
            k += step
        total = block_sum(shared, total)
        if cuda.threadIdx.x == 0:
            denominator = d[0] if denominator_at == 0 else get(denominator_at)
            put(out, number(total / denominator if denominator != 0 else 0.0))

    return finish


def _block_sum(gpu: Any) -> Any:
    """``(shared, number) -> sum`` over the block, for its first thread."""
    cuda = gpu.cuda

    @jitable()
    def block_sum(shared: Any, number: Any) -> Any:
        step = WARP >> 1
        while step > 0:
            number += cuda.shfl_xor_sync(WHOLE_WARP, number, step)
            step >>= 1
        if cuda.threadIdx.x & (WARP - 1) == 0:
            shared[cuda.threadIdx.x // WARP] = number
        cuda.syncthreads()
        total = 0.0
        if cuda.threadIdx.x == 0:
            for warp in range(cuda.blockDim.x // WARP):
                total += shared[warp]
        return total

    return block_sum
