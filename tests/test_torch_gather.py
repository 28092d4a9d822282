"""Listwise losses of a batch that several processes hold together, as one process has them.

Each world size is one run of as many processes, with all cases in it, for a process takes seconds
to begin. What they found is compared here with one process and with the oracle. Nothing waits for
ever: the processes of a run are ended after a while, and so are calls that hang within them.
"""

import contextlib
import copy
import datetime
import functools
import inspect
import os
import pathlib
import pickle
import resource
import subprocess
import sys
import time

import listwise_oracle
import numpy as np
import pytest
from listwise_oracle import LABELLED, LOSSES

import fastcos

torch = pytest.importorskip("torch")
distributed = torch.distributed

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed"),
]

D = 5
SECONDS = 400  # of a run, on a machine that is busy and has to compile
HANGS = 60  # of a call
REDUCTIONS = ("mean", "sum", "none", "sum_over_batch_size", "sum_by_nonzero_weights")
# How many rows each process has: none, one, and as many as the others among them.
SPLITS = {2: [(4, 9), (12, 1), (6, 6)], 3: [(7, 0, 6), (1, 5, 7), (4, 4, 4)]}
EPS = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 2e-2, "float16": 3e-3}


def fused():
    from fastcos.adapters import torch as ft

    return ft


# --------------------------------------------------------------------------------------------------
# Cases: a loss, its options, and how a batch is shared out
# --------------------------------------------------------------------------------------------------


def cases(size):
    """``(name, reduction, dtype, number of the options, split, whether there is a bank)``."""
    found = []
    splits = SPLITS[size]
    for k, (name, row) in enumerate(LOSSES.items()):
        for j, reduction in enumerate(REDUCTIONS):
            options = j % (len(row.others) + 1)
            found.append((name, reduction, "float64", options, splits[(j + k) % 3], False))
            if row.kind == LABELLED:
                found.append((name, reduction, "float64", 0, splits[(j + k + 1) % 3], True))
        found += [
            (name, "mean", dtype, 0, splits[(k + i) % 3], False)
            for i, dtype in enumerate(("float32", "bfloat16", "float16"))
        ]
    return found


