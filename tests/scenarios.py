"""Scenarios run as scripts: a crash takes its process along, and a threading layer is for life."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

LAYERS = {"omp": "omppool", "workqueue": "workqueue", "tbb": "tbbpool"}


def present(layer):
    try:
        importlib.import_module(f"numba.np.ufunc.{LAYERS[layer]}")
    except ImportError:
        return False
    return True


each_layer = pytest.mark.parametrize(
    "layer",
    [
        pytest.param(x, marks=pytest.mark.skipif(not present(x), reason=f"no {x} here"))
        for x in LAYERS
    ],
)


def run(script, seconds, layer, scenario, *arguments, numba_threads=2, omp_threads=2):
    """A scenario of a script, which says that it came to its end."""
    environment = {
        **os.environ,
        "NUMBA_THREADING_LAYER": layer,
        # Threads on a machine of one core too: what is safe does not depend on cores.
        "NUMBA_NUM_THREADS": str(numba_threads),
        "OMP_NUM_THREADS": str(omp_threads),
        # More threads than cores, who wait spinning, take turns of 8 ms.
        "OMP_WAIT_POLICY": "passive",
    }
    with subprocess.Popen(
        [sys.executable, script, scenario, layer, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # With its children, who hold the other end of the pipe.
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"{scenario} did not end in {seconds} s\n{output}")
    assert process.returncode == 0, output
    assert output.splitlines()[-1] == f"{scenario} ended", output
