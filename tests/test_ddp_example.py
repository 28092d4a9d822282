"""The example of several processes with one batch, as its first lines say to run it."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("sklearn")
torch = pytest.importorskip("torch")
distributed = torch.distributed

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")

_PATH = pathlib.Path(__file__).parent.parent / "examples" / "ddp_contrastive.py"
_SPEC = importlib.util.spec_from_file_location("ddp_contrastive", _PATH)
STEPS = 40


@pytest.fixture
def alone(tmp_path):
    """A group of this process alone."""
    distributed.init_process_group(
        "gloo", init_method=(tmp_path / "init").as_uri(), rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_two_processes_make_the_steps_of_one():
    # A port of its own, for another run may be going on.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(_PATH), f"--steps={STEPS}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"2 processes, {STEPS} steps" in done.stdout
    (begin, end), (before, after) = re.findall(r"(\d\.\d+) +-> (\d\.\d+)", done.stdout)
    assert float(end) < 0.8 * float(begin)
    assert float(after) > float(before) + 0.02
    example = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(example)
    losses, _, recall = example.train(STEPS)
    assert float(end) == pytest.approx(losses[-1], rel=1e-4)
    assert float(after) == pytest.approx(recall, abs=5e-3)