def drawn(case):
    """The whole batch of a case, its weights and its upstream gradients."""
    name, reduction, dtype, options, split, bank = case
    number = [*LOSSES].index(name)
    rng = np.random.default_rng((number, REDUCTIONS.index(reduction), len(dtype), sum(split), bank))
    n = sum(split)
    batch = listwise_oracle.draw(rng, name, n, D, bank=9 if bank else None, classes=4)
    anchors = len(batch.rows[LOSSES[name].anchors])
    weight = rng.uniform(0.2, 1.0, anchors)
    weight[anchors // 2] = 0
    upstream = rng.uniform(0.5, 1.5, anchors if reduction == "none" else ())
    chosen = ({}, *LOSSES[name].others)[options]
    learned = {
        key: chosen.get(key, listwise_oracle.default_of(name, key))
        for key in LOSSES[name].learnable
    }
    return batch, weight, upstream, chosen, learned


def part_of(counts, rank):
    return slice(sum(counts[:rank]), sum(counts[: rank + 1]))


def bank_split(split):
    """Another one than that of the rows."""
    shares = (2, 7) if len(split) == 2 else (3, 6, 0)
    return shares


def outcome(case, rank=None):
    """The value and the gradients of one process of a case, or of one that has all of it."""
    name, reduction, dtype, _, split, _ = case
    batch, weight, upstream, options, learned = drawn(case)
    row = LOSSES[name]
    mine = slice(None) if rank is None else part_of(split, rank)
    bank = slice(None) if rank is None else part_of(bank_split(split), rank)
    parts = {"ref": bank, "ref_labels": bank, "proxies": slice(None)}

    def tensor(array):
        return torch.tensor(array).to(getattr(torch, dtype))

    leaves = {key: tensor(array)[parts.get(key, mine)] for key, array in batch.rows.items()}
    # Learned numbers are float64, whatever rows are.
    leaves |= {key: torch.tensor(value, dtype=torch.float64) for key, value in learned.items()}
    leaves = {key: leaf.clone().requires_grad_() for key, leaf in leaves.items()}
    labels = {key: torch.tensor(array)[parts.get(key, mine)] for key, array in batch.labels.items()}
    of_anchors = parts.get(row.anchors, mine)
    given = {**leaves, **labels, **options}
    given |= {key: leaves[key] for key in learned}
    loss = getattr(fused(), name)
    gather = {} if rank is None else {"gather": True}
    value = loss(**given, weight=torch.tensor(weight)[of_anchors], reduction=reduction, **gather)
    of_value = torch.tensor(upstream)[of_anchors] if upstream.ndim else torch.tensor(upstream)
    value.backward(of_value.to(value.dtype))
    return value.detach(), {key: leaf.grad for key, leaf in leaves.items()}


def differences(case, rank, found, whole):
    """By how much a process is off from what one process finds, relative to all of that."""
    name, reduction, _, _, split, _ = case
    row, (value, grads), (of_whole, all_grads) = LOSSES[name], found, whole
    mine, bank = part_of(split, rank), part_of(bank_split(split), rank)
    if reduction == "none" and row.anchors != "proxies":
        expected = of_whole[mine]
    else:
        expected = of_whole
    assert value.dtype is of_whole.dtype
    yield "value", off(value, expected, of_whole)
    for key, grad in grads.items():
        assert grad.dtype is all_grads[key].dtype
        expected = all_grads[key]
        if key in ("x", "x1", "x2"):
            expected = expected[mine]
        elif key == "ref":
            expected = expected[bank]
        else:
            expected = expected / len(split)
        yield key, off(grad, expected, all_grads[key])


def off(one, other, scale):
    assert one.shape == other.shape
    one, other = one.double(), other.double()
    largest = scale.double().abs().max().item()
    error = (one - other).abs().max().item() if one.numel() else 0.0
    return error / largest if largest else error


# --------------------------------------------------------------------------------------------------
# What else the processes do
# --------------------------------------------------------------------------------------------------


def small(rank, rows=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(rows, D, generator=generator, dtype=dtype).requires_grad_()
    return x, torch.arange(rows) % 3


def wrong_shape(ft, x, labels):
    return ft.nca_loss(x[0], labels, gather=True)


def wrong_temperature(ft, x, labels):
    return ft.supervised_contrastive_loss(x, labels, temperature=-1.0, gather=True)


def wrong_label(ft, x, labels):
    return ft.nca_loss(x, labels - 1, gather=True)


def wrong_keyword(ft, x, labels):
    return ft.nca_loss(x, labels, margn=1.0, gather=True)


def missing_labels(ft, x, labels):
    return ft.nca_loss(x, None, gather=True)


def weight_with_gradient(ft, x, labels):
    return ft.nca_loss(x, labels, weight=torch.ones(len(x)).requires_grad_(), gather=True)


def an_array(ft, x, labels):
    return ft.nca_loss(x.detach().numpy(), labels.numpy(), gather=True)


def differentiated_twice(ft, x, labels):
    losses = ft.nca_loss(x, labels, reduction="none", gather=True)
    return torch.autograd.grad(losses.sum(), x, create_graph=True)


def transformed(ft, x, labels):
    return torch.func.grad(lambda x: right(ft, x, labels))(x.detach())


def within_a_mode(ft, x, labels):
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        return right(ft, x, labels)


def right(ft, x, labels):
    return ft.nca_loss(x, labels, gather=True)


def right_backward(ft, x, labels):
    losses = ft.nca_loss(x, labels, reduction="none", gather=True)
    return torch.autograd.grad(losses.sum(), x)


def other_scale(ft, x, labels):
    return ft.nca_loss(x, labels, scale=2.0, gather=True)


def other_loss(ft, x, labels):
    return ft.circle_loss(x, labels, gather=True)


def other_reduction(ft, x, labels):
    return ft.nca_loss(x, labels, reduction="sum", gather=True)


def other_dtype(ft, x, labels):
    return ft.nca_loss(x.float(), labels, gather=True)


def other_features(ft, x, labels):
    return ft.nca_loss(x[:, 1:], labels, gather=True)


def no_gradient(ft, x, labels):
    return ft.nca_loss(x.detach(), labels, gather=True)


def a_bank(ft, x, labels):
    return ft.nca_loss(x, labels, ref=x, ref_labels=labels, gather=True)


def kept_for_later(ft, x, labels):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        return ft.nca_loss(x, labels, gather=True)


# What one of the processes does wrong, while the others do what is right, and what it is told then.
WRONG = {
    wrong_shape: (ValueError, "x must have shape (N, D), got (5,)"),
    wrong_temperature: (ValueError, "temperature must be greater than 0, got -1.0"),
    wrong_label: (ValueError, "labels must be at least 0; got -1 at position 0"),
    wrong_keyword: (TypeError, "nca_loss() got an unexpected keyword argument 'margn'"),
    missing_labels: (TypeError, "labels must be given, one integer for each row of x"),
    weight_with_gradient: (RuntimeError, "weight has no gradient here"),
    an_array: (TypeError, "x must be a tensor to be gathered, got a ndarray"),
    differentiated_twice: (RuntimeError, "listwise losses have first derivatives only"),
    transformed: (RuntimeError, "torch.func transforms"),
    within_a_mode: (RuntimeError, "make_fx, torch.export and fake tensors"),
}
# What one of them does otherwise than the others, and what all are told.
OTHERWISE = {
    other_scale: "scale: 1.0 on rank 0, 2.0 on rank 1",
    other_loss: "loss: nca on rank 0, circle on rank 1",
    other_reduction: "reduction: mean on rank 0, sum on rank 1",
    other_dtype: "dtype of x: torch.float64 on rank 0, torch.float32 on rank 1",
    other_features: "number of features: 5 on rank 0, 4 on rank 1",
    no_gradient: "what needs a gradient: x on rank 0, nothing on rank 1",
    a_bank: "arguments: x on rank 0, x, ref on rank 1",
    kept_for_later: "when gradients are made: at once on rank 0, later on rank 1",
}


def errors(rank, size):
    """What happens to a process where the last of them, or the second, does something else."""
    ft, found = fused(), {}
    for act in (*WRONG, *OTHERWISE):
        whose = size - 1 if act in WRONG else 1
        other = right_backward if act is differentiated_twice else right
        x, labels = small(rank)
        began = time.monotonic()
        try:
            (act if rank == whose else other)(ft, x, labels)
            said = None
        except Exception as error:
            said = type(error), str(error)
        seconds = time.monotonic() - began
        # The group goes on as if nothing had been.
        found[act.__name__] = said, seconds, right(ft, *small(rank)).item()
    return found


def within_groups(rank, size):
    """Calls of some of the processes, of each by itself, and of one that is not asked."""
    ft, found = fused(), {}
    some = distributed.new_group([0, size - 1])
    selves = [distributed.new_group([k]) for k in range(size)]
    x, labels = small(rank)
    if rank in (0, size - 1):
        loss = ft.nca_loss(x, labels, process_group=some)
        loss.backward()
        found["some"] = loss.item(), x.grad
    else:
        with pytest.raises(RuntimeError, match="this process is not a member of process_group"):
            ft.nca_loss(x, labels, process_group=some)
    found["alone"] = ft.nca_loss(x, labels, process_group=selves[rank]).item()
    with pytest.raises(
        TypeError, match=r"process_group must be a torch\.distributed\.ProcessGroup"
    ):
        ft.nca_loss(x, labels, process_group="gloo")
    return found


def modules(rank, size):
    ft = fused()
    x, labels = small(rank)
    torch.manual_seed(0)
    criteria = [
        ft.SupConLoss(gather=True),
        ft.BatchHardTripletLoss(margin=0.5, process_group=distributed.group.WORLD),
        ft.ProxyAnchorLoss(3, D, gather=True).double(),
    ]
    return [criterion(x, labels).item() for criterion in criteria]


def bits(rank, size):
    """The same call twice: a value, and gradients."""
    found = []
    for _ in range(2):
        x, labels = small(rank, 33 + rank, torch.float32)
        proxies = torch.randn(7, D, generator=torch.Generator().manual_seed(0)).requires_grad_()
        losses = [
            fused().lifted_structure_loss(x, labels, distance="euclidean", gather=True),
            fused().normalized_softmax_loss(x, proxies, labels, gather=True),
        ]
        sum(losses).backward()
        found.append([*(loss.detach() for loss in losses), x.grad, proxies.grad])
    return found


def of_nothing(rank, size):
    x, labels = small(rank, 0)
    loss = fused().nca_loss(x, labels, gather=True)
    loss.backward()
    sums = fused().info_nce_loss(x, x, symmetric=True, reduction="sum", gather=True)
    return loss.item(), sums.item(), x.grad.shape


def large_labels(rank, size):
    """Labels that int32 does not hold, on one process only, each of which is there twice."""
    x, _ = small(rank, 4)
    labels = torch.tensor([0, 1, 0, 1]) if rank else torch.tensor([0, 2**40, 1, 2**40])
    return fused().nca_loss(x, labels, gather=True).item()


def checkpointed(rank, size):
    from torch.utils.checkpoint import checkpoint

    (x, labels), (again, _) = small(rank), small(rank)
    checkpoint(lambda x: right(fused(), x, labels), x, use_reentrant=False).backward()
    right(fused(), again, labels).backward()
    return x.grad, again.grad


def autocast(rank, size):
    x, _ = small(rank, 4, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fused().info_nce_loss(x, x.detach(), gather=True)
    loss.backward()
    return loss.dtype, x.grad.dtype


def work(rank, size):
    """Of one step: multiplications, the largest of all arrays, and the memory that it takes."""
    from fastcos.adapters.torch import arrays

    rows, features = 6000, 8
    count, largest = [0], [0]
    plain = arrays.matmul, arrays.add_matmul, arrays.workspace

    def counted(product):
        def counting(a, b, out):
            count[0] += a.shape[0] * a.shape[1] * b.shape[1]
            product(a, b, out)

        return counting

    def workspace(shape, dtype, like):
        largest[0] = max(largest[0], int(np.prod(shape)))
        return plain[2](shape, dtype, like)

    x = torch.randn(rows, features, generator=torch.Generator().manual_seed(rank)).requires_grad_()
    labels = torch.arange(rows) % 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arrays.matmul, arrays.add_matmul = map(counted, plain[:2])
    arrays.workspace = workspace
    try:
        fused().supervised_contrastive_loss(x, labels, block=64, gather=True).backward()
    finally:
        arrays.matmul, arrays.add_matmul, arrays.workspace = plain
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return count[0] / (rows * rows * size * features), largest[0], memory


# --------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """A network, and what losses learn."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.net = torch.nn.Linear(6, D, dtype=torch.float64)
        self.proxies = torch.nn.Parameter(torch.empty(4, D, dtype=torch.float64))
        self.logarithm = torch.nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))
        with torch.no_grad():
            for parameter in (self.net.weight, self.net.bias, self.proxies):
                parameter.normal_(generator=generator)

    def forward(self, x, labels, **options):
        ft, rows = fused(), self.net(x)
        return (
            ft.info_nce_loss(rows, rows.flip(1), temperature=self.logarithm.exp(), **options)
            + ft.proxy_anchor_loss(rows, self.proxies, labels, alpha=4.0, **options)
            + ft.normalized_softmax_loss(rows, self.proxies, labels, temperature=0.5, **options)
        )


def trained(counts, rank=None):
    """The parameters after three steps, of the whole batch or of a part of it."""
    generator = torch.Generator().manual_seed(1)
    mine = slice(None) if rank is None else part_of(counts, rank)
    model = plain = Model()
    if rank is not None:
        model = torch.nn.parallel.DistributedDataParallel(plain)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        x = torch.randn(sum(counts), 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 4, (sum(counts),), generator=generator)
        optimizer.zero_grad()
        if rank is None:
            loss = model(x, labels)
        else:
            # DistributedDataParallel takes the mean of gradients that are to be added up.
            loss = len(counts) * model(x[mine], labels[mine], gather=True)
        loss.backward()
        optimizer.step()
    return [parameter.detach() for parameter in plain.parameters()]


# --------------------------------------------------------------------------------------------------
# A run
# --------------------------------------------------------------------------------------------------

MORE = (
    errors,
    within_groups,
    modules,
    bits,
    of_nothing,
    large_labels,
    checkpointed,
    autocast,
    work,
)


def process(rank, size, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=(folder / "init").as_uri(),
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=HANGS),
    )
    found = {case: outcome(case, rank) for case in cases(size)}
    found |= {more.__name__: more(rank, size) for more in MORE}
    found["trained"] = trained(SPLITS[size][0], rank)
    # After the others have ended too: what is written is what all of them have found.
    distributed.barrier()
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    distributed.destroy_process_group()
    # Not through the interpreter's end: gloo's threads outlive the group.
    os._exit(0)


