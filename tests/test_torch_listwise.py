"""Listwise losses on tensors: autograd, modules, half types, and what torch does around a call."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fastcos
from fastcos.adapters import torch as ft

pytestmark = pytest.mark.host

N, D, CLASSES = 20, 5, 4
# But for the circle loss, whose weights are not differentiated.
LABELLED = {
    "supervised_contrastive_loss": {"temperature": 0.3},
    "contrastive_loss": {},
    "multi_similarity_loss": {},
    "lifted_structure_loss": {},
    "nca_loss": {},
    "batch_hard_triplet_loss": {"margin": 0.7},
    "batch_semi_hard_triplet_loss": {"margin": 0.7},
    "batch_all_triplet_loss": {"margin": 0.7},
}
PROXIES = {
    "normalized_softmax_loss": {},
    "cosface_loss": {"scale": 4.0},
    "arcface_loss": {"scale": 4.0},
    "proxy_nca_loss": {},
    "proxy_anchor_loss": {"alpha": 4.0},
}


def tensors(*shapes, dtype=torch.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.standard_normal(s), dtype=dtype).requires_grad_() for s in shapes]


LABELS = torch.tensor(np.random.default_rng(1).integers(0, CLASSES, N))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", LABELLED)
def test_gradients_of_a_batch_with_labels(name, reduction):
    (x,) = tensors((N, D))
    weight = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = LABELLED[name] | {"reduction": reduction, "weight": weight}
    loss = getattr(fastcos, name)
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS, **options), (x,))


@pytest.mark.parametrize("name", PROXIES)
def test_gradients_of_rows_and_proxies(name):
    x, proxies = tensors((N, D), (CLASSES + 1, D))
    loss = getattr(fastcos, name)
    for reduction in ("none", "mean"):
        options = PROXIES[name] | {"reduction": reduction}
        assert torch.autograd.gradcheck(lambda x, p: loss(x, p, LABELS, **options), (x, proxies))  # noqa: B023


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients_of_pairs_and_of_a_temperature(symmetric):
    x, y, t = *tensors((N, D), (N, D)), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for reduction in ("none", "mean"):
        options = {"symmetric": symmetric, "reduction": reduction}
        assert torch.autograd.gradcheck(
            lambda x, y, t: fastcos.info_nce_loss(x, y, temperature=t, **options),  # noqa: B023
            (x, y, t),
        )


def test_gradients_of_a_temperature_and_a_bias():
    x, y = tensors((N, D), (N, D))
    t, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, -1.0))
    assert torch.autograd.gradcheck(
        lambda x, y, t, b: fastcos.sigmoid_contrastive_loss(x, y, temperature=t, bias=b),
        (x, y, t, b),
    )


def test_gradients_of_a_memory_bank():
    x, bank = tensors((N, D), (7, D))
    ref_labels = torch.arange(7) % CLASSES
    assert torch.autograd.gradcheck(
        lambda x, b: fastcos.supervised_contrastive_loss(x, LABELS, ref=b, ref_labels=ref_labels),
        (x, bank),
    )


def test_values_and_gradients_are_those_of_arrays():
    x, y = tensors((N, D), (N, D), dtype=torch.float32)
    found = fastcos.info_nce_loss(x, y)
    found.backward()
    value, grads = fastcos.value_and_grad(fastcos.info_nce_loss)(
        x.detach().numpy(), y.detach().numpy()
    )
    assert found.dtype is torch.float32
    assert found.item() == pytest.approx(float(value), rel=1e-6)
    for t, g in zip((x, y), grads, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), g, rtol=0, atol=2e-6 * abs(g).max())


def test_an_upstream_gradient_scales_and_a_kept_graph_gives_the_same_again():
    (x,) = tensors((N, D))
    loss = fastcos.multi_similarity_loss(x, LABELS)
    (once,) = torch.autograd.grad(loss, x, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * loss, x, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-14, atol=0)
    assert torch.equal(again, once)


def test_a_gradient_that_was_accumulated_into_is_not_that_of_the_graph():
    (x,) = tensors((N, D))
    loss = fastcos.multi_similarity_loss(x, LABELS)
    loss.backward(retain_graph=True)
    first = x.grad.clone()
    x.grad.zero_()
    loss.backward()
    assert torch.equal(x.grad, first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_half_types_are_rounded_once(dtype):
    (x,) = tensors((N, D), dtype=dtype)
    exact = x.detach().double().requires_grad_()
    # Of a size that float16 does not hold unless it is scaled before it is rounded.
    loss = fastcos.supervised_contrastive_loss(x, LABELS) * 2.0**-18
    assert loss.dtype is dtype
    scaled = fastcos.supervised_contrastive_loss(x, LABELS, reduction="sum")
    (grad,) = torch.autograd.grad(scaled, x, torch.tensor(2.0**-10, dtype=dtype))
    fastcos.supervised_contrastive_loss(exact, LABELS, reduction="sum").backward()
    expected = exact.grad * 2.0**-10
    assert grad.dtype is dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(grad.double(), expected, rtol=eps, atol=eps * 1e-3)


def test_autocast_gives_float32():
    x, y = tensors((N, D), (N, D), dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fastcos.info_nce_loss(x, y)
    loss.backward()
    assert (loss.dtype, x.grad.dtype) == (torch.float32, torch.bfloat16)


def test_checkpoints_make_gradients_in_the_backward_pass():
    from torch.utils.checkpoint import checkpoint

    x, plain = tensors((N, D)) + tensors((N, D))
    checkpoint(lambda x: fastcos.nca_loss(x, LABELS), x, use_reentrant=False).backward()
    fastcos.nca_loss(plain, LABELS).backward()
    torch.testing.assert_close(x.grad, plain.grad, rtol=1e-14, atol=0)


def test_labels_that_change_between_the_passes_change_nothing():
    (x,) = tensors((N, D))
    labels = LABELS.tolist()
    loss = fastcos.nca_loss(x, labels, reduction="none")
    expected = torch.autograd.grad(loss.sum(), x, retain_graph=True)[0]
    labels[:] = [0] * N
    assert torch.equal(torch.autograd.grad(loss.sum(), x)[0], expected)


def test_second_derivatives_are_an_error_that_says_so():
    (x,) = tensors((N, D))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(fastcos.nca_loss(x, LABELS), x, create_graph=True)


def test_transforms_and_tracing_are_errors_that_say_so():
    (x,) = tensors((N, D))
    with pytest.raises(RuntimeError, match=r"torch\.func transforms"):
        torch.func.grad(lambda x: fastcos.nca_loss(x, LABELS))(x.detach())


def test_a_weight_has_no_gradient():
    (x,) = tensors((N, D))
    weight = torch.ones(N, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"weight\.detach"):
        fastcos.nca_loss(x, LABELS, weight=weight)


def test_without_gradients_nothing_is_recorded():
    (x,) = tensors((N, D))
    with torch.no_grad():
        assert not fastcos.nca_loss(x, LABELS).requires_grad
    assert not fastcos.nca_loss(x.detach(), LABELS).requires_grad


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_functions_leave_it_out_of_their_graphs():
    (x,) = tensors((N, D))
    compiled = torch.compile(lambda x: fastcos.nca_loss(2 * x, LABELS) + 1, backend="eager")
    loss = compiled(x)
    loss.backward()
    expected = fastcos.nca_loss(2 * x.detach(), LABELS) + 1
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


MODULES = {
    "SupConLoss": "supervised_contrastive_loss",
    "ContrastiveLoss": "contrastive_loss",
    "MultiSimilarityLoss": "multi_similarity_loss",
    "CircleLoss": "circle_loss",
    "LiftedStructureLoss": "lifted_structure_loss",
    "NCALoss": "nca_loss",
    "BatchHardTripletLoss": "batch_hard_triplet_loss",
    "BatchSemiHardTripletLoss": "batch_semi_hard_triplet_loss",
    "BatchAllTripletLoss": "batch_all_triplet_loss",
}
OF_PROXIES = {
    "NormalizedSoftmaxLoss": "normalized_softmax_loss",
    "CosFaceLoss": "cosface_loss",
    "ArcFaceLoss": "arcface_loss",
    "ProxyNCALoss": "proxy_nca_loss",
    "ProxyAnchorLoss": "proxy_anchor_loss",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_its_function_with_its_defaults(name):
    (x,) = tensors((N, D))
    module, function = getattr(ft, name)(), getattr(ft, MODULES[name])
    assert isinstance(module, nn.Module)
    assert module(x, LABELS).item() == function(x, LABELS).item()
    assert "reduction='mean'" in repr(module)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert copied(x, LABELS).item() == function(x, LABELS).item()


@pytest.mark.parametrize("name", OF_PROXIES)
def test_a_module_of_proxies_has_them_as_its_parameter(name):
    (x,) = tensors((N, D), dtype=torch.float32)
    module, function = getattr(ft, name)(CLASSES, D), getattr(ft, OF_PROXIES[name])
    assert [k for k, _ in module.named_parameters()] == ["proxies"]
    loss = module(x, LABELS)
    assert loss.item() == function(x, module.proxies, LABELS).item()
    loss.backward()
    assert module.proxies.grad.abs().sum() > 0
    stored = io.BytesIO()
    torch.save(module.state_dict(), stored)
    stored.seek(0)
    other = getattr(ft, name)(CLASSES, D)
    other.load_state_dict(torch.load(stored))
    assert torch.equal(other.proxies, module.proxies)


def test_a_temperature_that_is_learned_falls_where_rows_agree():
    x = torch.eye(8)
    criterion = ft.InfoNCELoss(temperature=0.5, symmetric=True, learnable=True)
    optimizer = torch.optim.SGD(criterion.parameters(), lr=1.0)
    before = criterion.log_temperature.item()
    for _ in range(3):
        optimizer.zero_grad()
        criterion(x, x).backward()
        optimizer.step()
    assert criterion.log_temperature.item() < before
    assert not ft.InfoNCELoss().log_temperature.requires_grad


def test_a_temperature_is_shown():
    shown = "temperature=0.5, learnable=True, symmetric=False"
    assert shown in repr(ft.InfoNCELoss(temperature=0.5, learnable=True))
    assert "temperature=0.1, learnable=False" in repr(ft.SigmoidContrastiveLoss(learnable=False))


def test_gradients_are_let_go_by_the_backward_pass():
    (x,) = tensors((N, D))
    loss = fastcos.nca_loss(x, LABELS)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_training_with_labels_alone_separates_classes():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 10, generator=generator)
    labels = torch.arange(60) % 3
    x = centres[labels] + 1.5 * torch.randn(60, 10, generator=generator)
    net = nn.Linear(10, 4, bias=False)
    nn.init.normal_(net.weight, std=0.3, generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ft.SupConLoss()(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    z = F.normalize(net(x).detach())
    same = labels[:, None] == labels[None]
    s = z @ z.T
    assert losses[-1] < 0.8 * losses[0]
    assert s[same].mean() > s[~same].mean() + 0.4


def test_a_parameter_whose_gradient_would_be_lost_is_refused():
    x, y = tensors((6, 3), (6, 3))
    labels = torch.arange(6) % 3
    with pytest.raises(ValueError, match=r"^temperature must be one number, got shape \(1,\)"):
        fastcos.info_nce_loss(x, y, temperature=torch.nn.Parameter(torch.ones(1)))
    learned = torch.tensor(0.3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^gamma has no gradient here: pass gamma.detach\(\)"):
        fastcos.circle_loss(x, labels, gamma=learned)
    fastcos.circle_loss(x, labels, gamma=learned.detach())


@pytest.mark.parametrize("module", ["InfoNCELoss", "SigmoidContrastiveLoss"])
def test_a_temperature_without_a_logarithm_is_named(module):
    for bad in (0, -1.0):
        with pytest.raises(ValueError, match=r"^temperature must be greater than 0, got"):
            getattr(ft, module)(bad)
