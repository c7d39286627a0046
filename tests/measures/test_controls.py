"""The controls: what they know, what they do not, and that nothing else decides what a picture
gets."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.ops import FrozenBatchNorm2d

from helpers.attribution.gradients import saliency
from helpers.measures.controls import (
    blurred_random_map,
    cascade,
    distance_from_mean,
    oracle,
    random_map,
    random_network,
    sobel,
)
from helpers.measures.quality import pair_contrast, pixel_auc, relevance_mass

PLAIN = [random_map, blurred_random_map, sobel, distance_from_mean]


@pytest.fixture(
    params=[*PLAIN, random_network()],
    ids=lambda control: getattr(control, "__name__", "random_network"),
)
def control(request):
    return request.param


def test_shape_type_and_company(control, conv_net, pictures):
    maps = control(conv_net, pictures)
    assert (
        maps.shape == pictures.shape
        and maps.dtype == pictures.dtype
        and torch.isfinite(maps).all()
        and maps.any()
    )
    alone = torch.cat([control(conv_net, pictures[[i]]) for i in (2, 0, 1)])
    assert alone.allclose(maps[[2, 0, 1]])
    assert not maps[0].allclose(maps[1])
    assert control(conv_net, pictures).equal(maps)


def test_random_state_model_and_pixels_untouched(control, mixed_mode_net, pictures, snapshot):
    before, kept = snapshot(mixed_mode_net), pictures.clone()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    control(mixed_mode_net, pictures)
    assert snapshot(mixed_mode_net) == before and pictures.equal(kept)
    assert (
        torch.get_rng_state().equal(torch_state) and (np.random.get_state()[1] == numpy_state).all()
    )


@pytest.mark.parametrize("plain", PLAIN)
def test_bad_pixels_are_refused(plain, conv_net, tiny_classifier, pictures):
    with pytest.raises(ValueError, match="NaN"):
        plain(conv_net, pictures / 0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        plain(tiny_classifier, 2 * pictures)


@pytest.mark.parametrize("plain", PLAIN)
def test_no_network_no_contrast(plain, conv_net, pictures):
    first, second = (
        torch.zeros(3, 1, 8, 8, dtype=torch.bool),
        torch.zeros(3, 1, 8, 8, dtype=torch.bool),
    )
    first[..., :3], second[..., 5:] = True, True
    maps = [plain(model, pictures) for model in (conv_net, copy.deepcopy(conv_net))]
    assert pair_contrast(*maps, first, second).tolist() == [0, 0, 0]


class TestRandom:
    def test_standard_normal_and_seeded(self, conv_net):
        pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        maps = random_map(conv_net, pixels)
        assert abs(float(maps.mean())) < 0.03 and abs(float(maps.std()) - 1) < 0.03
        assert abs(float(torch.corrcoef(maps.flatten(1))[0, 1])) < 0.05
        assert not random_map(conv_net, pixels, seed=1).allclose(maps)
        # the picture decides, not how it is stored
        assert random_map(conv_net, pixels.double()).float().allclose(maps)

    def test_blurred_is_smooth(self, conv_net):
        pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

        def neighbours(maps):
            return float(
                torch.corrcoef(torch.stack([maps[..., 1:].flatten(), maps[..., :-1].flatten()]))[
                    0, 1
                ]
            )

        assert (
            neighbours(blurred_random_map(conv_net, pixels))
            > 0.9
            > 0.1
            > abs(neighbours(random_map(conv_net, pixels)))
        )


def test_sobel_by_hand(conv_net):
    pixels = torch.zeros(1, 3, 5, 6)
    pixels[:, 1, :, 3:] = (
        0.5  # a step of ½ in green: skimage weighs [1 2 1] / 4 and [1 0 −1] / 1, magnitude over √2
    )
    edge = [0, 0, 0.25 * 2**0.5, 0.25 * 2**0.5, 0, 0]
    maps = sobel(conv_net, pixels)
    assert maps[0, 1].flatten().tolist() == pytest.approx(5 * edge, abs=1e-6)
    assert not maps[0, [0, 2]].any()


def test_distance_from_mean_by_hand(conv_net):
    pixels = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]], [[0.2, 0.2], [0.2, 0.2]]]])
    assert distance_from_mean(conv_net, pixels).tolist() == [
        [[[0.5, 0.5], [0, 0]], [[0, 0], [0, 0]]]
    ]


class TestOracle:
    def test_is_the_best_there_is(self, conv_net, pictures):
        mask = pictures[:, :1] > 0.6
        maps = oracle(mask)(conv_net, pictures, 1)
        assert maps.shape == pictures.shape and maps.dtype == pictures.dtype
        assert relevance_mass(maps, mask).tolist() == [1, 1, 1] and pixel_auc(
            maps, mask
        ).tolist() == [1, 1, 1]

    def test_refused(self, conv_net, pictures):
        mask = torch.ones(3, 1, 8, 8, dtype=torch.bool)
        with pytest.raises(ValueError, match="do not fit"):
            oracle(mask)(conv_net, pictures[:2])
        with pytest.raises(ValueError, match="bool"):
            oracle(mask.float())


@pytest.mark.parametrize(
    "plain", [blurred_random_map, sobel, distance_from_mean, oracle(torch.ones(3, 1, 8, 8).bool())]
)
def test_only_pictures(plain, table_net):
    with pytest.raises(ValueError, match="N, C, H, W"):
        plain(table_net, torch.rand(3, 6, dtype=torch.float64))


class Scale(nn.Module):
    """A factor that no reset draws."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(factor, requires_grad=factor.is_floating_point())

    def forward(self, x):
        return self.factor * x