@functools.cache
def expected(size):
    """What one process finds; it compiles what is not compiled yet."""
    return {case: outcome(case) for case in cases(size)}


@pytest.fixture(scope="module", params=[2, 3])
def run(request, tmp_path_factory):
    """What the processes of a world found, one after another.

    Workers of pytest-xdist share a run: the first that asks for it starts it, others wait.
    """
    size, place = request.param, tmp_path_factory.getbasetemp()
    folder = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / f"world{size}"
    ended = folder / "ended"
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 2 * SECONDS
        while not ended.exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    else:
        try:
            start(size, folder)
        finally:
            ended.touch()
    pickles = [folder / f"{k}.pickle" for k in range(size)]
    said = "\n".join([log.read_text() for log in sorted(folder.glob("*.log"))])
    assert all(each.exists() for each in pickles), said
    return [pickle.loads(each.read_bytes()) for each in pickles]


def start(size, folder):
    """Runs the processes of a world to their end, or ends them."""
    expected(size)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-W", "error", __file__]
    with contextlib.ExitStack() as stack:
        ranks = [
            subprocess.Popen(
                [*command, str(k), str(size), str(folder)],
                stdout=stack.enter_context((folder / f"{k}.log").open("wb")),
                stderr=subprocess.STDOUT,
                env=environment,
            )
            for k in range(size)
        ]
        deadline = time.monotonic() + SECONDS
        with contextlib.suppress(subprocess.TimeoutExpired):
            for each in ranks:
                each.wait(max(deadline - time.monotonic(), 0.1))
        for each in ranks:
            each.kill()
            each.wait()


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_those_of_one_process(run, name):
    size = len(run)
    whole, bad, compared = expected(size), [], 0
    for case in [case for case in cases(size) if case[0] == name]:
        tolerance = EPS[case[2]]
        for rank in range(size):
            for what, error in differences(case, rank, run[rank][case], whole[case]):
                compared += 1
                if not error <= tolerance:
                    bad.append((case[1:], rank, what, error))
    assert not bad
    assert compared >= 8 * 2 * size


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_those_of_the_formulas(run, name):
    rng = np.random.default_rng(0)
    for case in [case for case in cases(len(run)) if case[0] == name and case[2] == "float64"]:
        _, reduction, _, _, split, _ = case
        batch, weight, upstream, options, learned = drawn(case)
        given = {"weight": weight, "reduction": reduction, **options, **learned}
        value = listwise_oracle.value(name, batch, **given)
        own = [found[case] for found in run]
        of_anchors = LOSSES[name].anchors
        if reduction == "none":
            values = [each[0].numpy() for each in own]
            got = values[0] if of_anchors == "proxies" else np.concatenate(values)
        else:
            got = own[0][0].numpy()
        np.testing.assert_allclose(got, value.astype(float), rtol=1e-9, atol=1e-12)
        # Those of all processes add up, in a direction of chance.
        direction = {key: rng.standard_normal(array.shape) for key, array in batch.rows.items()}
        direction |= {key: rng.standard_normal() for key in learned}
        slope = listwise_oracle.slope(name, batch, direction, grad_output=upstream, **given)
        total = size = 0.0
        for rank, (_, grads) in enumerate(own):
            for key, grad in grads.items():
                along = np.asarray(direction[key])
                if key == "ref":
                    along = along[part_of(bank_split(split), rank)]
                elif along.ndim and key != "proxies":
                    along = along[part_of(split, rank)]
                total += (grad.numpy() * along).sum()
                size += abs(grad.numpy() * along).sum()
        assert total == pytest.approx(float(slope), rel=1e-7, abs=1e-7 * size)


