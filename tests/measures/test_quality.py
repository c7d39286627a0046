"""The measures on cases worked out by hand, in the definition's own words, and where they are not
defined."""

import math

import pytest
import torch
from by_hand import grid, inside, randn

from helpers.measures.quality import (
    correlation,
    dilate,
    pair_contrast,
    pixel_auc,
    rank_correlation,
    relevance_mass,
    ssim,
    total_variation,
)


class TestRelevanceMass:
    def test_by_hand(self):
        # sizes 2 2 / 3 1, of 8
        maps = torch.tensor([[[[1.0, -2.0], [0.0, 1.0]], [[1.0, 0.0], [-3.0, 0.0]]]])
        assert relevance_mass(maps, inside([1, 0], [0, 1])).tolist() == [3 / 8]

    def test_area_of_a_constant_map_and_ends(self):
        maps = torch.ones(3, 3, 2, 2)
        masks = torch.cat([inside([1, 0], [0, 0]), inside([0, 0], [0, 0]), inside([1, 1], [1, 1])])
        assert relevance_mass(maps, masks).tolist() == [0.25, 0, 1]

    def test_zero_map_is_nan_alone(self):
        maps = torch.cat([grid([0, 0]), grid([1, 3])])
        values = relevance_mass(maps, torch.tensor([True, False]).expand(2, 1, 1, 2))
        assert math.isnan(values[0]) and values[1] == 0.25


class TestPixelAuc:
    def test_by_hand(self):
        # On the mask 4 and −1, off it 2 and 0: pairs 4>2, 4>0, 1<2, 1>0.
        assert pixel_auc(grid([4, 2], [-1, 0]), inside([1, 0], [1, 0])).tolist() == [0.75]

    def test_channels_add_up_unsigned(self):
        # signed sums 0 and 1.5, unsigned 2 and 1.5
        maps = torch.tensor([[[[1.0, 1.5]], [[-1.0, 0.0]]]])
        assert pixel_auc(maps, inside([1, 0])).tolist() == [1.0]

    def test_against_all_pairs_with_ties(self):
        maps = torch.round(randn(5, 2, 6, 7))
        masks = randn(5, 1, 6, 7, seed=1) > 0.3
        for value, size, mask in zip(
            pixel_auc(maps, masks), maps.abs().sum(1), masks[:, 0], strict=True
        ):
            on, off = size[mask][:, None], size[~mask][None]
            assert value == pytest.approx(
                float(((on > off).double() + 0.5 * (on == off)).mean()), abs=1e-12
            )

    def test_degenerate(self):
        masks = torch.cat([inside([0, 0], [0, 0]), inside([1, 1], [1, 1]), inside([1, 0], [0, 0])])
        values = pixel_auc(torch.zeros(3, 3, 2, 2), masks)
        assert values[:2].isnan().all() and values[2] == 0.5


def test_pair_contrast_by_hand_and_zero_for_maps_that_ignore_the_network():
    shape, letter = inside([1, 0, 0, 0]), inside([0, 1, 0, 0])
    first, second = grid([6, 2, 1, 1]), grid([1, 7, 1, 1])
    assert pair_contrast(first, second, shape, letter).item() == pytest.approx(
        (0.6 - 0.1 + 0.7 - 0.2) / 2
    )
    assert pair_contrast(first, first, shape, letter).item() == 0
    assert pair_contrast(first, second, shape, letter, measure=pixel_auc).item() == pytest.approx(
        (1 - 1 / 3 + 1 - 2 / 3) / 2
    )


class TestDilate:
    def test_disc_by_hand(self):
        point = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
        point[0, 0, 3, 3] = True
        assert dilate(point, 1)[0, 0, 2:5, 2:5].int().tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
        # lattice points in a disc
        assert [int(dilate(point, d).sum()) for d in (0, 1, 1.5, 2, 3)] == [
            1,
            5,
            9,
            13,
            29,
        ]
        assert dilate(point, 0).equal(point) and dilate(point, 2).dtype == torch.bool

    def test_edges_and_ends(self):
        corner = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
        assert not dilate(corner, 2).any()
        assert dilate(~corner, 2).all()
        corner[0, 0, 0, 0] = True
        assert dilate(corner, 1)[0, 0].int().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]

    @pytest.mark.parametrize("pixels", [-1, math.nan, math.inf])
    def test_bad_reach(self, pixels):
        with pytest.raises(ValueError, match="at least 0"):
            dilate(inside([1, 0]), pixels)

    def test_bad_mask(self):
        with pytest.raises(ValueError, match="bool"):
            dilate(torch.ones(1, 1, 2, 2), 1)


