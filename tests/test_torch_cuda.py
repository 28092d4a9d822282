"""Tensors on a GPU: what the other tests of tensors, which run there too, do not say.

Streams, waiting, what is done once and what is left out, devices. Without a GPU the kernels run in
the simulator, on tensors of the CPU that are taken for a GPU's (``devices.lent``).
"""

import contextlib

import devices
import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

import fastcos  # noqa: E402
import fastcos.adapters.torch as ft  # noqa: E402
from fastcos.adapters.torch import arrays, autograd, cuda  # noqa: E402

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64

# --------------------------------------------------------------------------------------------------
# In the simulator
# --------------------------------------------------------------------------------------------------

simulated = pytest.mark.simulated


@pytest.fixture
def lent(tensors_lent):
    return tensors_lent


def draw(*shape, seed=0, dtype=F32):
    generator = torch.Generator().manual_seed(900 + seed)
    return torch.randn(shape, generator=generator, dtype=F64).to(dtype)


def leaves(count, *shape, dtype=F32):
    return [draw(*shape, seed=k, dtype=dtype).requires_grad_() for k in range(count)]


LABELS = torch.tensor([1, -1, -1, 1, -1])


def labels(rows):
    return LABELS.to(rows.device)


#: Name -> the call of ours on rows, of torch's, and how many rows.
CALLS = {
    "cosine_embedding_loss": (
        lambda x, y, **o: ft.cosine_embedding_loss(x, y, labels(x), 0.1, **o),
        lambda x, y, **o: F.cosine_embedding_loss(x, y, labels(x), 0.1, **o),
        2,
    ),
    "triplet_margin_loss": (
        lambda a, p, n, **o: ft.triplet_margin_loss(a, p, n, swap=True, **o),
        lambda a, p, n, **o: F.triplet_margin_loss(a, p, n, swap=True, **o),
        3,
    ),
    "triplet_margin_with_distance_loss": (
        lambda a, p, n, **o: ft.triplet_margin_with_distance_loss(a, p, n, **o),
        lambda a, p, n, **o: F.triplet_margin_with_distance_loss(a, p, n, **o),
        3,
    ),
    "hinge_embedding_loss": (
        lambda x, **o: ft.hinge_embedding_loss(x[:, 0], labels(x), 0.5, **o),
        lambda x, **o: F.hinge_embedding_loss(x[:, 0], labels(x), 0.5, **o),
        1,
    ),
}
by_call = pytest.mark.parametrize("name", CALLS)


@contextlib.contextmanager
def no_waiting(monkeypatch):
    """What would wait for a device is an error."""

    def waits(*args, **kwargs):
        raise AssertionError("a number of the device is waited for")

    with monkeypatch.context() as patch:
        for method in ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__"):
            patch.setattr(torch.Tensor, method, waits)
        yield


def grads_of(loss, upstream, wanted):
    return torch.autograd.grad(loss, wanted, torch.full_like(loss, upstream), retain_graph=True)


@simulated
@by_call
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_nothing_waits_and_all_goes_to_the_current_stream(
    lent, monkeypatch, name, reduction, weighted
):
    ours, _, count = CALLS[name]
    xs = leaves(count, 5, 9)
    weight = draw(5, seed=20).abs() if weighted else None

    with no_waiting(monkeypatch):
        loss = ours(*xs, reduction=reduction, weight=weight)
        for upstream in (1.0, 3.0):
            torch.autograd.grad(loss, xs, torch.full_like(loss, upstream), retain_graph=True)
    assert set(lent.streams) == {devices.STREAM}


@simulated
@pytest.mark.parametrize("name", ["weight", "loss"])
def test_public_functions_wait_as_little(lent, monkeypatch, name):
    x, y = leaves(2, 5, 9)
    weight = draw(5, seed=20).abs().requires_grad_(name == "weight")

    with no_waiting(monkeypatch):
        for reduction in ("mean", "sum_by_nonzero_weights", "sum_over_batch_size", "none"):
            loss = fastcos.cosine_embedding_loss(x, y, LABELS, weight=weight, reduction=reduction)
            loss.sum().backward()
    assert lent.streams


@simulated
@by_call
@pytest.mark.parametrize("dtype", [BF16, F32, F64], ids=str)
def test_gradients_for_an_upstream_gradient_of_1_are_left_as_they_are(lent, name, dtype):
    ours, _, count = CALLS[name]
    xs = leaves(count, 5, 19, dtype=dtype)
    loss = ours(*xs)
    launched = len(lent.streams)
    before = [x.detach().clone() for x in xs]
    for x in xs:
        # Unseen by autograd: what is computed from now on is something else.
        x.data.mul_(-0.5)
    found = torch.autograd.grad(loss, xs)
    assert len(lent.streams) == launched + 1
    for x, old in zip(xs, before, strict=True):
        x.data.copy_(old)
    again = torch.autograd.grad(ours(*xs), xs)
    for grad, expected in zip(found, again, strict=True):
        assert torch.equal(grad, expected)
        assert grad.any()