@pytest.mark.parametrize("act", [*WRONG, *OTHERWISE], ids=lambda act: act.__name__)
def test_an_error_of_one_is_an_error_of_all_and_the_group_goes_on(run, act):
    size = len(run)
    whole = (
        fused()
        .nca_loss(
            torch.cat([small(k)[0] for k in range(size)]),
            torch.cat([small(k)[1] for k in range(size)]),
        )
        .item()
    )
    whose = size - 1
    for rank, found in enumerate(run):
        (kind, text), seconds, after = found["errors"][act.__name__]
        if act in OTHERWISE:
            assert kind is ValueError
            assert text == f"all ranks have to make the same call; {OTHERWISE[act]}"
        elif rank == whose:
            assert kind is WRONG[act][0]
            assert text.startswith(WRONG[act][1])
        else:
            assert kind is RuntimeError
            expected = f"{WRONG[act][0].__name__}: {WRONG[act][1]}"
            told = f"the call failed on rank {whose}, and so it does here: {expected}"
            assert text.startswith(told)
        assert seconds < 20
        assert after == pytest.approx(whole, rel=1e-12)


def test_a_process_group_is_whose_rows_are_gathered(run):
    ft, last = fused(), len(run) - 1
    members = [small(0), small(last)]
    x = torch.cat([rows.detach() for rows, _ in members]).requires_grad_()
    loss = ft.nca_loss(x, torch.cat([labels for _, labels in members]))
    loss.backward()
    for place, rank in enumerate((0, last)):
        value, grad = run[rank]["within_groups"]["some"]
        assert value == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(grad, x.grad.split(4)[place], rtol=1e-10, atol=1e-13)
    for rank, found in enumerate(run):
        assert found["within_groups"]["alone"] == ft.nca_loss(*small(rank)).item()