class TestCascade:
    def test_from_the_top_one_more_each_time(self, conv_net):
        expected = ["8", "4", "1", "0"]
        stages = list(cascade(conv_net))
        assert [name for name, _ in stages] == expected
        old = dict(conv_net.named_parameters())
        for i, (_, network) in enumerate(stages):
            new = dict(network.named_parameters())
            for layer in expected[: i + 1]:
                if layer != "1":  # a batch norm's fresh weights are 1 and 0, as this one's are
                    assert not new[f"{layer}.weight"].allclose(old[f"{layer}.weight"])
            for layer in expected[i + 1 :]:
                assert new[f"{layer}.weight"].equal(old[f"{layer}.weight"])
        for (_, earlier), (_, later) in pairwise(stages):  # a layer is drawn once
            assert (
                earlier[8].weight.equal(later[8].weight)
                and earlier[8].weight is not later[8].weight
            )
        assert (
            stages[2][1][1].running_var.eq(1).all() and not stages[1][1][1].running_var.eq(1).any()
        )

    def test_seeds(self, conv_net):
        first, again, other = (
            [network for _, network in cascade(conv_net, seed=seed)][-1] for seed in (0, 0, 1)
        )
        for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
            assert a.equal(b) and (not a.equal(c) or a.ndim == 1)
        some = dict(cascade(conv_net, layers=["4"]))["4"]
        assert some[4].weight.equal(first[4].weight) and some[8].weight.equal(conv_net[8].weight)
        *_, (_, twins) = cascade(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
        assert not twins[0].weight.allclose(twins[1].weight)  # layers do not share a draw

    def test_blocks(self):
        model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2))
        (name, network), *rest = cascade(model, layers=["0"])
        assert name == "0" and not rest
        assert not network[0][0].weight.equal(model[0][0].weight) and not network[0][
            1
        ].weight.equal(model[0][1].weight)
        assert network[1].weight.equal(model[1].weight)
        (_, whole), *_ = cascade(model, layers=[""])
        assert not whole[1].weight.equal(model[1].weight) and not whole[0][0].weight.equal(
            model[0][0].weight
        )

    def test_modes_and_flags_are_kept(self, mixed_mode_net, snapshot):
        before = snapshot(mixed_mode_net)
        *_, (_, network) = cascade(mixed_mode_net)
        after = snapshot(network)
        assert (
            after["modes"] == before["modes"] and after["requires_grad"] == before["requires_grad"]
        )
        assert snapshot(mixed_mode_net) == before

    @pytest.mark.parametrize(
        "wrap",
        [
            nn.utils.spectral_norm,
            nn.utils.weight_norm,
            nn.utils.parametrizations.spectral_norm,
            nn.utils.parametrizations.weight_norm,
            lambda layer: nn.Sequential(layer, Scale(torch.linspace(0.1, 0.4, 4)[:, None, None])),
        ],
        ids=["spectral_norm", "weight_norm", "spectral", "weight", "a parameter of its own"],
    )
    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
    def test_nothing_learnt_is_kept(self, wrap, pictures, snapshot):
        model = nn.Sequential(wrap(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.Linear(144, 3))
        model = model.double().eval()
        saliency(model, pictures, 0)  # as used: what old hooks compute cannot be deep-copied
        before = snapshot(model)
        *_, (_, network) = cascade(model)
        assert snapshot(model) == before
        drawn, learnt = network.state_dict(), model.state_dict()
        assert not any(drawn[name].equal(learnt[name]) for name in learnt)
        assert all(value.isfinite().all() for value in drawn.values())
        assert random_network()(model, pictures, 0).equal(saliency(network, pictures, 0))
        (_, again), *_ = cascade(model, layers=[""])
        assert all(value.equal(drawn[name]) for name, value in again.state_dict().items())

    def test_parameters_without_a_reset_keep_their_size_alone(self):
        learnt = 3 + torch.randn(10_000)
        *_, (_, scale) = cascade(Scale(learnt))
        drawn = scale.factor.detach()
        assert drawn.square().mean().sqrt().item() == pytest.approx(10**0.5, rel=0.03)
        assert (
            abs(drawn.mean()) < 0.1
            and abs(torch.corrcoef(torch.stack([drawn, learnt]))[0, 1]) < 0.05
        )
        *_, (_, scale) = cascade(Scale(torch.tensor(2.0)))
        assert scale.factor not in (0, 2) and scale.factor.isfinite()

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
    @pytest.mark.parametrize(
        "norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm]
    )
    def test_spectral_norm_is_of_the_new_weights(self, norm):
        model = norm(nn.Linear(20, 30)).eval()
        *_, (_, network) = cascade(model)
        network(torch.ones(1, 20))
        assert torch.linalg.matrix_norm(network.weight, 2).item() == pytest.approx(1, abs=0.05)

    def test_statistics_without_weights_are_forgotten(self):
        none = nn.BatchNorm1d(3, affine=False, track_running_stats=False)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False), none)
        model(torch.rand(9, 3))
        (_, norm), *_ = cascade(model)
        assert not norm[1].running_mean.any() and norm[1].running_var.eq(1).all()

    def test_shared_weights_stay_shared(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        (_, network), *_ = cascade(model)
        assert network[1].weight is network[0].weight
        assert not network[0].weight.equal(model[0].weight)

    @pytest.mark.parametrize(
        "build",
        [
            lambda: models.VisionTransformer(32, 16, 1, 2, 8, 8),
            lambda: models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4]),
            lambda: models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]),
        ],
        ids=["ViT", "Swin", "ConvNeXt"],
    )
    def test_every_parameter_of_a_torchvision_network(self, build):
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 + torch.rand_like(parameter)  # as if trained
        ((_, network),) = cascade(model, layers=[""])
        for (where, new), old in zip(network.named_parameters(), model.parameters(), strict=True):
            assert not (new == old).any(), where

    def test_a_compiled_network_is_drawn_too(self, conv_net, pictures):
        model = torch.compile(conv_net, backend="eager")
        found = random_network()(model, pictures, 0)
        assert found.allclose(random_network()(conv_net, pictures, 0))

    @pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
    def test_refused(self, conv_net):
        with pytest.raises(TypeError, match=r"nn\.Module"):
            cascade(lambda x: x)
        with pytest.raises(ValueError, match="no layer '17'"):
            cascade(conv_net, layers=["17"])
        with pytest.raises(ValueError, match="no layer '2'"):
            cascade(conv_net, layers=["2"])  # a ReLU
        with pytest.raises(ValueError, match="no layer with parameters"):
            cascade(nn.ReLU())
        whole = Scale(torch.ones(2, dtype=torch.int8))
        for stuck in (FrozenBatchNorm2d(3), whole, nn.LazyLinear(3)):
            with pytest.raises(
                ValueError, match=rf"cannot be drawn .*'1' \({type(stuck).__name__}"
            ):
                cascade(nn.Sequential(nn.Linear(2, 2), stuck))  # at once, not on the way
        with pytest.raises(TypeError, match="scripted or traced"):
            cascade(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)))