@simulated
@by_call
@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64], ids=str)
@pytest.mark.parametrize("upstream", [0.0, -2.5, 1.0, 1.0078125])
def test_any_other_upstream_gradient_replaces_them(lent, name, dtype, upstream):
    # 1.0078125 is the next number to 1 in bfloat16.
    ours, theirs, count = CALLS[name]
    xs = leaves(count, 5, 19, dtype=dtype)
    found = grads_of(ours(*xs), upstream, xs)
    wide = [x.detach().double().requires_grad_() for x in xs]
    expected = grads_of(theirs(*wide), upstream, wide)
    for grad, right in zip(found, expected, strict=True):
        assert grad.dtype is dtype
        eps = torch.finfo(dtype).eps
        bound = 1e-13 if dtype is F64 else 2 * eps
        torch.testing.assert_close(
            grad.double(), right, rtol=bound, atol=bound * right.abs().max().item()
        )


@simulated
@by_call
def test_a_second_backward_pass_does_not_write_to_what_was_handed_out(lent, name):
    ours, _, count = CALLS[name]
    xs = leaves(count, 5, 9)
    loss = ours(*xs)
    first = grads_of(loss, 1.0, xs)
    held = [grad.clone() for grad in first]
    second = grads_of(loss, 2.0, xs)
    for grad, same, other in zip(first, held, second, strict=True):
        assert torch.equal(grad, same)
        torch.testing.assert_close(other, 2 * same)


WAITING = {
    "one row for all": ([(1, 9), (5, 9)], [F32, F32], False),
    "mixed dtypes": ([(5, 9), (5, 9)], [F32, F64], False),
    "float16": ([(5, 9), (5, 9)], [F16, F16], False),
    "weight": ([(5, 9), (5, 9)], [F32, F32], True),
}


@simulated
@pytest.mark.parametrize("kind", WAITING)
@pytest.mark.parametrize("upstream", [1.0, -2.5])
def test_gradients_that_a_kernel_alone_does_not_make_wait_for_the_backward_pass(
    lent, monkeypatch, kind, upstream
):
    shapes, dtypes, weighted = WAITING[kind]
    x, y = (
        draw(*shape, seed=k, dtype=dtype).requires_grad_()
        for k, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    )
    weight = draw(5, seed=20).abs().requires_grad_() if weighted else None
    wanted, asked = [x, y, *([weight] if weighted else [])], []
    execute = autograd.execute

    def noted(plan, parameters, validate, arrays, out=(), **options):
        asked.append((plan.order, out))
        return execute(plan, parameters, validate, arrays, out, **options)

    monkeypatch.setattr(autograd, "execute", noted)
    loss = ft.cosine_embedding_loss(x, y, LABELS, 0.1, weight=weight)
    found = grads_of(loss, upstream, wanted)
    assert [(len(order), out) for order, out in asked] == [(0, ()), (len(wanted), ())]
    wide = [t.detach().double().requires_grad_() for t in wanted]
    each = F.cosine_embedding_loss(*wide[:2], LABELS, 0.1, reduction="none")
    mean = (wide[2] * each).sum() / wide[2].sum() if weighted else each.mean()
    for grad, t, right in zip(found, wanted, grads_of(mean, upstream, wide), strict=True):
        assert grad.dtype is t.dtype
        eps = torch.finfo(t.dtype).eps
        torch.testing.assert_close(
            grad.double(), right, rtol=2 * eps, atol=2 * eps * right.abs().max().item()
        )


@simulated
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_losses_that_autocast_widens_are_not_rounded_before(lent, dtype):
    x, y = leaves(2, 5, 40, dtype=dtype)
    with torch.autocast("cpu", dtype):
        each = ft.cosine_embedding_loss(x, y, LABELS, reduction="none")
        mean = ft.cosine_embedding_loss(x, y, LABELS)
    right = F.cosine_embedding_loss(x.double(), y.double(), LABELS, reduction="none")
    assert each.dtype is mean.dtype is F32
    torch.testing.assert_close(each.double(), right, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mean.double(), right.mean(), rtol=1e-6, atol=1e-7)


