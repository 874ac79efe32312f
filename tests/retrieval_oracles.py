"""The published protocols once more, query by query as their authors tell them: what the fast ones have to equal."""

from __future__ import annotations

from typing import Any

import numpy

KS = (1, 5, 10, 20)
Facts = tuple[numpy.ndarray, numpy.ndarray]  # identities and cameras


def kept(distance: numpy.ndarray, query: tuple[int, int, int], gallery: Facts, places: numpy.ndarray) -> numpy.ndarray:
    """The gallery in the order of its distance, without images of the query's identity and camera and without itself."""
    order = numpy.argsort(distance, kind="stable")
    place, identity, camera = query
    identities, cameras = gallery
    same = (identities[order] == identity) & (cameras[order] == camera) & (camera >= 0)
    return order[~same & (places[order] != place)]


def market1501(distances: numpy.ndarray, queries: Any, gallery: Facts, places: numpy.ndarray) -> dict[str, float]:
    """Zheng et al., ICCV 2015: CMC and mAP over all matches; mINP of Ye et al., 2020."""
    cmc, precisions, penalties = [], [], []
    for row, query in zip(distances, queries, strict=True):
        match = gallery[0][kept(row, query, gallery, places)] == query[1]
        if not match.any():
            continue
        cmc.append([match[:k].any() for k in KS])
        hits = numpy.cumsum(match)
        precisions.append((hits / numpy.arange(1, len(match) + 1))[match].sum() / match.sum())
        penalties.append(match.sum() / (numpy.flatnonzero(match)[-1] + 1))
    if not cmc:
        return dict.fromkeys([*(f"rank{k}" for k in KS), "mAP", "mINP"], 0.0)
    shares = {f"rank{k}": float(v) for k, v in zip(KS, numpy.mean(cmc, axis=0), strict=True)}
    return {**shares, "mAP": float(numpy.mean(precisions)), "mINP": float(numpy.mean(penalties))}


def cuhk03(
    distances: numpy.ndarray, queries: Any, gallery: Facts, places: numpy.ndarray, draw: Any, repeats: int
) -> list[float]:
    """Li et al., CVPR 2014: in each repeat one gallery image of each identity is drawn. `draw(sizes, place)` says which."""
    cmc = []
    names = numpy.unique(gallery[0])
    for row, query in zip(distances, queries, strict=True):
        order = kept(row, query, gallery, places)
        if not (gallery[0][order] == query[1]).any():
            continue
        images = [numpy.sort(order[gallery[0][order] == name]) for name in names]
        drawn = draw([len(one) for one in images], query[0])
        for repeat in range(repeats):
            chosen = {int(one[drawn[repeat][n]]) for n, one in enumerate(images) if len(one)}
            match = numpy.array([gallery[0][image] == query[1] for image in order if image in chosen])
            cmc.append([match[:k].any() for k in KS])
    return [float(share) for share in numpy.mean(cmc, axis=0)]


def chance_of_rank1(distance: numpy.ndarray, query: tuple[int, int, int], gallery: Facts, places: numpy.ndarray) -> float:
    """The same without a draw: how likely it is that the drawn match is nearer than what is drawn of each other identity."""
    names = gallery[0][kept(distance, query, gallery, places)]
    chances = []
    for place in numpy.flatnonzero(names == query[1]):
        others = [names == name for name in numpy.unique(names) if name != query[1]]
        chances.append(numpy.prod([own[place:].sum() / own.sum() for own in others]))
    return float(numpy.mean(chances)) if chances else 0.0


def k_reciprocal(whole: numpy.ndarray, queries: int, k1: int, k2: int, share: float) -> numpy.ndarray:
    """Zhong et al., CVPR 2017, on the N x N distances of the queries and then the gallery; Q x G."""
    squares = whole**2
    scaled = (squares / squares.max(axis=0)).T
    near = numpy.argsort(scaled, axis=1, kind="stable")

    def reciprocal(image: int, k: int) -> numpy.ndarray:
        forward = near[image, : k + 1]
        return forward[(near[forward, : k + 1] == image).any(axis=1)]

    weights = numpy.zeros_like(scaled)
    for image in range(len(scaled)):
        own = reciprocal(image, k1)
        wide = own
        for neighbour in own:
            theirs = reciprocal(neighbour, round(k1 / 2))
            if len(numpy.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                wide = numpy.union1d(wide, theirs)
        wide = numpy.unique(wide)
        weights[image, wide] = numpy.exp(-scaled[image, wide]) / numpy.exp(-scaled[image, wide]).sum()
    if k2 != 1:
        weights = numpy.stack([weights[near[image, :k2]].mean(axis=0) for image in range(len(scaled))])
    jaccard = numpy.empty((queries, len(scaled)))
    for image in range(queries):
        least = numpy.minimum(weights[image], weights).sum(axis=1)
        jaccard[image] = 1 - least / (2 - least)
    return ((1 - share) * jaccard + share * scaled[:queries])[:, queries:]