class TestRandomNetwork:
    def test_is_the_map_of_the_last_stage_for_the_models_own_class(self, conv_net, pictures):
        *_, (_, network) = cascade(conv_net, seed=3)
        target = conv_net(pictures).argmax(1)
        assert (network(pictures).argmax(1) != target).any()  # or this could not fail
        found = random_network(seed=3)(conv_net, pictures)
        assert found.equal(saliency(network, pictures, target)) and not found.allclose(
            saliency(conv_net, pictures, target)
        )

    def test_other_attributions(self, conv_net, pictures):
        seen = []

        def attribution(model, pixels, target):
            seen.append((model, target.tolist()))
            return pixels

        random_network(attribution)(conv_net, pictures, 2)
        assert seen[0][0] is not conv_net and seen[0][1] == [2, 2, 2]


def test_what_is_drawn_does_not_depend_on_the_order_of_memory(conv_net):
    # Some versions of torch draw in that order, and embedded networks are channels-last.
    last = copy.deepcopy(conv_net).to(memory_format=torch.channels_last)
    for (_, plain), (_, ordered) in zip(cascade(conv_net), cascade(last), strict=True):
        for first, second in zip(plain.parameters(), ordered.parameters(), strict=True):
            assert first.equal(second)
        assert ordered[0].weight.is_contiguous(memory_format=torch.channels_last)
