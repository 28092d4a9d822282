"""Threads, forks and processes: the same numbers, and never a crash or a hang.

Each test runs this file as a script in a process of its own, for a crash takes the process with it,
and a threading layer is for life.
"""

import functools
import importlib
import os
import pathlib
import sys
import threading

import numpy as np
import pytest
import scenarios
from scenarios import each_layer

torch = pytest.importorskip("torch")
functional = torch.nn.functional

run = functools.partial(scenarios.run, __file__, 120)


# --------------------------------------------------------------------------------------------------
# What the processes compute
# --------------------------------------------------------------------------------------------------

# Enough for all threads, and too little to share out.
SHAPES = ((1024, 128), (16, 24))
LOSSES = {
    "cosine_embedding_loss": lambda f, x, y, z, target: f.cosine_embedding_loss(
        x, y, target, margin=0.2
    ),
    "triplet_margin_loss": lambda f, x, y, z, target: f.triplet_margin_loss(x, y, z),
    "triplet_margin_with_distance_loss": lambda f, x, y, z, target: (
        f.triplet_margin_with_distance_loss(x, y, z, distance_function=f.pairwise_distance)
    ),
    "cosine_similarity": lambda f, x, y, z, target: f.cosine_similarity(x, y).sum(),
    "hinge_embedding_loss": lambda f, x, y, z, target: f.hinge_embedding_loss(
        f.pairwise_distance(x, y), target, margin=20.0
    ),
}


def fused():
    return importlib.import_module("fastcos.adapters.torch")


def draw(shape):
    generator = torch.Generator().manual_seed(shape[0])
    rows = [torch.randn(shape, generator=generator) for _ in range(3)]
    return rows, torch.where(torch.rand(shape[0], generator=generator) < 0.5, 1, -1)


def forward(f, name, shape):
    rows, target = draw(shape)
    return LOSSES[name](f, *rows, target)


def forward_backward(f, name, shape):
    """The value, and the gradients of the rows that have one."""
    rows, target = draw(shape)
    for row in rows:
        row.requires_grad_()
    value = LOSSES[name](f, *rows, target)
    value.backward()
    return [value.detach(), *(row.grad for row in rows if row.grad is not None)]


def on_arrays(shape):
    """The same kernels for NumPy arrays, which have no thread limit of torch's."""
    import fastcos

    rows, target = draw(shape)
    x, y = (row.numpy() for row in rows[:2])
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, grads = f(x, y, target.numpy(), margin=0.2)
    return [torch.from_numpy(np.asarray(part)) for part in (value, *grads)]


def on_tensors():
    """Each loss at each size."""
    return [forward_backward(fused(), name, shape) for name in LOSSES for shape in SHAPES]


def everything():
    return [*on_tensors(), *map(on_arrays, SHAPES)]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """On disk, for all processes: what takes long is then not the compiler."""
    everything()
    for name in LOSSES:
        for shape in SHAPES:
            forward(fused(), name, shape)