@pytest.mark.parametrize("measure", [relevance_mass, pixel_auc])
@pytest.mark.parametrize(
    ("maps", "mask", "message"),
    [
        (torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2), "bool"),
        (torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2, dtype=torch.bool), "shape"),
        (torch.ones(2, 3, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool), "shape"),
        (torch.full((1, 1, 1, 2), math.nan), torch.ones(1, 1, 1, 2, dtype=torch.bool), "NaN"),
        (torch.full((1, 1, 1, 2), math.inf), torch.ones(1, 1, 1, 2, dtype=torch.bool), "infinite"),
        (torch.ones(2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool), "N, C, H, W"),
    ],
)
def test_senseless_batches_are_refused(measure, maps, mask, message):
    with pytest.raises(ValueError, match=message):
        measure(maps, mask)


class TestSimilarity:
    def test_pearson_by_hand(self):
        first, second = grid([1, 2], [3, 4]), grid([1, 3], [2, 4])
        # deviations −3 −1 1 3 and −3 1 −1 3, halved: 4 / 5
        assert correlation(first, second).item() == pytest.approx(0.8)
        assert correlation(first, -5 * first + 2).item() == pytest.approx(-1)
        assert correlation(first - 2.5, -(first - 2.5), "unsigned").item() == pytest.approx(1)

    def test_spearman_by_hand(self):
        first, second = grid([1, 2, 3, 4]), grid([1, 100, 10, 1000])
        assert rank_correlation(first, second).item() == pytest.approx(0.8)  # 1 − 6 × 2 / (4 × 15)
        assert rank_correlation(first, -second).item() == pytest.approx(-0.8)
        assert rank_correlation(first, -second, "unsigned").item() == pytest.approx(0.8)
        # Ties share their rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
        assert rank_correlation(grid([1, 2, 2, 3]), first).item() == pytest.approx(
            4.5 / math.sqrt(4.5 * 5)
        )

    def test_against_scipy(self):
        from scipy.stats import pearsonr, spearmanr

        first, second = randn(4, 3, 6, 5), randn(4, 3, 6, 5, seed=1)
        for how, values in (("signed", lambda m: m.sum(0)), ("unsigned", lambda m: m.abs().sum(0))):
            for i in range(4):
                x, y = values(first[i]).flatten(), values(second[i]).flatten()
                assert correlation(first, second, how)[i] == pytest.approx(pearsonr(x, y)[0])
                assert rank_correlation(first, second, how)[i] == pytest.approx(spearmanr(x, y)[0])

    @pytest.mark.parametrize("measure", [correlation, rank_correlation])
    def test_constant_maps_are_nan_alone(self, measure):
        first = torch.cat(
            [torch.full((1, 1, 2, 2), 0.1), torch.zeros(1, 1, 2, 2), torch.rand(1, 1, 2, 2)]
        )
        values = measure(first, torch.rand(3, 1, 2, 2))
        assert values.isnan().tolist() == [True, True, False]

    def test_scale_does_not_matter(self):
        first, second = randn(2, 1, 12, 12), randn(2, 1, 12, 12, seed=1)
        for measure in (correlation, rank_correlation, ssim):
            assert measure(1e-200 * first, 1e200 * second).tolist() == pytest.approx(
                measure(first, second).tolist()
            )

    def test_ssim_by_hand(self):
        # Both constant after scaling, 1 and −1: no variance, so (2 × 1 × −1 + c) / (1 + 1 + c), c =
        # (0.01 × 2)².
        one = torch.ones(1, 1, 12, 12, dtype=torch.float64)
        assert ssim(one, -3 * one, "signed").item() == pytest.approx((-2 + 4e-4) / (2 + 4e-4))
        assert ssim(one, -3 * one, "unsigned").item() == pytest.approx(1)

    def test_ssim_ends(self):
        maps = randn(2, 3, 16, 16)
        assert ssim(maps, 4 * maps).tolist() == pytest.approx([1, 1])
        assert (ssim(maps, randn(2, 3, 16, 16, seed=1)) < 0.9).all()
        assert ssim(torch.zeros_like(maps), maps).isnan().all()
        with pytest.raises(ValueError, match="11"):
            ssim(maps[..., :10], maps[..., :10])

    @pytest.mark.parametrize("measure", [correlation, rank_correlation, ssim])
    def test_refused(self, measure):
        maps = randn(2, 3, 12, 12)
        assert (
            measure(maps, maps.sum(1, keepdim=True)).tolist() != []
            and measure(maps, maps).dtype == maps.dtype
        )
        with pytest.raises(ValueError, match="same pictures"):
            measure(maps, maps[:1])
        with pytest.raises(ValueError, match="NaN"):
            measure(maps, maps / 0)
        with pytest.raises(ValueError, match="unsigned"):
            measure(maps, maps, "unsgined")


