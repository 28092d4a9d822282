"""Arrays of Dask on workers that are processes of their own, each with little memory.

The cluster runs in a process of its own, with a directory of its own for kernels: this file as a
script. What it has seen comes back as text.
"""

import functools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

#: Of a worker, of which Python with fastcos, Numba and Dask takes half.
MEMORY = 512 << 20
ROWS, FEATURES = 1 << 15, 128  # of a chunk: 16 MiB
#: Two tables have four times the memory of both workers.
CHUNKS = 4 * 2 * MEMORY // (2 * ROWS * FEATURES * 4)
SETTINGS = {
    # Memory may be used as far as it goes: what is looked at is whether anything was spilled.
    "distributed.worker.memory.pause": 0.95,
    "distributed.comm.timeouts.connect": "60s",
}


# --------------------------------------------------------------------------------------------------
# What runs in the process of the cluster
# --------------------------------------------------------------------------------------------------


def main(folder):
    """Runs all scenarios and prints what they have seen."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=MEMORY,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, timeout=60) as client,
    ):
        seen = {
            "kernels": kernels(client),
            "results": results(),
            "memory": larger_than_memory(client),
            "killed": killed(folder),
        }
    sys.stdout.write(f"\n{json.dumps(seen)}\n")


class Messages(logging.Handler):
    """Keeps what fastcos logs of its kernels: whether they were compiled, or read."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.kept = []

    def emit(self, record):
        self.kept.append(record.getMessage().split()[0])


def listen():
    logger = logging.getLogger("fastcos")
    logger.setLevel(logging.DEBUG)
    logger.handlers = [Messages()]
    logger.propagate = False


def heard():
    return logging.getLogger("fastcos").handlers[0].kept


def small():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 97, 33)).astype(np.float32)
    return x, y, np.where(rng.random(97) < 0.5, 1, -1), rng.random(97)


def in_chunks(x, rows):
    import dask.array as da

    return da.from_array(x, chunks=(rows, *x.shape[1:]))


def kernels(client):
    """What is compiled, and what is read from disk, of a loss that nobody has called before."""
    import dask

    import fastcos

    listen()
    client.run(listen)
    x, y, target, _ = small()
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    dask.compute(f(in_chunks(x, 10), in_chunks(y, 10), target))
    return {"client": heard(), "workers": list(client.run(heard).values())}


def results():
    """Whether values, gradients, neighbours and measures are those of arrays in memory."""
    import dask

    import fastcos

    x, y, target, weight = small()
    lazy = in_chunks(x, 20), in_chunks(y, 30)
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    there = f(x, y, target, weight=weight, reduction="sum")
    found = dask.compute(*f(*lazy, target, weight=in_chunks(weight, 40), reduction="sum"))
    one, other = fastcos.nearest(x, y, 5), dask.compute(*fastcos.nearest(*lazy, 5))
    labels = np.arange(97) % 7
    measured = fastcos.measures.mean_average_precision_at_r
    return {
        "value": [float(there[0]), float(found[0])],
        "gradients": all(map(np.array_equal, there[1], found[1])),
        "neighbours": all(map(np.array_equal, one, other)),
        "measure": [measured(x, labels), measured(lazy[0], labels).compute()],
    }


@functools.cache
def base(seed):
    rng = np.random.Generator(np.random.SFC64(seed))
    return rng.standard_normal((ROWS, FEATURES), dtype=np.float32)


def scaled(seed, block_info=None):
    """A chunk: the same numbers in each but for their scale, which is made without waiting."""
    place = block_info[None]["chunk-location"][0]
    return base(seed) * np.float32(2.0 ** (place % 3))


def table(seed, chunks, task=scaled):
    import dask.array as da

    return da.map_blocks(
        task,
        seed,
        chunks=((ROWS,) * chunks, (FEATURES,)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )


def spilled(dask_worker):
    return sum(dask_worker.data.spilled_total)


def larger_than_memory(client):
    """A loss and what becomes of its gradients, of four times the memory of all workers."""
    import dask

    import fastcos

    x, y = table(1, CHUNKS), table(2, CHUNKS)
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    value, (first, second) = f(x, y)
    found = dask.compute(value, abs(first).sum(dtype=float), abs(second).sum(dtype=float))
    # Cosines know no scale, and gradients go with its inverse: a third of the chunks each.
    there, grads = f(base(1), base(2))
    inverse = sum(2.0 ** -(place % 3) for place in range(CHUNKS)) / CHUNKS
    return {
        "bytes": x.nbytes + y.nbytes,
        "found": list(map(float, found)),
        "expected": [float(there), *[inverse * float(abs(g).sum(dtype=float)) for g in grads]],
        "spilled": list(client.run(spilled).values()),
    }


def killed(folder):
    """A loss whose third chunk kills the worker that makes it first."""
    import dask

    import fastcos

    done = pathlib.Path(folder, "killed")

    def deadly(seed, block_info=None):
        if block_info[None]["chunk-location"][0] == 2 and not done.exists():
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return scaled(seed, block_info)

    f = fastcos.value_and_grad(fastcos.cosine_distance_loss, "labels")
    value, grad = f(table(1, 6, deadly), table(2, 6))
    found = dask.compute(value, abs(grad).sum(dtype=float))
    value, grad = f(table(1, 6), table(2, 6))
    expected = dask.compute(value, abs(grad).sum(dtype=float))
    return {
        "was": done.exists(),
        "same": [float(a) == float(b) for a, b in zip(found, expected, strict=True)],
    }


# --------------------------------------------------------------------------------------------------
# What is asked of it
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_kernel_is_compiled_once_and_read_by_every_worker(seen):
    client, workers = seen["kernels"]["client"], seen["kernels"]["workers"]
    assert "compiled" in client
    assert len(workers) == 2
    for worker in workers:
        assert "loaded" in worker
        assert not {"compiling", "compiled"} & {*worker}


def test_results_are_those_of_arrays_in_memory(seen):
    found = seen["results"]
    value, lazy = map(np.float32, found["value"])
    assert abs(value - lazy) <= np.spacing(value)
    assert found["gradients"]
    assert found["neighbours"]
    np.testing.assert_allclose(*found["measure"], rtol=1e-14)


def test_four_times_the_memory_goes_through_and_nothing_is_spilled(seen):
    found = seen["memory"]
    assert found["bytes"] >= 4 * 2 * MEMORY
    np.testing.assert_allclose(found["found"], found["expected"], rtol=2e-7)
    assert found["spilled"] == [0, 0]


def test_a_worker_that_is_killed_is_survived(seen):
    assert seen["killed"] == {"was": True, "same": [True, True]}


def test_the_example_learns_from_a_store(tmp_path):
    example = pathlib.Path(__file__).parents[1] / "examples" / "dask_pairs.py"
    done = subprocess.run(
        [sys.executable, str(example), "--parts", "3", "--rows", "3000", "--store", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pairs, _, auc = done.stdout.splitlines()
    assert pairs.startswith("9,000 pairs, 9 MiB")
    before, after = map(float, auc.split()[1::2])
    assert before < 0.6
    assert after > 0.9
    assert len(list(tmp_path.iterdir())) == 6


if __name__ == "__main__":
    main(*sys.argv[1:])