@simulated
def test_lists_beside_tensors_go_to_the_device(lent, monkeypatch):
    x, y = leaves(2, 3, 4)
    places, as_tensor = [], torch.as_tensor

    def noted(value, **options):
        places.append(options["device"])
        return as_tensor(value, **options)

    monkeypatch.setattr(cuda, "_PLACE", torch.device("cpu", 0))
    monkeypatch.setattr(torch, "as_tensor", noted)
    loss = fastcos.cosine_embedding_loss(x, y, [1, -1, 1], weight=[0.5, 1.0, 2.0])
    loss.backward()
    assert places
    assert set(places) == {torch.device("cpu", 0)}


@simulated
def test_labels_that_are_none_give_nan_unless_they_are_to_be_checked(lent):
    x, y = leaves(2, 3, 4)
    odd = torch.tensor([1, 0, -1])
    each = fastcos.cosine_embedding_loss(x, y, odd, reduction="none")
    assert each.isnan().tolist() == [False, True, False]
    for dtype in (torch.int64, torch.int16, BF16):
        with pytest.raises(ValueError, match=r"got 0(\.0)? at index \(1,\)"):
            fastcos.cosine_embedding_loss(x, y, odd.to(dtype), validate=True)


@simulated
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_no_samples(lent, reduction):
    x, y = (torch.empty(0, 4, requires_grad=True) for _ in range(2))
    loss = fastcos.cosine_distance_loss(x, y, reduction=reduction)
    expected = {"none": torch.empty(0), "sum": torch.tensor(0.0), "mean": torch.tensor(torch.nan)}
    torch.testing.assert_close(loss, expected[reduction], equal_nan=True)
    loss.sum().backward()
    assert x.grad.shape == (0, 4)
    assert not lent.streams


@simulated
def test_another_device_than_the_current_one_is_entered(lent, monkeypatch):
    entered = [0]

    class Device:
        def __init__(self, number):
            self.number = number

        def __enter__(self):
            entered.append(self.number)

        def __exit__(self, *failure):
            entered.append(0)

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(cuda, "current", lambda: entered[-1])
    monkeypatch.setattr(arrays, "device_of", lambda tensor: 1)
    x, y = leaves(2, 3, 4)
    ft.cosine_similarity(x, y).sum().backward()
    assert entered == [0, 1, 0, 1, 0]
    entered.append(1)
    ft.cosine_similarity(x, y)
    assert entered == [0, 1, 0, 1, 0, 1]


@simulated
def test_what_is_gone_may_not_be_touched(lent, monkeypatch):
    """The simulator itself: an address is no reason for memory to stay."""
    address = cuda.address

    def of_a_copy(tensor):
        return address(tensor.clone())

    monkeypatch.setattr(cuda, "address", of_a_copy)
    with pytest.raises(MemoryError, match="are of no array"):
        ft.cosine_similarity(draw(2, 3), draw(2, 3))