def test_modules_take_both_options(run):
    ft, size = fused(), len(run)
    x, labels = (torch.cat([small(k)[i] for k in range(size)]) for i in (0, 1))
    torch.manual_seed(0)
    criteria = [
        ft.SupConLoss(),
        ft.BatchHardTripletLoss(margin=0.5),
        ft.ProxyAnchorLoss(3, D).double(),
    ]
    whole = [criterion(x, labels).item() for criterion in criteria]
    for found in run:
        assert found["modules"] == pytest.approx(whole, rel=1e-12)


def test_the_same_bits_again_and_on_all_ranks(run):
    for found in run:
        once, again = found["bits"]
        assert all(map(torch.equal, once, again))
        # Values, and the gradient of what all have.
        for k in (0, 1, 3):
            assert torch.equal(once[k], run[0]["bits"][0][k])


def test_a_batch_without_rows_is_that_of_one_process(run):
    for found in run:
        mean, total, shape = found["of_nothing"]
        assert np.isnan(mean)
        assert (total, tuple(shape)) == (0.0, (0, D))


def test_labels_that_int32_does_not_hold(run):
    size = len(run)
    x = torch.cat([small(k)[0] for k in range(size)])
    labels = torch.tensor([0, 3, 1, 3] + [0, 1, 0, 1] * (size - 1))
    whole = fused().nca_loss(x, labels).item()
    for found in run:
        assert found["large_labels"] == pytest.approx(whole, rel=1e-12)


