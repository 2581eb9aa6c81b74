import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distributed_kd.replay.sum_tree import SumTree

# Around the widest root of 4,096, around a block of 16 beyond it, and around 4,096 blocks, where another level begins.
SIZES = [1, 2, 15, 16, 17, 4_095, 4_096, 4_097, 4_111, 4_112, 4_113, 65_535, 65_536, 65_537, 70_000]


def tree_of(values):
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.asarray(values))
    return tree


def test_by_hand():
    tree = tree_of([1.0, 0.0, 2.0, 0.5])
    assert tree.total == 3.5
    # Spans [0, 1), none, [1, 3) and [3, 3.5): an edge belongs to the leaf that it begins.
    leaves = tree.sample(np.array([0.0, 0.999, 1.0, 2.999, 3.0, 3.499]))
    assert leaves.tolist() == [0, 0, 2, 2, 3, 3]
    assert leaves.dtype == np.int64
    tree.set(np.array([0, 1]), np.array([0.0, 4.0]))
    assert tree.values(np.array([3, 1, 0])).tolist() == [0.5, 4.0, 0.0]
    assert tree.total == 6.5
    assert tree.sample(np.array([0.0, 3.999, 4.0])).tolist() == [1, 1, 2]


def write_last(values, leaves, new):
    """What a tree is told, one by one: NumPy itself promises no order of writing."""
    for leaf, value in zip(leaves.tolist(), new.tolist(), strict=True):
        values[leaf] = value


@settings(deadline=None, max_examples=60)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 2**32 - 1), zeros=st.sampled_from([0.0, 0.5, 0.99]))
def test_it_maps_masses_as_a_flat_cumulative_sum_does(size, seed, zeros):
    """Whole numbers, whose sums have no rounding, written in several updates: every edge must be met exactly."""
    random = np.random.default_rng(seed)
    tree, values = SumTree(size), np.zeros(size)
    for count in random.integers(1, 2 * size + 1, 3):
        leaves = random.integers(0, size, count)
        new = random.integers(1, 100, count) * (random.random(count) >= zeros)
        tree.set(leaves, new)
        write_last(values, leaves, new)
    np.testing.assert_array_equal(tree.values(np.arange(size)), values)
    edges = np.cumsum(values)
    total = edges[-1]
    assert tree.total == total
    if total == 0:
        return
    inner = random.permutation(edges[(edges > 0) & (edges < total)])[:500]
    masses = [[0.0, np.nextafter(total, 0.0)], inner, np.nextafter(inner, 0.0), random.random(500) * total]
    masses = np.concatenate(masses)
    np.testing.assert_array_equal(tree.sample(masses), np.searchsorted(edges, masses, side="right"))


@pytest.mark.parametrize("size", [300, 4_097])
def test_draws_follow_the_values(size):
    random = np.random.default_rng(0)
    values = random.random(size) ** 3 * (random.random(size) < 0.8)
    values[::7] += 1.0
    p = values / values.sum()
    tree = tree_of(values)
    observed = np.bincount(tree.sample(random.random(200_000) * tree.total), minlength=size)
    by_numpy = np.bincount(random.choice(size, 200_000, p=p), minlength=size)
    assert not observed[values == 0].any()
    # As few as 5 expected draws a bin are too few for the test; those leaves are counted together.
    rare = 200_000 * p < 5
    for counts in (observed, by_numpy):
        bins = np.append(counts[~rare], counts[rare].sum())
        expected = 200_000 * np.append(p[~rare], p[rare].sum())
        assert stats.chisquare(bins, expected).pvalue > 0.01
    # The test can tell: of draws in proportion to values ** 0.9 it would not believe it.
    other = tree_of(values**0.9)
    skewed = np.bincount(other.sample(random.random(200_000) * other.total), minlength=size)
    bins = np.append(skewed[~rare], skewed[rare].sum())
    assert stats.chisquare(bins, expected).pvalue < 1e-6


@settings(deadline=None, max_examples=60)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 2**32 - 1), zeros=st.sampled_from([0.1, 0.9]))
def test_a_leaf_of_value_0_is_never_drawn(size, seed, zeros):
    """Values of sixteen powers of ten, so that all sums are rounded, and masses at and beside every kind of edge."""
    random = np.random.default_rng(seed)
    values = 10.0 ** random.uniform(-8, 8, size) * (random.random(size) >= zeros)
    values[random.integers(size)] = 0.3
    tree = tree_of(values)
    edges = np.cumsum(values)
    of_blocks = np.cumsum(np.add.reduceat(values, np.arange(0, size, 16)))
    masses = np.concatenate([random.permutation(edges)[:2_000], of_blocks, random.random(100) * tree.total])
    masses = np.concatenate([masses, np.nextafter(masses, np.inf), np.nextafter(masses, 0.0), [0.0]])
    masses = np.minimum(masses, np.nextafter(tree.total, 0.0))
    leaves = tree.sample(masses)
    assert (values[leaves] > 0).all()
    # And where it is drawn, the mass is in its span, but for rounding.
    before = edges[leaves] - values[leaves]
    assert (np.maximum(before - masses, masses - edges[leaves]) <= 1e-12 * tree.total).all()


