"""A tree of sums over millions of numbers, from which leaves are drawn in proportion to their values."""

import numpy as np
from numpy.typing import NDArray

FAN_OUT = 16
"""Children of a node: two lines of a processor's cache, and with the root a million leaves are two levels of them. With 8
there are more levels; with 32 the cumulative sums of a draw, 4 ns an addend, cost more than a level less saves."""
WIDEST_ROOT = 4_096
"""Nodes under the root: its cumulative sum is taken once for all draws, hence it may be wider than a block"""


class SumTree:
    """Leaves of float64, all 0 at first, under levels of sums that are always sums of what stands below them now.

    Each level is an array [parents, FAN_OUT], padded with zeros: 8.5 bytes a leaf in all. Many children and few levels suit
    NumPy, which costs by the call. Sum-trees for replays: Schaul et al. 2016, 1511.05952, appendix B.
    """

    def __init__(self, size: int):
        """`size` leaves, at least 1: else ValueError."""
        if size < 1:
            raise ValueError(f"a sum-tree needs at least 1 leaf, not {size}")
        self._size = nodes = size
        self._blocks: list[NDArray[np.float64]] = []  # from the leaves upwards
        while nodes > WIDEST_ROOT:
            nodes = -(-nodes // FAN_OUT)
            self._blocks.append(np.zeros((nodes, FAN_OUT)))
        self._root = np.zeros(nodes)
        self._edges = np.zeros(nodes + 1)  # where the span of each node under the root begins; the last is the total
        self._marks = [np.empty(len(block), np.int64) for block in self._blocks]
        # The same memory, node by node: the children in level i are the parents of level i - 1.
        self._nodes = [*(block.reshape(-1) for block in self._blocks), self._root]

    @property
    def total(self) -> float:
        """The sum of all leaves."""
        return float(self._edges[-1])

    @property
    def nbytes(self) -> int:
        """Memory of all levels."""
        return sum(array.nbytes for array in (*self._nodes, *self._marks, self._edges))

    def values(self, leaves: NDArray[np.integer]) -> NDArray[np.float64]:
        """The values of these leaves [K], as they were set. IndexError where there is no such leaf."""
        return self._nodes[0].take(self._checked(leaves))

    def set(self, leaves: NDArray[np.integer], values: NDArray[np.floating]) -> None:
        """Give these leaves [K] these values [K]; of a leaf named twice the last value counts.

        ValueError where a value is negative or not finite or the shapes differ, IndexError where there is no such leaf; then
        nothing was changed.
        """
        leaves, values = self._checked(leaves), np.asarray(values, np.float64)
        if values.shape != leaves.shape:
            raise ValueError(f"leaves and values must both be [K], not {leaves.shape} and {values.shape}")
        if not len(leaves):
            return
        if not (values.min() >= 0 and values.max() < np.inf):  # false for NaN as well
            raise ValueError(f"values must be finite and at least 0, not from {values.min()} to {values.max()}")
        here = self._nodes[0]
        here[leaves] = values
        # NumPy promises no order of writing: a value that does not read back is one of a leaf named twice.
        if (here[leaves] != values).any():
            leaves, first_from_behind = np.unique(leaves[::-1], return_index=True)
            here[leaves] = values[::-1][first_from_behind]
        nodes = leaves
        for block, mark, above in zip(self._blocks, self._marks, self._nodes[1:], strict=True):
            nodes = _distinct(nodes // FAN_OUT, mark)
            # From all children, not by the difference: no rounding is carried on from update to update.
            above[nodes] = np.einsum("nc->n", block.take(nodes, axis=0))  # half the time of add.reduce
        np.cumsum(self._root, out=self._edges[1:])

    def sample(self, masses: NDArray[np.floating]) -> NDArray[np.int64]:
        """The leaf [K] in whose span of the cumulative sum of all leaves each mass [K] falls; never one of value 0.

        A mass at the edge of two spans belongs to the second. ValueError where a mass is not in [0, total).
        """
        left = np.asarray(masses, np.float64)
        if left.ndim != 1:
            raise ValueError(f"masses must be [K], not {left.shape}")
        if not len(left):
            return np.empty(0, np.int64)
        if not (left.min() >= 0 and left.max() < self._edges[-1]):
            raise ValueError(f"masses must be in [0, {self.total}), not from {left.min()} to {left.max()}")
        node = self._edges.searchsorted(left, side="right") - 1
        left = left - self._edges[node]
        each = np.arange(len(left))
        sums = np.zeros((len(left), FAN_OUT + 1))
        for block in reversed(self._blocks):
            np.cumsum(block.take(node, axis=0), axis=1, out=sums[:, 1:])
            # A block may sum to less than its mass by rounding; then it is the last value that adds to the sum.
            np.minimum(left, np.nextafter(sums[:, -1], 0.0), out=left)
            # The first sum above the mass is above the sum before it, so what was added is not 0.
            child = (sums[:, 1:] > left[:, None]).argmax(axis=1)
            left -= sums[each, child]
            node = node * FAN_OUT + child
        return node

    def _checked(self, leaves: NDArray[np.integer]) -> NDArray[np.int64]:
        """As int64. IndexError unless these are leaves: NumPy would count a negative one from the end, or find padding."""
        leaves = np.asarray(leaves).astype(np.int64, casting="same_kind", copy=False)
        if leaves.ndim != 1:
            raise ValueError(f"leaves must be [K], not {leaves.shape}")
        if leaves.size and not (leaves.min() >= 0 and leaves.max() < self._size):
            raise IndexError(f"leaves must be in [0, {self._size}), not from {leaves.min()} to {leaves.max()}")
        return leaves


def _distinct(nodes: NDArray[np.int64], mark: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each of these nodes once. `mark` has room for every node; what it holds does not matter."""
    # Without sorting, which costs more than the sums: of all that write into one place only one finds itself there again.
    each = np.arange(len(nodes))
    mark[nodes] = each
    return nodes[mark[nodes] == each]