def test_checkpoints_talk_in_the_backward_pass(run):
    for found in run:
        torch.testing.assert_close(*found["checkpointed"], rtol=1e-12, atol=0)


def test_autocast_gives_float32(run):
    for found in run:
        assert found["autocast"] == (torch.float32, torch.bfloat16)


def test_work_is_own_rows_times_all_and_memory_that_of_a_block(run):
    for found in run:
        work, largest, memory = found["work"]
        # Three products of own rows with all.
        assert work == pytest.approx(3.0)
        assert largest == 64 * 6000 * len(run)
        # All similarities of the own anchors would be 144 MB and more.
        assert memory < 60 << 20


def test_three_steps_are_those_of_one_process_with_the_whole_batch(run):
    whole = trained(SPLITS[len(run)][0])
    begun = [parameter.detach() for parameter in Model().parameters()]
    for found in run:
        for got, parameter, before in zip(found["trained"], whole, begun, strict=True):
            assert (parameter - before).abs().max() > 1e-3
            torch.testing.assert_close(got, parameter, rtol=1e-11, atol=1e-12)


# --------------------------------------------------------------------------------------------------
# Without processes
# --------------------------------------------------------------------------------------------------


def test_without_a_group_it_is_an_error_that_says_so():
    x, labels = small(0)
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        fused().nca_loss(x, labels, gather=True)
    with pytest.raises(TypeError, match="gather must be True or False, got 2"):
        fused().nca_loss(x, labels, gather=2)
    with pytest.raises(
        TypeError, match="unexpected keyword argument 'gathr': did you mean 'gather'"
    ):
        fused().nca_loss(x, labels, gathr=True)