# --------------------------------------------------------------------------------------------------
# Devices that are not there
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere():
    """A tensor on a GPU, by what it says."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return {
            "rows": torch.empty(3, 4, device="cuda:0"),
            "others": torch.empty(3, 4, device="cuda:1"),
            "each": torch.empty(3, device="cuda:0"),
            "one": torch.empty((), device="cuda:0"),
        }


@pytest.mark.filterwarnings("ignore")
def test_tensors_on_two_devices_are_named(elsewhere):
    here, first, second = draw(3, 4), elsewhere["rows"], elsewhere["others"]
    for one, other, text in (
        (here, first, "x1 is on cpu and x2 is on cuda:0"),
        (first, here, "x1 is on cuda:0 and x2 is on cpu"),
        (first, second, "x1 is on cuda:0 and x2 is on cuda:1"),
    ):
        with pytest.raises(RuntimeError, match=f"all tensors to be on the same device, but {text}"):
            fastcos.cosine_similarity(one, other)
    for name, options in (
        ("weight", {"weight": elsewhere["one"]}),
        ("target", {"target": elsewhere["each"]}),
    ):
        arguments = {"target": [1, 1, -1], **options}
        with pytest.raises(RuntimeError, match=f"input1 is on cpu and {name} is on cuda:0"):
            fastcos.cosine_embedding_loss(here, here, **arguments)
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    with pytest.raises(RuntimeError, match="labels is on cpu and grad_output is on cuda:0"):
        f(here, draw(3, 4, seed=1), grad_output=elsewhere["one"])


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_a_buffer_on_another_device_is_named(monkeypatch, elsewhere):
    here = draw(3, 4)
    monkeypatch.setattr(arrays, "unfit", lambda tensor: "")
    with pytest.raises(RuntimeError, match="out is on cuda:0 and x1 is on cpu"):
        arrays.check_out("out", elsewhere["rows"], {"x1": here})


def test_the_adapter_is_that_of_the_place(elsewhere):
    x = draw(3)
    assert arrays.placed(("x",), (x,)) is arrays
    assert arrays.placed(("x", "y"), ([1.0], elsewhere["one"])) is cuda
    # Others are refused by name where they are read.
    assert arrays.placed(("x", "y"), (x, torch.empty(3, device="meta"))) is arrays


# --------------------------------------------------------------------------------------------------
# On a GPU
# --------------------------------------------------------------------------------------------------

on_a_gpu = pytest.mark.gpu


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    devices.forget()
    torch.cuda.synchronize()
    return torch.device("cuda", torch.cuda.current_device())


def batch(gpu, seed, samples=4096, features=256, dtype=F32):
    x, y = (draw(samples, features, seed=seed + k, dtype=dtype).to(gpu) for k in (0, 1))
    target = (draw(samples, seed=seed + 2).to(gpu) > 0).long() * 2 - 1
    return x.requires_grad_(), y.requires_grad_(), target


def step(module, x, y, target):
    loss = module.cosine_embedding_loss(x, y, target, 0.1)
    return loss, *torch.autograd.grad(loss, (x, y))


def assert_right(found, x, y, target):
    """Against torch in float64."""
    wide = step(
        F, x.detach().double().requires_grad_(), y.detach().double().requires_grad_(), target
    )
    for given, right in zip(found, wide, strict=True):
        eps = torch.finfo(given.dtype).eps
        bound = 8 * eps * right.abs().max().item()
        torch.testing.assert_close(given.double(), right, rtol=8 * eps, atol=bound)


@on_a_gpu
@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64], ids=str)
@pytest.mark.parametrize("shape", [(1, 3), (33, 97), (257, 512), (7, 4099)], ids=str)
def test_every_dtype_and_size(gpu, dtype, shape):
    arguments = batch(gpu, 10, *shape, dtype=dtype)
    assert_right(step(ft, *arguments), *arguments)


@on_a_gpu
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_products_of_half_types_have_the_digits_that_they_had_when_simulated(gpu, dtype):
    x, y = (draw(65, 97, seed=k, dtype=dtype).to(gpu) for k in (0, 1))
    loss = fastcos.value_and_grad(fastcos.info_nce_loss)
    found, right = loss(x, y), loss(x.double(), y.double())
    bound = 2e-3 + torch.finfo(dtype).eps
    for mine, other in zip((found[0], *found[1]), (right[0], *right[1]), strict=True):
        assert (mine.double() - other).abs().max() <= bound * other.abs().max()


@on_a_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_nothing_synchronises(gpu):
    x, y, target = batch(gpu, 20)
    weight = draw(4096, seed=25).abs().to(gpu).requires_grad_()

    def everything():
        step(ft, x, y, target)
        (3 * ft.cosine_embedding_loss(x, y, target, weight=weight)).backward()
        ft.triplet_margin_loss(x, y, y.flip(0), swap=True, reduction="none").sum().backward()
        ft.hinge_embedding_loss(x[:, 0], target).backward()
        fastcos.cosine_distance_loss(x[0], y, weights=weight).backward()

    everything()
    torch.cuda.set_sync_debug_mode("error")
    try:
        everything()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
def test_a_call_goes_to_the_current_stream(gpu):
    arguments = batch(gpu, 30)
    step(ft, *arguments)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(1 << 30)
        found = step(ft, *arguments)
        assert not stream.query()
    stream.synchronize()
    assert_right(found, *arguments)


@on_a_gpu
def test_two_streams_at_once(gpu):
    batches = [batch(gpu, 40 + 3 * k) for k in range(6)]
    torch.cuda.synchronize()
    streams, found = [torch.cuda.Stream() for _ in batches], []
    for stream, arguments in zip(streams, batches, strict=True):
        with torch.cuda.stream(stream):
            found.append([step(ft, *arguments) for _ in range(5)])
    torch.cuda.synchronize()
    for arguments, steps in zip(batches, found, strict=True):
        for each in steps:
            assert_right(each, *arguments)


@on_a_gpu
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_graph_of_forward_and_backward_is_replayed_with_new_numbers(gpu, scale):
    x, y, target = batch(gpu, 60)

    def run():
        loss = scale * ft.cosine_embedding_loss(x, y, target, 0.1)
        return loss, *torch.autograd.grad(loss, (x, y))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    for seed in (63, 66):
        new = batch(gpu, seed)
        for old, other in zip((x, y, target), new, strict=True):
            old.data.copy_(other)
        graph.replay()
        torch.cuda.synchronize()
        assert_right([each / scale for each in found], x, y, target)


@on_a_gpu
def test_a_thread_that_has_called_nothing_yet(gpu):
    import threading

    arguments, found = batch(gpu, 70), []
    thread = threading.Thread(target=lambda: found.extend(step(ft, *arguments)))
    thread.start()
    thread.join()
    assert_right(found, *arguments)


@on_a_gpu
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@by_call
def test_autocast_is_torchs(gpu, name, dtype):
    ours, theirs, count = CALLS[name]
    xs = [x.detach().to(gpu).requires_grad_() for x in leaves(count, 5, 40, dtype=dtype)]
    with torch.autocast("cuda", dtype):
        for reduction in ("mean", "none"):
            value, expected = (call(*xs, reduction=reduction) for call in (ours, theirs))
            assert value.dtype is expected.dtype is F32
            torch.testing.assert_close(value, expected, rtol=0.02, atol=0.02)
        a, b = xs[0], xs[-1]
        for measure in ("cosine_similarity", "pairwise_distance"):
            dtypes = {getattr(kind, measure)(a, b).dtype for kind in (ft, F)}
            assert dtypes == {F32}


@on_a_gpu
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*")  # inductor's, of what it could do
def test_compiles_into_one_graph(gpu):
    x, y, target = batch(gpu, 80, 64, 32)
    compiled = torch.compile(
        lambda x, y: ft.cosine_embedding_loss(x, y, target, 0.1), fullgraph=True
    )
    loss = compiled(x, y)
    found = loss, *torch.autograd.grad(loss, (x, y))
    for given, right in zip(found, step(F, x, y, target), strict=True):
        torch.testing.assert_close(given, right)


@on_a_gpu
def test_tensors_of_host_and_device_fail_as_in_torch(gpu):
    x, y, target = batch(gpu, 90, 8, 4)
    for arguments in ((x.cpu(), y, target), (x, y.cpu(), target), (x, y, target.cpu())):
        errors = []
        for module in (ft, F):
            with pytest.raises(RuntimeError, match=r"cuda:\d.*cpu|cpu.*cuda:\d") as caught:
                module.cosine_embedding_loss(*arguments)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]
        with pytest.raises(RuntimeError, match=r"cuda:\d.*cpu|cpu.*cuda:\d"):
            fastcos.cosine_embedding_loss(*arguments)


@on_a_gpu
def test_two_devices(gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU here")
    for number in (1, 0):
        arguments = batch(torch.device("cuda", number), 95)
        found = step(ft, *arguments)
        assert {each.device.index for each in found} == {number}
        assert_right(found, *arguments)


@on_a_gpu
def test_memory_is_that_of_the_gradients(gpu):
    x, y, target = batch(gpu, 100)
    step(ft, x, y, target)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    found = step(ft, x, y, target)
    # Two gradients; a sum for each block, the loss, an upstream gradient, in pieces of 512 bytes.
    assert torch.cuda.max_memory_allocated() - before <= 2 * x.nbytes + (1 << 20)
    del found


@on_a_gpu
def test_the_same_bits_every_time(gpu):
    arguments = batch(gpu, 110)
    first = step(ft, *arguments)
    for _ in range(20):
        assert all(map(torch.equal, first, step(ft, *arguments)))


@on_a_gpu
def test_distributed_gradients_are_those_of_one_process(gpu, tmp_path):
    import torch.distributed as dist

    if not dist.is_nccl_available():
        pytest.skip("no NCCL here")
    network = torch.nn.Linear(16, 8).to(gpu)
    x, y, target = batch(gpu, 120, 32, 16)

    def loss(module):
        return ft.cosine_embedding_loss(module(x), module(y), target)

    expected = torch.autograd.grad(loss(network), list(network.parameters()))
    dist.init_process_group("nccl", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        both = torch.nn.parallel.DistributedDataParallel(network, device_ids=[gpu.index])
        loss(both).backward()
    finally:
        dist.destroy_process_group()
    for parameter, right in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, right)


@on_a_gpu
def test_numpy_and_torch_say_the_same(gpu):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 100, 64), dtype=np.float32)
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    value, grads = f(x, y, reduction="mean")
    there, there_grads = f(*(torch.from_numpy(a).to(gpu) for a in (x, y)), reduction="mean")
    for given, right in zip((there, *there_grads), (value, *grads), strict=True):
        np.testing.assert_allclose(given.cpu().numpy(), right, rtol=1e-5, atol=1e-9)
