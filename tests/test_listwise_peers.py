"""Listwise losses against those that people use today: values and gradients in float64.

pytorch-metric-learning and sentence-transformers are in the extra ``peers``; open_clip is not, for
what it takes beside its losses. Labels have one of a single row wherever the peer does with it what
is done here.
"""

import importlib.metadata
import importlib.util
import warnings

import numpy as np
import pytest

import fastcos

torch = pytest.importorskip("torch", reason="the peers take tensors")
F = torch.nn.functional

rng = np.random.default_rng(0)
N, D, C = 40, 7, 9
X, Y = rng.standard_normal((2, N, D))
LABELS = rng.permutation(np.arange(N) % 7)
SINGLE = LABELS.copy()
SINGLE[0] = 99  # the label of one row alone
PROXIES = rng.standard_normal((C, D))
CLASSES = rng.integers(0, C - 2, N)  # two proxies have no row


def check(name, args, options, peer, rows):
    """Value and gradients of a call, against a function of tensors and theirs."""
    value, grads = fastcos.value_and_grad(getattr(fastcos, name))(*args, **options)
    tensors = [torch.tensor(each, requires_grad=True) for each in rows]
    right = peer(*tensors)
    right.backward()
    assert float(value) == pytest.approx(right.item(), rel=1e-9)
    for grad, tensor in zip(grads, tensors, strict=True):
        slope = tensor.grad.numpy()
        assert np.abs(slope).max() > 0
        assert np.abs(grad - slope).max() <= 1e-9 * np.abs(slope).max()


# --------------------------------------------------------------------------------------------------
# pytorch-metric-learning
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metric_learning():
    reason = "pytorch-metric-learning is in the extra 'peers'"
    return pytest.importorskip("pytorch_metric_learning.losses", reason=reason)


LABELLED = {
    "supervised_contrastive_loss": ("SupConLoss", {}, {}),
    "contrastive_loss": ("ContrastiveLoss", {}, {}),
    "multi_similarity_loss": ("MultiSimilarityLoss", {}, {}),
    "circle_loss": ("CircleLoss", {}, {}),
    "lifted_structure_loss": ("LiftedStructureLoss", {}, {}),
    "nca_loss": ("NCALoss", {}, {}),
    "batch_all_triplet_loss": (
        "TripletMarginLoss",
        {"margin": 0.05, "distance": "normalized_euclidean"},
        {},
    ),
    "supervised_contrastive_loss, warm": ("SupConLoss", {"temperature": 0.7}, {"temperature": 0.7}),
    "contrastive_loss, margins": (
        "ContrastiveLoss",
        {"pos_margin": 0.8, "neg_margin": 1.3},
        {"pos_margin": 0.8, "neg_margin": 1.3},
    ),
    "multi_similarity_loss, base": (
        "MultiSimilarityLoss",
        {"alpha": 1.5, "beta": 7.0, "base": 0.1},
        {"alpha": 1.5, "beta": 7.0, "base": 0.1},
    ),
    # torch's softplus is the identity from 20 on, 2e-9 off: a gamma for which it is not there.
    "circle_loss, flat": ("CircleLoss", {"margin": 0.2, "gamma": 2.0}, {"m": 0.2, "gamma": 2.0}),
    "lifted_structure_loss, margins": (
        "LiftedStructureLoss",
        {"neg_margin": 0.3, "pos_margin": 0.4},
        {"neg_margin": 0.3, "pos_margin": 0.4},
    ),
    "nca_loss, scale": ("NCALoss", {"scale": 6.0}, {"softmax_scale": 6.0}),
}


@pytest.mark.parametrize("which", LABELLED)
def test_losses_of_labels(which, metric_learning):
    peer, options, theirs = LABELLED[which]
    name = which.partition(",")[0]
    loss, labels = getattr(metric_learning, peer)(**theirs), torch.tensor(SINGLE)
    check(name, (X, SINGLE), options, lambda x: loss(x, labels), (X,))


OF_A_BANK = {
    "supervised_contrastive_loss": "SupConLoss",
    "contrastive_loss": "ContrastiveLoss",
    "multi_similarity_loss": "MultiSimilarityLoss",
    "circle_loss": "CircleLoss",
    "nca_loss": "NCALoss",
}


