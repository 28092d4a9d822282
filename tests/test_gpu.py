"""What only a GPU can show: streams, graphs, large arrays, several devices (tier 3).

The NumPy tests run there too, by ``tests/conftest.py``. Under compute-sanitizer, which takes some
minutes for each of ``memcheck``, ``racecheck`` and ``synccheck``::

    compute-sanitizer --tool memcheck python -m pytest -n 0 -m gpu tests/test_gpu.py
"""

import numpy as np
import pytest

import fastcos

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cp():
    cupy = pytest.importorskip("cupy", reason="no CuPy here")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no GPU here ({error})")
    return cupy


LOSS = fastcos.value_and_grad(fastcos.cosine_embedding_loss)


def batch(cp, seed, samples=4096, features=256):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, samples, features), dtype=np.float32)
    target = rng.choice([-1, 1], samples)
    return (x, y, target), tuple(map(cp.asarray, (x, y, target)))


def assert_equal(cp, found, expected):
    (value, grads), (right, right_grads) = found, expected
    np.testing.assert_allclose(cp.asnumpy(value), right, rtol=1e-6)
    for grad, expected_grad in zip(grads, right_grads, strict=True):
        np.testing.assert_allclose(cp.asnumpy(grad), expected_grad, rtol=1e-5, atol=1e-9)


def test_a_call_goes_to_the_current_stream(cp):
    host, there = batch(cp, 1)
    stream = cp.cuda.Stream(non_blocking=True)
    # The stream is held up while the call is made: had it gone anywhere else, it would be done.
    held = cp.ElementwiseKernel(
        "int64 cycles",
        "int64 out",
        "long long t = clock64(); while (clock64() - t < cycles); out = 0",
        "hold",
    )
    LOSS(*there)
    cp.cuda.Device().synchronize()
    with stream:
        held(1 << 30, cp.empty(1, np.int64))
        found = LOSS(*there)
        assert not stream.done
    stream.synchronize()
    assert_equal(cp, found, LOSS(*host))


def test_two_streams_at_once(cp):
    batches = [batch(cp, seed) for seed in range(8)]
    cp.cuda.Device().synchronize()
    streams = [cp.cuda.Stream(non_blocking=True) for _ in batches]
    found = []
    for stream, (_, there) in zip(streams, batches, strict=True):
        with stream:
            found.append([LOSS(*there) for _ in range(5)])
    cp.cuda.Device().synchronize()
    for (host, _), results in zip(batches, found, strict=True):
        expected = LOSS(*host)
        for result in results:
            assert_equal(cp, result, expected)


def test_a_graph_replayed_with_new_numbers(cp):
    _, there = batch(cp, 2)
    out = tuple(cp.empty_like(x) for x in there[:2])
    stream = cp.cuda.Stream(non_blocking=True)
    # Of the graph's own: what a call allocates goes back to the pool, and the graph writes there.
    pool = cp.cuda.MemoryPool()
    with stream, cp.cuda.using_allocator(pool.malloc):
        LOSS(*there, out=out)  # compiles and loads
        stream.synchronize()
        stream.begin_capture()
        value, _ = LOSS(*there, out=out)
        graph = stream.end_capture()
    host, other = batch(cp, 3)
    for array, new in zip(there, other, strict=True):
        array[...] = new
    cp.cuda.Device().synchronize()
    graph.launch(stream)
    stream.synchronize()
    assert_equal(cp, (value, out), LOSS(*host))


def test_the_same_bits_every_time(cp):
    _, there = batch(cp, 4)
    value, grads = LOSS(*there)
    for _ in range(20):
        again, same = LOSS(*there)
        assert cp.asnumpy(again).tobytes() == cp.asnumpy(value).tobytes()
        for one, other in zip(grads, same, strict=True):
            assert bool((one.view(np.int32) == other.view(np.int32)).all())


@pytest.mark.parametrize(("samples", "features"), [(2**21 + 3, 1024), (2051, 2**20 + 1)])
def test_more_numbers_than_an_int_counts(cp, samples, features):
    needed = 3 * samples * features * 2
    if cp.cuda.runtime.memGetInfo()[0] < 1.2 * needed:
        pytest.skip(f"needs {needed >> 30} GiB")
    # One row of ones among zeros, far behind: it is found, and nothing else.
    x = cp.zeros((samples, features), np.float16)
    y = cp.zeros((samples, features), np.float16)
    x[-2] = y[-2] = 1
    c, (gx, _) = fastcos.value_and_grad(fastcos.cosine_similarity)(x, y)
    assert float(c[-2]) == 1
    assert float(abs(c).sum()) == 1
    assert not bool(gx[-1].any())


def test_the_other_device(cp):
    if cp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU only")
    with cp.cuda.Device(1):
        host, there = batch(cp, 5)
    with cp.cuda.Device(0):
        value, grads = LOSS(*there)
    assert value.device.id == grads[0].device.id == 1
    assert_equal(cp, (value, grads), LOSS(*host))
    with pytest.raises(ValueError, match="device 1"):
        LOSS(there[0], cp.asarray(host[1]), cp.asarray(host[2]))


def test_kernels_can_be_launched_as_numbas_are(cp):
    from fastcos.kernels.cuda import finishing, storage

    numbers, found = cp.arange(1000.0), cp.zeros(1)
    kernel = finishing("float64", storage)
    integers = numbers.data.ptr, 1000, 0, found.data.ptr
    kernel[1, 256, cp.cuda.get_current_stream().ptr](integers, (2.0,))
    assert float(found[0]) == 999 * 1000 / 2 / 2
