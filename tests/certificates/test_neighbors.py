"""The radius of nearest neighbours against adversaries that try every sequence of operations."""

import numpy as np
import pytest

from certified_ensembles.certificates.neighbors import nearest_neighbor_radius

NEW = -1  # a label never seen, smaller than all others


def elect(rows, k):
    """Return the label with most votes among the first k, ties to the smaller label."""
    votes = rows[:k]
    return min(set(votes), key=lambda label: (-votes.count(label), label))


def after_one(rows, labels, threat):
    """Yield all training sets, as label lists by distance, that one operation can make."""
    deleted = [rows[:i] + rows[i + 1 :] for i in range(len(rows))]
    if threat == "label_flip":
        for i in range(len(rows)):
            for b in labels:
                yield (*rows[:i], b, *rows[i + 1 :])
        return
    if threat == "insertion_deletion":
        yield from (left for left in deleted if left)
        deleted = [rows]
    for left in deleted:
        for i in range(len(left) + 1):
            for b in labels:
                yield (*left[:i], b, *left[i:])


def brute_force(rows, k, labels, threat="insertion_deletion", most=99):
    """Return the winner and the largest number of operations that never unseat it."""
    winner = elect(rows, k)
    reached, last = {rows}, {rows}
    for r in range(1, most + 1):
        last = {new for old in last for new in after_one(old, labels, threat)} - reached
        reached |= last
        if any(elect(new, k) != winner for new in last):
            return winner, r - 1
        if not last:
            break
    return winner, most


def random_instance(rng, max_k=5, max_rows=7):
    k = int(rng.integers(1, max_k + 1))
    n_classes = int(rng.integers(2, 4))
    n_train = int(rng.integers(k, max(max_rows, k) + 1))
    share = rng.dirichlet(np.full(n_classes, 0.6))
    return tuple(rng.choice(n_classes, n_train, p=share).tolist()), k, n_classes


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_radius_is_exact_against_insertions_and_deletions(seed, open_set):
    rng = np.random.default_rng(seed)
    radii = []
    for _ in range(200):
        rows, k, n_classes = random_instance(rng)
        labels = range(NEW if open_set else 0, n_classes)
        winner, radius = nearest_neighbor_radius(
            [rows], k, n_classes, complete=True, open_set=open_set
        )
        assert (winner[0], radius[0]) == brute_force(rows, k, labels), (rows, k)
        radii.append(radius[0])
    assert set(radii) >= {0, 1, 2}


@pytest.mark.parametrize("threat", ["label_flip", "replacement"])
@pytest.mark.parametrize("open_set", [False, True])
def test_radius_is_exact_against_exchanged_rows(threat, open_set):
    rng = np.random.default_rng(7)
    for _ in range(120):
        rows, k, n_classes = random_instance(rng, max_rows=5)
        labels = range(NEW if open_set else 0, n_classes)
        winner, radius = nearest_neighbor_radius(
            [rows], k, n_classes, threat=threat, complete=True, open_set=open_set
        )
        assert (winner[0], radius[0]) == brute_force(rows, k, labels, threat), (rows, k)


def test_radius_of_a_larger_vote_is_exact():
    for rows, k in [
        ((1,) * 8 + (0,) * 4, 7),
        ((1, 1, 1, 1, 1, 0, 0, 1, 1), 7),
        ((0, 0, 2, 0, 0, 1, 0, 0, 0), 6),
        ((2, 2, 2, 2, 2, 2, 0, 1, 0), 6),
    ]:
        winner, radius = nearest_neighbor_radius([rows], k, 3, complete=True)
        assert (winner[0], radius[0]) == brute_force(rows, k, range(3), most=3), (rows, k)


def test_one_operation_lowers_the_radius_by_one_at_most():
    rng = np.random.default_rng(0)
    for _ in range(150):
        rows, k, n_classes = random_instance(rng)

        def certify(rows, k=k, n_classes=n_classes):
            winner, radius = nearest_neighbor_radius([rows], k, n_classes, complete=True)
            return winner[0], radius[0]

        winner, radius = certify(rows)
        for new in after_one(rows, range(n_classes), "insertion_deletion") if radius else ():
            assert certify(new)[0] == winner
            assert certify(new)[1] >= radius - 1


def test_fewer_rows_than_all_never_raise_the_radius():
    rng = np.random.default_rng(1)
    lower = 0
    for _ in range(300):
        rows, k, n_classes = random_instance(rng, max_k=7, max_rows=16)
        full = nearest_neighbor_radius([rows], k, n_classes, complete=True)
        for m in range(k, len(rows)):
            part = nearest_neighbor_radius([rows[:m]], k, n_classes)
            assert part[0] == full[0]
            assert part[1] <= full[1]
            lower += (part[1] < full[1])[0]
            if m >= k + k // 2 + 1:
                assert part[1] == full[1]
            # What lies behind might be the worst: then the capped radius is the exact one.
            least = min(
                nearest_neighbor_radius(
                    [(*rows[:m], *[b] * (2 * k))], k, n_classes, complete=True
                )[1][0]
                for b in range(n_classes)
            )
            assert part[1] == least
    assert lower


def test_row_of_a_table_gets_the_radius_that_it_gets_alone():
    rng = np.random.default_rng(2)
    codes = rng.choice(4, (3000, 40), p=[0.6, 0.2, 0.1, 0.1])
    winner, radius = nearest_neighbor_radius(codes, 25, 4)
    for i in (0, 1, 1500, 2999):
        alone = nearest_neighbor_radius(codes[i : i + 1], 25, 4)
        assert (alone[0][0], alone[1][0]) == (winner[i], radius[i])
    assert radius.max() > 5
    again = nearest_neighbor_radius(np.asfortranarray(codes.astype(np.uint8)), 25, 4)
    np.testing.assert_array_equal(again[1], radius)


def test_radius_is_at_most_half_of_the_votes():
    for k in range(1, 9):
        codes = np.ones((1, 3 * k), dtype=int)
        assert nearest_neighbor_radius(codes, k, 3)[1][0] <= k // 2
        assert nearest_neighbor_radius(codes * 0, k, 3)[1][0] == k // 2


def test_single_class_cannot_lose_but_to_a_new_label():
    assert nearest_neighbor_radius([[0] * 8], 5, 1)[1].tolist() == [5]
    assert nearest_neighbor_radius([[0] * 8], 5, 1, open_set=True)[1].tolist() == [2]


def test_table_without_rows_gives_no_radii():
    for part in nearest_neighbor_radius(np.zeros((0, 9), dtype=int), 5, 2):
        assert part.shape == (0,)
        assert part.dtype == np.int64


@pytest.mark.parametrize(
    ("codes", "k", "n_classes", "params", "message"),
    [
        ([[0.5, 1.0]], 1, 2, {}, "array of integers"),
        ([0, 1], 1, 2, {}, "shape"),
        ([[0, 2]], 1, 2, {}, r"codes in 0\.\.1, got 0 to 2"),
        ([[0, -1]], 1, 2, {}, "got -1 to 0"),
        ([[0, 1]], 3, 2, {}, "fewer than n_neighbors=3"),
        ([[0, 1]], 0, 2, {}, "n_neighbors must be a positive integer"),
        ([[0, 1]], 1, 0, {}, "n_classes must be an integer"),
        ([[0, 1]], 1, 2, {"threat": "backdoor"}, "threat='backdoor' is unknown"),
    ],
)
def test_refusals_name_the_value(codes, k, n_classes, params, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbor_radius(codes, k, n_classes, **params)
