"""From functions to compiled code, in memory and on disk: kernels, and the loops that run them.

What a kernel does is in :mod:`fastcos.kernels.cpu.kernels`; files are the subject of
:mod:`fastcos.kernels.cache`.
"""

import functools
import uuid
from collections.abc import Callable
from typing import Any

from numba import int64, prange
from numba.core.compiler_lock import global_compiler_lock

from fastcos.distances import Functions
from fastcos.kernels import ALIGNED, DOUBLES, FLOATS, LONGS, Spec
from fastcos.kernels.cache import compiled, digest, exported, source_digest
from fastcos.kernels.cpu import kernels, listwise, order, scan, select, tables, unit
from fastcos.kernels.cpu.memory import call, doubles, floats, int8s, longs
from fastcos.kernels.cpu.samples import table_unpacker, unpacker
from fastcos.kernels.cpu.storage import STORAGE
from fastcos.kernels.functions import SCALAR_MODULES, is_ours, jitable, name_of, registered
from fastcos.kernels.listwise import Variant

# The modules whose source ends up in a compiled kernel.
SOURCES = (
    *(*SCALAR_MODULES, "kernels", "kernels.arguments", "kernels.functions", "kernels.linear"),
    *(
        "kernels.lookup",
        "kernels.listwise",
        "listwise",
        "listwise.order",
        "listwise.record",
        "listwise.scalars",
    ),
    *("kernels.cpu.exponential", "kernels.cpu.listwise", "kernels.cpu.unit"),
    *("kernels.cpu", "kernels.cpu.compile", "kernels.cpu.gradients", "kernels.cpu.measure"),
    *("kernels.cpu.kernels", "kernels.cpu.memory", "kernels.cpu.samples", "kernels.cpu.states"),
    *(
        "kernels.cpu.order",
        "kernels.cpu.scan",
        "kernels.cpu.select",
        "kernels.cpu.storage",
        "kernels.cpu.streaming",
    ),
    "kernels.cpu.tables",
)

# By what they are made of.
_kernels: dict[tuple[Any, ...], Any] = {}


def kernel_of(spec: Spec) -> Any:
    """The compiled kernel of a loss, of a distance if it has one, and of a dtype.

    Returns:
        Numba's callback; its ``address`` is what :func:`task_loop` takes.
    """
    # Not by what a person calls it.
    return _once(spec._replace(what=""), lambda: _compiled(spec))