HALF = [torch.float16, torch.bfloat16]
MEASURES = {
    "mass": lambda maps: relevance_mass(maps, randn(2, 1, 64, 64, seed=2) > 0),
    "auc": lambda maps: pixel_auc(maps, randn(2, 1, 64, 64, seed=2) > 0),
    "total variation": total_variation,
    "correlation": lambda maps: correlation(
        maps, randn(2, 3, 64, 64, seed=3) + randn(2, 3, 64, 64)
    ),
    "rank correlation": lambda maps: rank_correlation(
        maps, randn(2, 3, 64, 64, seed=3) + randn(2, 3, 64, 64)
    ),
    "ssim": lambda maps: ssim(maps, randn(2, 3, 64, 64, seed=3) + randn(2, 3, 64, 64)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
class TestPrecision:
    """Sums, squares and the values returned: in float32 at least, and over the range of the
    maps."""

    @pytest.mark.parametrize("dtype", HALF)
    def test_half_maps_are_measured_as_the_same_maps_in_double(self, measure, dtype):
        maps = (100 * randn(2, 3, 64, 64)).to(dtype)  # sums beyond 65,504, float16's largest
        found, right = measure(maps), measure(maps.double())
        assert found.dtype == torch.float32 and right.dtype == torch.float64
        assert found.tolist() == pytest.approx(right.tolist(), rel=1e-6)

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_size_does_not_matter(self, measure, scale):
        maps = randn(2, 3, 64, 64).float()
        assert measure(scale * maps).tolist() == pytest.approx(measure(maps).tolist(), rel=1e-4)

    def test_whole_numbers(self, measure):
        maps = (100 * randn(2, 3, 64, 64)).long()
        assert measure(maps).tolist() == pytest.approx(measure(maps.double()).tolist(), rel=1e-6)


class TestTotalVariation:
    def test_by_hand(self):
        # Down: |2 − 1|, |0 − (−1)|, mean 1; right: |−1 − 1|, |0 − 2|, mean 2; mean size (1 + 1 + 2
        # + 0) / 4 = 1.
        assert total_variation(grid([1, -1], [2, 0])).tolist() == [3.0]
        # Sizes alone: down 1 and 1, right 0 and 2.
        assert total_variation(grid([1, -1], [2, 0]), "unsigned").tolist() == [2.0]

    def test_constant_zero_scale_and_noise(self):
        assert total_variation(grid([3, 3], [3, 3])).tolist() == [0.0]
        assert total_variation(grid([0, 0], [0, 0])).isnan().all()
        noise = randn(1, 1, 200, 200)
        # E|a − b| / E|a| is √2 for independent normals, once in each direction.
        assert total_variation(noise).item() == pytest.approx(2 * math.sqrt(2), rel=0.02)
        assert total_variation(1e-3 * noise).item() == pytest.approx(
            total_variation(noise).item(), rel=1e-4
        )

    def test_a_single_row_has_no_neighbours_below(self):
        with pytest.raises(ValueError, match="at least 2 × 2"):
            total_variation(torch.ones(1, 1, 1, 5))