class OnGpu:
    """A tensor of a GPU, as far as it is looked at."""

    is_cpu, device = False, torch.device("cuda", 3)


@pytest.mark.parametrize(
    ("backends", "of_host", "of_gpu"),
    [
        ("cpu:gloo,cuda:gloo", "cpu", "cpu"),
        ("cpu:gloo,cuda:nccl", "cpu", "cuda:3"),
        ("cuda:nccl", "cuda:1", "cuda:3"),
        ("cpu:mpi,cuda:mpi", "cpu", "cuda:3"),
        ("cpu:gloo", "cpu", "cpu"),
    ],
)
def test_tensors_go_where_the_backend_takes_them(monkeypatch, backends, of_host, of_gpu):
    from fastcos.adapters.torch import peers

    monkeypatch.setattr(distributed, "get_backend_config", lambda group: backends)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert peers._place(None, torch.ones(1)) == torch.device(of_host)
    assert peers._place(None, OnGpu()) == torch.device(of_gpu)


@pytest.mark.parametrize("name", LOSSES)
def test_the_functions_say_what_they_take(name):
    function, of_arrays = getattr(fused(), name), getattr(fastcos, name)
    more = list(inspect.signature(function).parameters.values())[-2:]
    assert [each.name for each in more] == ["gather", "process_group"]
    assert all(each.kind is each.KEYWORD_ONLY for each in more)
    assert "gather" not in inspect.signature(of_arrays).parameters
    assert "\n    gather: " in function.__doc__
    assert "RuntimeError" in function.__doc__
    assert pickle.loads(pickle.dumps(function)) is function


def test_value_and_grad_takes_the_function_of_arrays_in_its_place():
    x, labels = small(0)
    f = fastcos.value_and_grad(fused().nca_loss)
    assert f == fastcos.value_and_grad(fastcos.nca_loss)
    assert pickle.loads(pickle.dumps(f)) == f
    assert f(x.detach(), labels)[0].item() == fastcos.nca_loss(x, labels).item()
    with pytest.raises(TypeError, match="unexpected keyword argument 'gather'"):
        f(x.detach(), labels, gather=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_functions_leave_them_out_of_their_graphs():
    x, labels = small(0)
    compiled = torch.compile(lambda x: fused().nca_loss(2 * x, labels) + 1, backend="eager")
    assert compiled(x).item() == fastcos.nca_loss(2 * x, labels).item() + 1


def test_modules_show_processes_where_they_are_asked_for():
    ft = fused()
    assert "gather" not in repr(ft.NCALoss())
    module = ft.NCALoss(gather=True)
    assert "gather=True" in repr(module)
    assert copy.deepcopy(module).gather is True
    with pytest.raises(RuntimeError, match="init_process_group"):
        module(*small(0))


if __name__ == "__main__":
    process(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
