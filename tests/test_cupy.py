"""The adapter for CuPy, on CuPy's own arrays: in host memory, for all of this runs without a GPU.

CuPy knows the shapes, strides and addresses of such arrays and makes views of them; whatever it
would have a GPU do fails. So these are the direct calls, their kernels run by the simulated GPU.
"""

import ctypes
import importlib
import subprocess
import sys
import types

import devices
import ml_dtypes
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import _extras, value_and_grad
from fastcos.commands import info
from fastcos.engine import libraries
from fastcos.kernels.cuda import launch

cp = pytest.importorskip("cupy", reason="no CuPy here")

pytestmark = pytest.mark.simulated

DTYPES = [np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
LABELS = np.array([1, -1, -1, 1, -1])


@pytest.fixture
def gpu(monkeypatch):
    """The simulated GPU in the place of CuPy's current one."""
    devices.forget()
    gpu, _ = devices.simulated(monkeypatch)
    stream = types.SimpleNamespace(ptr=7)
    monkeypatch.setattr(cp.cuda.runtime, "getDevice", lambda: 0)
    monkeypatch.setattr(cp.cuda, "get_current_stream", lambda: stream)
    before = cp.cuda.get_allocator()
    cp.cuda.set_allocator(lambda size: memory(gpu, np.full(-(-size // 16) * 16, 0xFF, np.uint8)))
    yield gpu
    cp.cuda.set_allocator(before)
    devices.forget()


def memory(gpu, buffer):
    """Memory of the host, which CuPy takes for that of a device."""
    gpu.memory.add(buffer)
    unowned = cp.cuda.UnownedMemory(buffer.ctypes.data, max(buffer.nbytes, 1), buffer, 0)
    return cp.cuda.MemoryPointer(unowned, 0)


def there(gpu, array):
    """An array of CuPy's with the same numbers."""
    buffer = np.array(array, order="C")
    return cp.ndarray(buffer.shape, buffer.dtype, memory(gpu, buffer))


def back(array):
    if isinstance(array, tuple):
        return tuple(map(back, array))
    assert type(array) is cp.ndarray
    # Strides that lead backwards are for the tests to avoid.
    size = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    size += array.itemsize
    buffer = (ctypes.c_char * size).from_address(array.data.ptr)
    return np.ndarray(array.shape, array.dtype, buffer, 0, array.strides).copy()


def agree(name, given, operands, target=None, **kwargs):
    """Value and gradients of CuPy's arrays against the oracle of NumPy's."""
    value, grads = value_and_grad(getattr(fastcos, name))(*given, **kwargs)
    expected = oracle.loss(name, operands, target, **kwargs)
    oracle.assert_results_agree(oracle.Result(*back((value, grads))), expected)
    oracle.assert_same_bits(back(getattr(fastcos, name)(*given, **kwargs)), back(value))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "sum_over_batch_size"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses(rng, gpu, dtype, reduction):
    x, y, z = rng.standard_normal((3, 5, 33)).astype(dtype)
    a, b, c = (there(gpu, v) for v in (x, y, z))
    kwargs = {"reduction": reduction}
    for labels in (LABELS, LABELS.astype(np.int8), LABELS.astype(np.float32), LABELS > 0):
        target = there(gpu, labels)
        given = a, b, target
        agree("cosine_embedding_loss", given, (x, y), LABELS, margin=-0.5, **kwargs)
    for swap in (False, True):
        agree("triplet_margin_loss", (a, b, c), (x, y, z), swap=swap, **kwargs)
    agree("hinge_embedding_loss", (a[:, 0], target), (x[:, 0],), LABELS, **kwargs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_out(rng, gpu, dtype):
    x, y = rng.standard_normal((2, 5, 33)).astype(dtype)
    out = there(gpu, np.full_like(x, 7)), there(gpu, np.full_like(y, 7))
    value, grads = value_and_grad(fastcos.cosine_embedding_loss)(
        there(gpu, x), there(gpu, y), there(gpu, LABELS), out=out
    )
    assert grads == out
    expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS)
    oracle.assert_results_agree(oracle.Result(*back((value, grads))), expected)


def test_out_is_checked(rng, gpu):
    x, y, one, other = (there(gpu, v) for v in rng.standard_normal((4, 5, 7)))
    sliding = cp.lib.stride_tricks.as_strided(other, (5, 7), (8, 8))
    for out, error, message in (
        ((one, np.zeros((5, 7))), TypeError, "out for input2 must be a CuPy array"),
        ((one, one), ValueError, "out for input2 shares memory with out for input1"),
        ((one[1:], one[:4]), ValueError, "out for input2 shares memory with out for input1"),
        ((one, y[::2]), ValueError, "out for input2 shares memory with input2"),
        ((one, other[:4]), ValueError, r"out for input2 must have shape \(5, 7\)"),
        ((one, cp.broadcast_to(other[0], (5, 7))), ValueError, "out for input2 is a broadcast"),
        ((one, sliding), ValueError, "out for input2 .*overlaps itself"),
    ):
        with pytest.raises(error, match=message):
            value_and_grad(fastcos.cosine_embedding_loss)(x, y, there(gpu, LABELS), out=out)


def test_views_are_read_where_they_lie(rng, gpu):
    full = rng.standard_normal((2, 10, 40))
    on_device = there(gpu, full)
    for view in (
        lambda v: v[:, ::2, :33],
        lambda v: v[:, 1::2, 3:36],
        lambda v: v[..., 1:34].transpose(1, 0, 2)[:5].swapaxes(0, 1),
    ):
        (x, y), (a, b) = view(full), view(on_device)
        assert a.data.ptr - on_device.data.ptr == x.ctypes.data - full.ctypes.data
        assert a.strides == x.strides
        agree("cosine_embedding_loss", (a, b, there(gpu, LABELS)), (x, y), LABELS, margin=-0.5)


def test_any_feature_axis_whose_numbers_lie_together(rng, gpu):
    full = rng.standard_normal((2, 5, 33))
    x, y = full.swapaxes(1, 2)
    a, b = there(gpu, full).swapaxes(1, 2)
    target = there(gpu, LABELS)
    value, grads = value_and_grad(fastcos.cosine_embedding_loss)(a, b, target, axis=0)
    expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS, axis=0)
    result = oracle.Result(*back((value, grads)))
    oracle.assert_results_agree(result, expected, axis=0)


def test_a_query_against_a_gallery(rng, gpu):
    # The value for a row for all; both gradients for one expanded, which has one for each.
    query, gallery = rng.standard_normal(33), rng.standard_normal((5, 33))
    a, b, target = (there(gpu, v) for v in (query, gallery, LABELS))
    expected = oracle.loss("cosine_embedding_loss", (query, gallery), LABELS, margin=-0.5)
    for q in (a, a[None]):
        value = fastcos.cosine_embedding_loss(q, b, target, margin=-0.5)
        oracle.assert_within_ulps(back(value), expected.value, 32, scale=1)
    expanded, spread = np.broadcast_to(query, (5, 33)), cp.broadcast_to(a, (5, 33))
    assert spread.strides[0] == 0
    given = spread, b, target
    agree("cosine_embedding_loss", given, (expanded, gallery), LABELS, margin=-0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_upstream_gradient_for_each_sample(rng, gpu, dtype):
    x, y, z = rng.standard_normal((3, 5, 33)).astype(dtype)
    upstream = rng.standard_normal(5).astype(dtype)
    value, grads = value_and_grad(fastcos.triplet_margin_loss)(
        *(there(gpu, v) for v in (x, y, z)), reduction="none", grad_output=there(gpu, upstream)
    )
    expected = oracle.loss("triplet_margin_loss", (x, y, z), reduction="none", grad_output=upstream)
    oracle.assert_results_agree(oracle.Result(*back((value, grads))), expected)


def test_the_stream_that_is_current_is_launched_on(rng, gpu, monkeypatch):
    x, y = (there(gpu, v) for v in rng.standard_normal((2, 5, 7)))
    launched = []
    made = launch.launcher

    def kernel(*args):
        run = made(*args)
        return lambda stream, *rest: launched.append(stream) or run(stream, *rest)

    monkeypatch.setattr(launch, "launcher", kernel)
    for address in (11, 12):
        stream = types.SimpleNamespace(ptr=address)
        monkeypatch.setattr(cp.cuda, "get_current_stream", lambda stream=stream: stream)
        fastcos.triplet_margin_loss(x, y, y)
    assert launched == [11, 11, 12, 12]  # the losses, and their sum


def test_another_device_than_the_current_one_is_to_be_entered(rng, gpu, monkeypatch):
    x = there(gpu, rng.standard_normal((5, 7)))
    adapter = importlib.import_module("fastcos.adapters.cupy")
    assert adapter.device_guard((1.0, x)) is None
    monkeypatch.setattr(cp.cuda.runtime, "getDevice", lambda: 1)
    device = adapter.device_guard((1.0, x))
    assert type(device) is cp.cuda.Device
    assert device.id == 0


def test_host_and_device_are_named(rng, gpu):
    x = rng.standard_normal((5, 7))
    a = there(gpu, x)
    with pytest.raises(TypeError, match="input1 is a cupy array and input2 is a numpy array"):
        fastcos.cosine_embedding_loss(a, x, 1)
    with pytest.raises(TypeError, match="input1 is a cupy array and target is a numpy array"):
        fastcos.cosine_embedding_loss(a, a, LABELS)
    a = cp.ndarray((5, 7), np.complex64, memory(gpu, np.zeros(35, np.complex64)))
    with pytest.raises(TypeError, match="input1 has dtype complex64; accepted are float16"):
        fastcos.cosine_embedding_loss(a, a, 1)


class OfSomeLibrary:
    """An array of a GPU, whoever's."""

    def __init__(self, array):
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.data.ptr, False),
            "strides": array.strides,
            "version": 3,
        }

    __cuda_array_interface__ = None


def test_memory_of_a_gpu_under_any_name_is_taken_by_cupy(rng, gpu, monkeypatch):
    # What CuPy makes of it needs a GPU; that it is asked, and what becomes of its answer, does not.
    x, y = rng.standard_normal((2, 5, 33))
    a, b = there(gpu, x), there(gpu, y)
    asked = {}

    def asarray(value):
        return value if isinstance(value, cp.ndarray) else asked[value]

    foreign = OfSomeLibrary(a)
    asked[foreign] = a
    monkeypatch.setattr(cp, "asarray", asarray)
    assert libraries.library_of(OfSomeLibrary) == "cupy"
    for given in ((foreign, b), (b, foreign)):
        operands = [x if v is foreign else y for v in given]
        value, grads = value_and_grad(fastcos.cosine_distance_loss)(*given, weights=None)
        expected = oracle.loss("cosine_distance_loss", operands)
        oracle.assert_results_agree(oracle.Result(*back((value, grads))), expected)


# --------------------------------------------------------------------------------------------------
# What is not installed
# --------------------------------------------------------------------------------------------------

FOREIGN = """
import sys
for name in {absent}:
    sys.modules[name] = None
import fastcos

class Foreign:
    __cuda_array_interface__ = {{
        "shape": (3, 4), "typestr": "<f4", "data": (4096, False), "strides": None, "version": 3
    }}

    def __array__(self, *args, **kwargs):
        print("read on the host")

try:
    fastcos.cosine_similarity(Foreign(), Foreign())
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_cupy_the_error_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN.format(absent=["cupy"])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ImportError arrays on a GPU need CuPy (")
    assert done.stdout.endswith(f": {_extras.command('cupy', 'cuda')}\n")


_NOWHERE = cp.cuda.UnownedMemory(4096, 24, None, 0)


@pytest.mark.parametrize("first", [True, False])
def test_without_a_gpu_the_error_says_so(monkeypatch, first):
    foreign = OfSomeLibrary(cp.ndarray((3,), memptr=cp.cuda.MemoryPointer(_NOWHERE, 0)))

    def asarray(value):
        raise cp.cuda.runtime.CUDARuntimeError(35)  # the driver is too old, or there is none

    monkeypatch.setattr(cp, "asarray", asarray)
    monkeypatch.setattr(info, "_devices", list)
    given = (foreign, [1.0]) if first else ([1.0], foreign)
    with pytest.raises(RuntimeError, match=r"^x1 .* GPU: no GPU or no driver \(cudaErrorInsuff"):
        fastcos.cosine_similarity(*given)
    # Where nothing is missing CuPy's own words are the best there are.
    monkeypatch.setattr(info, "_devices", lambda: ["some GPU"])
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match=r"^cudaErrorInsufficientDriver"):
        fastcos.cosine_similarity(*given)


def no_longer_known(monkeypatch):
    launch.toolchain.cache_clear()
    monkeypatch.setattr(launch, "_launchers", {})


@pytest.mark.parametrize(
    ("module", "package"), [("numba_cuda", "numba-cuda"), ("cuda.core", "cuda-core")]
)
def test_without_what_compiles_and_launches_the_error_names_it(
    rng, gpu, monkeypatch, module, package
):
    x, y = (there(gpu, v) for v in rng.standard_normal((2, 5, 7)))
    monkeypatch.setattr(launch, "launcher", _LAUNCHER)
    no_longer_known(monkeypatch)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError,
        match=rf"arrays on a GPU need more .*: {package} \(.*\): pip install .*'cuda-core",
    ):
        fastcos.cosine_similarity(x, y)
    assert launch.missing().startswith(package)


@pytest.mark.parametrize("version", ["2.5.0", "2.5.1", "3.0.0"])
def test_beside_a_numpy_that_is_too_new_the_error_says_which_to_take(
    rng, gpu, monkeypatch, version
):
    x, y = (there(gpu, v) for v in rng.standard_normal((2, 5, 7)))
    monkeypatch.setattr(launch, "launcher", _LAUNCHER)
    no_longer_known(monkeypatch)
    monkeypatch.setattr(np, "__version__", version)
    with pytest.raises(ImportError, match=rf"NumPy {version}: pip install .*'numpy<2\.5'"):
        fastcos.cosine_similarity(x, y)
    monkeypatch.setattr(np, "__version__", "2.4.9")
    assert launch.missing() == ""


_LAUNCHER = launch.launcher


def test_importing_fastcos_imports_nothing_of_a_gpu():
    code = (
        "import sys, numpy as np, fastcos; fastcos.cosine_similarity(np.ones(3), np.ones(3));"
        "print([m for m in ('cupy', 'numba_cuda', 'cuda.core', 'cuda.bindings') if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