def test_zeros_at_both_ends_and_between_blocks():
    values = np.zeros(70_000)
    values[[200, 4_095, 4_096, 30_000]] = [0.1, 0.2, 0.3, 0.7]
    tree = tree_of(values)
    masses = [0.0, 0.1, 0.1 + 0.2, 0.1 + 0.2 + 0.3, tree.total]
    masses = np.array([masses, np.nextafter(masses, 0.0), np.nextafter(masses, 9.0)])[:, :-1].reshape(-1)
    leaves = tree.sample(np.append(masses, np.nextafter(tree.total, 0.0)))
    assert set(leaves.tolist()) == {200, 4_095, 4_096, 30_000}
    assert leaves[0] == 200
    assert leaves[-1] == 30_000


def test_no_rounding_is_carried_on_through_a_million_updates():
    """Values up to 1e12 come and go; a sum kept by differences would be left with their rounding, 1e-4 a step."""
    random = np.random.default_rng(0)
    size = 70_000
    tree, values = SumTree(size), np.zeros(size)
    for _ in range(1_000):
        leaves = random.integers(0, size, 1_000)
        new = 10.0 ** random.uniform(-3, 12, 1_000)
        tree.set(leaves, new)
        write_last(values, leaves, new)
    assert tree.total == pytest.approx(math.fsum(values), rel=1e-9, abs=0)
    for leaves in random.permutation(size).reshape(-1, 1_000):
        values[leaves] = random.random(1_000)
        tree.set(leaves, values[leaves])
    assert tree.total == pytest.approx(math.fsum(values), rel=1e-9, abs=0)
    tree.set(np.arange(size), np.zeros(size))
    assert tree.total == 0.0


@pytest.mark.parametrize("size", [10, 5_000])
def test_of_a_leaf_named_twice_the_last_value_counts(size):
    tree = SumTree(size)
    tree.set(np.array([3, 5, 3, 3, 5]), np.array([1.0, 2.0, 9.0, 4.0, 2.0]))
    assert tree.values(np.array([3, 5])).tolist() == [4.0, 2.0]
    assert tree.total == 6.0
    tree.set(np.array([3, 3]), np.array([4.0, 0.0]))
    assert tree.sample(np.array([0.0])).tolist() == [5]


def test_a_batch_of_one_precision_or_of_nothing():
    tree = tree_of([0.5, 0.25])
    tree.set(np.array([1], np.int32), np.array([0.1], np.float32))
    assert tree.values(np.array([1])).tolist() == [float(np.float32(0.1))]
    nothing = np.empty(0, np.int64)
    tree.set(nothing, np.empty(0))
    assert len(tree.values(nothing)) == len(tree.sample(np.empty(0))) == 0
    assert tree.total == 0.5 + float(np.float32(0.1))


@pytest.mark.parametrize(
    ("leaves", "values", "error", "said"),
    [
        ([0, 1], [1.0, -1e-9], ValueError, "finite and at least 0"),
        ([0, 1], [1.0, np.nan], ValueError, "finite and at least 0"),
        ([0, 1], [np.inf, 1.0], ValueError, "finite and at least 0"),
        ([0, 1], [1.0], ValueError, r"\[K\]"),  # would be broadcast in silence
        ([[0, 1]], [[1.0, 1.0]], ValueError, r"\[K\]"),
        ([0, -1], [1.0, 1.0], IndexError, r"\[0, 4100\)"),  # would be the last
        ([0, 4_100], [1.0, 1.0], IndexError, r"\[0, 4100\)"),  # the blocks are padded to 4,112
        ([0.0, 1.5], [1.0, 1.0], TypeError, "float64"),
    ],
)
def test_a_wrong_update_is_refused_and_leaves_no_trace(leaves, values, error, said):
    tree = tree_of(np.ones(4_100))
    with pytest.raises(error, match=said):
        tree.set(np.array(leaves), np.array(values))
    assert tree.total == 4_100
    np.testing.assert_array_equal(tree.values(np.arange(4_100)), np.ones(4_100))


@pytest.mark.parametrize("mass", [-1e-300, 2.0, np.inf, np.nan])
def test_a_mass_outside_the_sum_is_refused(mass):
    with pytest.raises(ValueError, match=r"\[0, 2\.0\)"):
        tree_of([1.0, 1.0]).sample(np.array([0.0, mass]))
    with pytest.raises(ValueError, match=r"\[0, 0\.0\)"):
        SumTree(9).sample(np.array([0.0]))


def test_other_misuse_is_refused():
    with pytest.raises(ValueError, match="at least 1 leaf"):
        SumTree(0)
    with pytest.raises(ValueError, match=r"\[K\]"):
        tree_of([1.0]).sample(np.array(0.5))
    for leaf in (-1, 1):
        with pytest.raises(IndexError):
            tree_of([1.0]).values(np.array([leaf]))