@pytest.mark.parametrize("name", OF_A_BANK)
def test_losses_of_a_memory_bank(name, metric_learning):
    loss = getattr(metric_learning, OF_A_BANK[name])()
    own, others = torch.tensor(SINGLE), torch.tensor(LABELS[::-1].copy())

    def peer(x):
        return loss(x, own, ref_emb=torch.tensor(Y), ref_labels=others)

    check(name, (X, SINGLE), {"ref": Y, "ref_labels": LABELS[::-1]}, peer, (X,))


OF_PROXIES = {
    "normalized_softmax_loss": ("NormalizedSoftmaxLoss", "W"),
    "cosface_loss": ("CosFaceLoss", "W"),
    "arcface_loss": ("ArcFaceLoss", "W"),
    "proxy_nca_loss": ("ProxyNCALoss", "proxies"),
    "proxy_anchor_loss": ("ProxyAnchorLoss", "proxies"),
}


@pytest.mark.parametrize("name", OF_PROXIES)
def test_losses_of_proxies(name, metric_learning):
    peer, attribute = OF_PROXIES[name]
    labels = torch.tensor(CLASSES)

    def call(x, proxies):
        loss = getattr(metric_learning, peer)(C, D)
        # Theirs are parameters, the weights of classes columns of one.
        del loss._parameters[attribute]
        setattr(loss, attribute, proxies.T if attribute == "W" else proxies)
        return loss(x, labels)

    check(name, (X, PROXIES, CLASSES), {}, call, (X, PROXIES))


# --------------------------------------------------------------------------------------------------
# sentence-transformers
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentence_losses():
    """``of(module, class, method, labels, margin)``: a loss of embeddings, without a model."""
    package = "sentence_transformers.sentence_transformer.losses"
    reason = "sentence-transformers is in the extra 'peers'"
    # It imports much that warns; that is nothing of ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package, reason=reason)
        hard = pytest.importorskip(f"{package}.batch_hard_triplet", reason=reason)

    def of(module, kind, method, labels, margin):
        cls = getattr(pytest.importorskip(f"{package}.{module}"), kind)
        loss = cls.__new__(cls)
        torch.nn.Module.__init__(loss)
        loss.distance_metric = hard.BatchHardTripletLossDistanceFunction.euclidean_distance
        loss.triplet_margin = loss.margin = margin
        labels = torch.tensor(labels)
        return lambda x: getattr(loss, method)(labels, x)

    return of


HARD = "batch_hard_triplet", "BatchHardTripletLoss", "batch_hard_triplet_loss"
SOFT = (
    "batch_hard_soft_margin_triplet",
    "BatchHardSoftMarginTripletLoss",
    "batch_hard_triplet_soft_margin_loss",
)
SEMI = "batch_semi_hard_triplet", "BatchSemiHardTripletLoss", "batch_semi_hard_triplet_loss"
ALL = "batch_all_triplet", "BatchAllTripletLoss", "batch_all_triplet_loss"


@pytest.mark.parametrize("margin", [5.0, 0.3])
@pytest.mark.parametrize(
    ("name", "peer"), [("batch_semi_hard_triplet_loss", SEMI), ("batch_all_triplet_loss", ALL)]
)
def test_losses_of_all_triplets(name, peer, margin, sentence_losses):
    loss = sentence_losses(*peer, SINGLE, margin)
    check(name, (X, SINGLE), {"margin": margin}, loss, (X,))


@pytest.mark.parametrize("margin", [5.0, 0.3])
def test_batch_hard_where_all_anchors_have_a_positive(margin, sentence_losses):
    loss = sentence_losses(*HARD, LABELS, margin)
    check("batch_hard_triplet_loss", (X, LABELS), {"margin": margin}, loss, (X,))


def test_batch_hard_with_a_soft_margin_where_all_anchors_have_a_positive(sentence_losses):
    loss = sentence_losses(*SOFT, LABELS, 0.0)
    options = {"margin": 0.0, "soft": True}
    check("batch_hard_triplet_loss", (X, LABELS), options, loss, (X,))