def _once(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """The kernel with this key, made if there is none."""
    if key in _kernels:
        return _kernels[key]
    # Under Numba's lock, or threads that need a kernel at once would each compile it.
    with global_compiler_lock:
        if key not in _kernels:
            _kernels[key] = make()
        return _kernels[key]


def _compiled(spec: Spec) -> Any:
    function, functions = spec.loss.function, spec.distance
    more: tuple[Any, ...] = ()
    unpack = unpacker(spec.operands, *spec.counts)
    if spec.does != ALIGNED:
        body: Callable[..., Any] = tables.BODIES[spec.does]
        more, unpack = (spec.loss.arity,), table_unpacker(spec.operands, *spec.counts)
    elif functions is None:
        body = kernels.pointwise_kernel
    elif spec.operands == 2:
        body = kernels.pair_kernel
    else:
        body = kernels.triplet_swap_kernel if spec.loss.arity == 3 else kernels.triplet_kernel
    ours = all(f is None or is_ours(f) for f in (function, *(functions or ())))
    tag = _tag(ours, body, function, functions, spec.operands, spec.counts, spec.dtype, *more)
    functions = functions and Functions._make(map(registered, functions))
    kernel = body(registered(function), functions, *more, STORAGE[spec.dtype], unpack, _tagged(tag))
    return _exported(kernel, tag, spec.what, ours)


def _tag(ours: bool, *content: Any) -> str:
    """A name for what a kernel is made of."""
    # A user's function may be redefined under its old name and place (a notebook cell), which the
    # key of the disk cache does not see: only our own kernels go there.
    return digest(digest_of_sources(), *map(name_of, content)) if ours else uuid.uuid4().hex


def _exported(kernel: Callable[[int, int], int], tag: str, what: str, ours: bool) -> Any:
    """A kernel under its name, compiled; on disk if it is made of ours alone."""
    kernel.__qualname__ += f"_{tag}"
    return exported(kernel, int64(int64, int64), what, keep=ours)


def listwise_kernel_of(functions: tuple[Any, ...], variant: Variant, what: str) -> Any:
    """The compiled kernel of the functions of a listwise loss, as :func:`kernel_of`."""

    def make() -> Any:
        ours = all(map(is_ours, functions))
        tag = _tag(ours, *functions, variant)
        kernel = listwise.listwise_kernel(functions, variant, _tagged(tag))
        return _exported(kernel, tag, what, ours)

    return _once((functions, variant), make)


def unit_kernel_of(dtype: str, wide: bool) -> Any:
    """The compiled kernel that makes rows of a dtype ready for products."""
    return _of_rows(unit.unit_kernel, dtype, wide, f"rows ({dtype})")


def project_kernel_of(dtype: str, wide: bool) -> Any:
    """The compiled kernel that makes gradients of a dtype of what products have left."""
    return _of_rows(unit.project_kernel, dtype, wide, f"gradients of rows ({dtype})")


def select_kernel_of(wide: bool) -> Any:
    """The compiled kernel that keeps what may be among the nearest."""

    def make() -> Any:
        tag = _tag(True, select.select_kernel, wide)
        kernel = select.select_kernel(wide, _tagged(tag))
        return _exported(kernel, tag, "the selection of neighbours", True)

    return _once((select.select_kernel, wide), make)


def scan_kernel_of(dtype: str, normalizes: bool) -> Any:
    """The compiled kernel that scores rows of a dtype as they lie in memory."""

    def make() -> Any:
        tag = _tag(True, scan.scan_kernel, dtype, normalizes)
        kernel = scan.scan_kernel(STORAGE[dtype], normalizes, _tagged(tag))
        return _exported(kernel, tag, f"the scan of rows ({dtype})", True)

    return _once((scan.scan_kernel, dtype, normalizes), make)


def _of_rows(body: Callable[..., Any], dtype: str, wide: bool, what: str) -> Any:
    def make() -> Any:
        tag = _tag(True, body, dtype, wide)
        return _exported(body(STORAGE[dtype], wide, _tagged(tag)), tag, what, True)

    return _once((body, dtype, wide), make)


def _tagged(tag: str) -> Any:
    """A :func:`jitable` that puts ``tag`` into the name of the function.

    The symbols of a compiled function are made of its name, the types of its arguments and a number
    that Numba counts up in each process. Two kernels that were cached by two processes can agree in
    all three, and loaded into a third one would run the code of the other.
    """

    def tagged(**options: Any) -> Any:
        def decorate(function: Any) -> Any:
            function.__qualname__ += f"_{tag}"
            return jitable(**options)(function)

        return decorate

    return tagged


@functools.cache
def digest_of_sources() -> str:
    """A digest of the sources that end up in a compiled kernel."""
    return source_digest(*SOURCES)


@functools.cache
def task_loop(parallel: bool) -> Any:
    """The loop over the tasks of any kernel; threads share a parallel one.

    Its arguments: the address of the kernel, the block of memory into which
    :func:`fastcos.kernels.arguments.host_packer` packed the kernel's arguments, how many tasks and
    how many samples. The end of the block is for the weighted losses of the samples, whose sum it
    returns.
    """

    def loop(kernel: int, block: Any, tasks: int, samples: int) -> float:
        address, done = block.ctypes.data, 0
        # Filled in here, as to ask for the address of the block takes Python 0.2 us.
        losses = address + 8 * (block.size - samples)
        longs(address, 1)[0] = losses
        for t in prange(tasks):
            done += call(kernel, t, address)
        if done < tasks:  # a kernel returns 1, and 0 where a function raised
            raise RuntimeError("a function of the distance raised the exception shown on stderr")
        return _sum(doubles(losses, samples))

    loop.__qualname__ += f"_{digest(digest_of_sources(), str(parallel))}"
    what = "the loop that threads share" if parallel else "the loop over samples"
    return compiled(loop, what, parallel)


@functools.cache
def digit_sorter() -> Any:
    """The kernel that sorts words by a digit; its ``address`` is what :func:`task_loop` takes."""
    return _exported(order.digit_kernel(), digest_of_sources(), "the order of rows", True)


@functools.cache
def joiner() -> Callable[[int, int, int, int], None]:
    """``join(parents, one, two, count)``: joins the groups of pairs, by addresses of int64 numbers.

    The parent of each is the smallest of its group that is known of, and of that itself.
    """

    def kernel(parents: int, one: int, two: int, count: int) -> None:
        largest = 0
        for k in range(count):
            largest = max(largest, longs(one, count)[k], longs(two, count)[k])
        parent = longs(parents, largest + 1)
        for k in range(count):
            a, b = longs(one, count)[k], longs(two, count)[k]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            parent[max(a, b)] = min(a, b)

    kernel.__qualname__ += f"_{digest_of_sources()}"
    return compiled(kernel, "the groups of duplicates")


@jitable(fastmath={"reassoc", "contract"})
def _sum(values: Any) -> float:
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@functools.cache
def all_signs() -> Callable[[int, int, int], bool]:
    """The kernel that says whether each of ``count`` labels of a kind at an address is 1 or -1."""

    def kernel(address: int, count: int, kind: int) -> bool:
        wrong = 0
        if kind == DOUBLES:
            for label in doubles(address, count):
                wrong += abs(label) != 1
        elif kind == FLOATS:
            for label in floats(address, count):
                wrong += abs(label) != 1
        elif kind == LONGS:
            for label in longs(address, count):
                wrong += (label != 1) & (label != -1)
        else:
            for label in int8s(address, count):
                wrong += (label != 1) & (label != -1)
        return wrong == 0

    kernel.__qualname__ += f"_{digest_of_sources()}"
    return compiled(kernel, "the check of labels")
