"""Choose a small data set that is like a large one, by whole pictures.

A person's stratum is how many of its keypoints are labelled, how large its box is, and in what company it is. Pictures
are drawn one after the other; of the next few, that one is taken after which the chosen persons are spread over the
strata most as all are.
"""

from __future__ import annotations

import numpy as np

from hrnas.pose.coco import People

_KEYPOINTS = (1 / 3, 2 / 3)  # shares of the keypoint set between few, some and most labelled
_SIZES = (1 / 4, 1 / 2, 3 / 4)  # quantiles of the root of the box's area
_COMPANY = (1, 3)  # persons in a picture: one, two or three, more
_NEXT = 32  # drawn pictures that one is taken from


def find_strata(people: People) -> np.ndarray:
    """Each person's stratum (persons,), from 0 to 35."""
    labelled = (people.keypoints[:, :, 2] > 0).mean(axis=1)
    sides = np.sqrt(people.boxes[:, 2:].prod(axis=1))
    company = np.bincount(people.picture)[people.picture]
    bins = ((_KEYPOINTS, labelled), (np.quantile(sides, _SIZES), sides), (_COMPANY, company))
    strata = np.zeros(len(people), int)
    for bounds, values in bins:
        strata = strata * (len(bounds) + 1) + np.searchsorted(bounds, values)
    return strata


def choose_pictures(people: People, persons: int, seed: int) -> np.ndarray:
    """Pictures (indices into `people.pictures`, growing) with at most so many persons, who are like all of them.

    They depend on the seed and the pictures' ids, not on the order of either. One picture at least is chosen.
    """
    used, place = np.unique(people.picture, return_inverse=True)
    if len(people) <= persons:
        return used
    strata = find_strata(people)
    shown = np.zeros((len(used), strata.max() + 1), int)  # persons of each stratum in each picture
    np.add.at(shown, (place, strata), 1)
    sizes, shares = shown.sum(axis=1), shown.sum(axis=0) / len(people)
    by_id = np.argsort([people.pictures[index].id for index in used], kind="stable")
    drawn = np.random.default_rng(seed).permutation(by_id)

    chosen: list[int] = []
    have, waiting = np.zeros_like(shares), drawn
    while len(waiting := waiting[sizes[waiting] <= persons - have.sum()]):
        after = have + shown[waiting[:_NEXT]]
        like_all = after.sum(axis=1, keepdims=True) * shares
        best = int(np.argmin(((after - like_all) ** 2 / np.maximum(shares, 1e-9)).sum(axis=1)))
        chosen.append(int(waiting[best]))
        have, waiting = after[best], np.delete(waiting, best)
    return used[sorted(chosen or drawn[:1])]