def test_batch_hard_counts_an_anchor_without_a_positive_there_and_not_here(sentence_losses):
    # There its farthest positive is at the distance 0. Here it has no triplet, and no loss.
    margin = 5.0
    theirs = sentence_losses(*HARD, SINGLE, margin)(torch.tensor(X)).item()
    each = fastcos.batch_hard_triplet_loss(X, SINGLE, margin=margin, reduction="none")
    assert each[0] == 0
    nearest = np.linalg.norm(X[1:] - X[0], axis=1).min()
    assert theirs == pytest.approx((each.sum() + max(0, margin - nearest)) / N, rel=1e-9)
    ours = fastcos.batch_hard_triplet_loss(X, SINGLE, margin=margin)
    assert ours == pytest.approx(each.sum() / (N - 1), rel=1e-12)


# --------------------------------------------------------------------------------------------------
# open_clip
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_clip():
    """Its losses alone: the package takes torchvision, which wants the torch it was built for."""
    try:
        path = importlib.metadata.distribution("open_clip_torch").locate_file("open_clip/loss.py")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("open_clip is not installed: nox -s peers")
    spec = importlib.util.spec_from_file_location("open_clip_loss", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loss_of_open_clip(open_clip):
    loss = open_clip.ClipLoss()
    scale = 1 / 0.07

    def peer(x, y):
        return loss(F.normalize(x), F.normalize(y), scale)

    check("info_nce_loss", (X, Y), {"symmetric": True}, peer, (X, Y))


def test_the_sigmoid_loss_of_open_clip(open_clip):
    loss = open_clip.SigLipLoss(rank=0, world_size=1)

    def peer(x, y):
        return loss(F.normalize(x), F.normalize(y), 10.0, -10.0)

    check("sigmoid_contrastive_loss", (X, Y), {}, peer, (X, Y))


# --------------------------------------------------------------------------------------------------
# The losses of CLIP and SigLIP, as their papers have them in pseudocode
# --------------------------------------------------------------------------------------------------


def cosines(x, y):
    return F.normalize(x) @ F.normalize(y).T


def test_info_nce_is_a_cross_entropy():
    def peer(x, y):
        return F.cross_entropy(cosines(x, y) / 0.07, torch.arange(N))

    check("info_nce_loss", (X, Y), {}, peer, (X, Y))


def test_clip():
    def peer(x, y):
        logits, labels = cosines(x, y) / 0.07, torch.arange(N)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    check("info_nce_loss", (X, Y), {"symmetric": True}, peer, (X, Y))


def test_siglip():
    def peer(x, y):
        logits = cosines(x, y) * 10 - 10
        return -F.logsigmoid((2 * torch.eye(N) - 1) * logits).sum() / N

    check("sigmoid_contrastive_loss", (X, Y), {}, peer, (X, Y))


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_temperature_that_is_learned(symmetric):
    def peer(temperature):
        logits, labels = cosines(*map(torch.tensor, (X, Y))) / temperature, torch.arange(N)
        back = F.cross_entropy(logits.T, labels) if symmetric else 0
        there = F.cross_entropy(logits, labels)
        return (there + back) / 2 if symmetric else there

    f = fastcos.value_and_grad(fastcos.info_nce_loss, "temperature")
    value, slope = f(X, Y, temperature=0.3, symmetric=symmetric)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    right = peer(temperature)
    right.backward()
    assert float(value) == pytest.approx(right.item(), rel=1e-9)
    assert float(slope) == pytest.approx(temperature.grad.item(), rel=1e-9)


def test_a_temperature_and_a_bias_that_are_learned():
    f = fastcos.value_and_grad(fastcos.sigmoid_contrastive_loss, ("temperature", "bias"))
    value, slopes = f(X, Y, temperature=0.3, bias=-2.0)
    given = [torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (0.3, -2.0)]
    logits = cosines(*map(torch.tensor, (X, Y))) / given[0] + given[1]
    right = -F.logsigmoid((2 * torch.eye(N) - 1) * logits).sum() / N
    right.backward()
    assert float(value) == pytest.approx(right.item(), rel=1e-9)
    for slope, tensor in zip(slopes, given, strict=True):
        assert float(slope) == pytest.approx(tensor.grad.item(), rel=1e-9)