def assert_right(results):
    """The very bits that this process gets in one thread, and torch's numbers."""
    expected = everything()
    assert len(results) == len(expected)
    for got, want in zip(results, expected, strict=True):
        assert len(got) == len(want)
        assert all(map(torch.equal, got, want))
    theirs = [forward_backward(functional, name, shape) for name in LOSSES for shape in SHAPES]
    for got, want in zip(results, theirs, strict=False):
        for one, other in zip(got, want, strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def start_threads(layer):
    """Torch's, and with them or beside them Numba's; autograd's are not started."""
    import numba

    (torch.ones(1 << 20) + 1).sum()
    for name in LOSSES:
        for shape in SHAPES:
            forward(fused(), name, shape)
    assert numba.threading_layer() == layer


# --------------------------------------------------------------------------------------------------
# Data loaders
# --------------------------------------------------------------------------------------------------


class Results(torch.utils.data.Dataset):
    """Everything, computed by whoever asks."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return everything()


def workers(layer, context):
    start_threads(layer)
    count = 2 if context == "fork" else 1
    loader = torch.utils.data.DataLoader(
        Results(count), batch_size=None, num_workers=count, multiprocessing_context=context
    )
    results = list(loader)
    assert len(results) == count
    for result in results:
        assert_right(result)


@each_layer
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(layer, context):
    import multiprocessing

    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {context} here")
    run(layer, "workers", context)


# --------------------------------------------------------------------------------------------------
# Python threads
# --------------------------------------------------------------------------------------------------


def python_threads(layer):
    """Nothing ran before: the kernels are made, and launched for the first time, by all at once."""
    count, rounds = 8, 4
    results = [[] for _ in range(count)]
    barrier = threading.Barrier(count)

    def work(mine):
        barrier.wait()
        mine.extend(everything() for _ in range(rounds))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(mine) for mine in results] == [rounds] * count
    for mine in results:
        for result in mine:
            assert_right(result)
    start_threads(layer)


@each_layer
def test_python_threads(layer):
    run(layer, "python_threads")


# --------------------------------------------------------------------------------------------------
# The number of threads
# --------------------------------------------------------------------------------------------------


def thread_count(layer, count):
    """The parallel kernel is one that tensors call, or where torch has one thread, arrays."""
    count = int(count)
    assert torch.get_num_threads() == count
    on_tensors()
    assert torch.get_num_threads() == count
    for shape in SHAPES:
        on_arrays(shape)
    assert torch.get_num_threads() == count
    torch.set_num_threads(3)
    everything()
    assert torch.get_num_threads() == 3
    start_threads(layer)


@each_layer
@pytest.mark.parametrize(("threads", "numba_threads"), [(1, 2), (2, 4)])
def test_the_number_of_threads_of_torch_stays(layer, threads, numba_threads):
    # Numba, when it starts, sets the number for all who use the same OpenMP.
    run(layer, "thread_count", threads, omp_threads=threads, numba_threads=numba_threads)


# --------------------------------------------------------------------------------------------------
# Distributed training
# --------------------------------------------------------------------------------------------------

RANKS = 2


def network():
    torch.manual_seed(0)
    # Without a last bias: it drops out of distances, and its gradient would be all rounding.
    return torch.nn.Sequential(
        torch.nn.Linear(32, 48), torch.nn.Tanh(), torch.nn.Linear(48, 128, bias=False)
    )


def gradients(f, name, model, rows, target):
    """Of the parameters. The rows go through the network in one piece, and the losses get views."""
    model.zero_grad()
    embedded = model(torch.cat(rows))
    LOSSES[name](f, *embedded.chunk(len(rows)), target).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def means():
    """The losses that are means over the samples: a mean of means of equal shares."""
    return [name for name in LOSSES if name.endswith("_loss")]


def rank_process(rank, folder):
    path = pathlib.Path(folder)
    torch.distributed.init_process_group(
        "gloo", init_method=(path / "init").as_uri(), rank=rank, world_size=RANKS
    )
    rows, target = draw((RANKS * 1024, 32))
    mine = slice(rank * 1024, (rank + 1) * 1024)
    model = torch.nn.parallel.DistributedDataParallel(network())
    found = {
        name: gradients(fused(), name, model, [row[mine] for row in rows], target[mine])
        for name in means()
    }
    torch.save(found, path / f"{rank}.pt")
    torch.distributed.destroy_process_group()
    # Not through the interpreter's end: gloo's threads outlive the group, and twice in some hundred
    # runs the process aborted there ("terminate called without an active exception").
    os._exit(0)


def distributed(layer, folder):
    torch.multiprocessing.spawn(rank_process, (folder,), nprocs=RANKS)
    found = [torch.load(pathlib.Path(folder) / f"{rank}.pt") for rank in range(RANKS)]
    rows, target = draw((RANKS * 1024, 32))
    for name in means():
        whole = gradients(fused(), name, network(), rows, target)
        torchs = gradients(functional, name, network(), rows, target)
        for parts in zip(*(of_rank[name] for of_rank in found), whole, torchs, strict=True):
            first, second, expected, theirs = parts
            assert torch.equal(first, second)
            assert expected.abs().max() > 0
            for whose, other in (("of two", first), ("of torch", theirs)):
                error = (other - expected).abs().max() / expected.abs().max()
                assert error <= 1e-5, f"{name} {whose} is off by {error:.2g}"


@each_layer
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_distributed_gradients_are_those_of_one_process(layer, tmp_path):
    run(layer, "distributed", tmp_path)


SCENARIOS = {f.__name__: f for f in (workers, python_threads, thread_count, distributed)}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(f"{sys.argv[1]} ended\n")
