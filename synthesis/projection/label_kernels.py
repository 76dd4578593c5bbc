"""Compiled loops of the label projection; all release the interpreter lock."""

from math import ceil, floor

import numpy as np

from anatomy_vlm.synthesis.projection.compiled import njit


@njit(nogil=True, cache=True)
def _run_end(flat, words, shift, pattern, p, end):
    """First position in (p, end] where the label of `flat[p]` stops; whole words that repeat it are skipped."""
    label = flat[p]
    p += 1
    within = (1 << shift) - 1
    while p < end and p & within:
        if flat[p] != label:
            return p
        p += 1
    repeated = np.uint64(label) * pattern
    word = p >> shift
    last = end >> shift
    while word < last and words[word] == repeated:
        word += 1
    p = max(p, word << shift)
    while p < end and flat[p] == label:
        p += 1
    return p


@njit(nogil=True, cache=True)
def find_runs(flat, words, shift, pattern, slabs, width, start, stop, runs, values, found):
    """Runs of equal labels along the rows of slices [start, stop); label 0 is background.

    Writes (slice, slab, first, last + 1) and the label of as many runs as fit, and how many there are to `found[0]`.

    Args:
        words: `flat` as uint64, 2 ** shift labels each; pattern: a word with 1 in each.
    """
    count = 0
    room = runs.shape[0]
    for z in range(start, stop):
        for y in range(slabs):
            base = (z * slabs + y) * width
            p = base
            end = base + width
            while p < end:
                following = _run_end(flat, words, shift, pattern, p, end)
                if flat[p]:
                    if count < room:
                        runs[count, 0] = z
                        runs[count, 1] = y
                        runs[count, 2] = p - base
                        runs[count, 3] = following - base
                        values[count] = flat[p]
                    count += 1
                p = following
    found[0] = count


@njit(nogil=True, cache=True)
def sort_runs(runs, values, place, ordered):
    """Moves runs to where `place` (labels,) says the next run of their label goes, and moves that on."""
    for i in range(values.shape[0]):
        at = place[values[i]]
        for k in range(4):
            ordered[at, k] = runs[i, k]
        place[values[i]] = at + 1


@njit(nogil=True, cache=True)
def run_extents(runs, pointers, start, stop, extent):
    """Bounding box per label of its runs: (slice low, high, slab low, high, across low, high), ends exclusive."""
    for label in range(start, stop):
        box = extent[label]
        box[0::2] = 1 << 30
        box[1::2] = 0
        for i in range(pointers[label], pointers[label + 1]):
            box[0] = min(box[0], runs[i, 0])
            box[1] = max(box[1], runs[i, 0] + 1)
            box[2] = min(box[2], runs[i, 1])
            box[3] = max(box[3], runs[i, 1] + 1)
            box[4] = min(box[4], runs[i, 2])
            box[5] = max(box[5], runs[i, 3])


@njit(nogil=True, cache=True)
def _pixels(low, high, scale, shift, half):
    """Grid indices [first, last) whose position scale * (i - half) + shift lies in [low, high)."""
    a = (low - shift) / scale + half
    b = (high - shift) / scale + half
    if scale > 0:
        return ceil(a), ceil(b)
    return floor(b) + 1, floor(a) + 1


@njit(nogil=True, cache=True)
def window_of_extent(extent, scale_u, shift_u, scale_v, shift_v, height, width, window):
    """Grid rectangle (row low, row high, column low, column high) per label that its voxels can reach."""
    for label in range(extent.shape[0]):
        window[label] = 0
        box = extent[label]
        if box[1] <= box[0]:
            continue
        top, bottom, left, right = height, 0, width, 0
        # Perspective is monotone in depth, so the first and the last slab hold the extremes.
        for k in (box[2], box[3] - 1):
            u0, u1 = _pixels(box[4] - 0.5, box[5] - 0.5, scale_u[k], shift_u[k], (width - 1) / 2)
            v0, v1 = _pixels(box[0] - 0.5, box[1] - 0.5, scale_v[k], shift_v[k], (height - 1) / 2)
            left = min(left, u0)
            right = max(right, u1)
            top = min(top, v0)
            bottom = max(bottom, v1)
        window[label, 0] = min(max(top, 0), height)
        window[label, 1] = min(max(bottom, window[label, 0]), height)
        window[label, 2] = min(max(left, 0), width)
        window[label, 3] = min(max(right, window[label, 2]), width)


@njit(nogil=True, cache=True)
def project_runs(
    runs, pointers, scale_u, shift_u, scale_v, shift_v, height, width, window, offsets, start, stop, flat, inside
):
    """Slabs per pixel of labels [start, stop), each inside its window, into `flat` from `offsets` on.

    A run is a rectangle on the grid: four updates of a difference image, then one prefix sum per label. `inside`
    collects, per label, the area of its rectangles on the grid and in all.
    """
    half_u = (width - 1) / 2
    half_v = (height - 1) / 2
    for label in range(start, stop):
        top = window[label, 0]
        left = window[label, 2]
        h = window[label, 1] - top
        w = window[label, 3] - left
        difference = np.zeros((h + 1, w + 1), np.int32)
        kept = 0
        total = 0
        for i in range(pointers[label], pointers[label + 1]):
            k = runs[i, 1]
            u0, u1 = _pixels(runs[i, 2] - 0.5, runs[i, 3] - 0.5, scale_u[k], shift_u[k], half_u)
            v0, v1 = _pixels(runs[i, 0] - 0.5, runs[i, 0] + 0.5, scale_v[k], shift_v[k], half_v)
            total += (u1 - u0) * (v1 - v0)
            u0 = min(max(u0 - left, 0), w)
            u1 = min(max(u1 - left, 0), w)
            v0 = min(max(v0 - top, 0), h)
            v1 = min(max(v1 - top, 0), h)
            if u1 > u0 and v1 > v0:
                kept += (u1 - u0) * (v1 - v0)
                difference[v0, u0] += 1
                difference[v0, u1] -= 1
                difference[v1, u0] -= 1
                difference[v1, u1] += 1
        inside[label, 0] = kept
        inside[label, 1] = total
        column = np.zeros(w + 1, np.int32)
        at = offsets[label]
        for v in range(h):
            along = 0
            for u in range(w):
                column[u] += difference[v, u]
                along += column[u]
                flat[at] = along
                at += 1


@njit(nogil=True, cache=True)
def warp_counts(grid, grid_top, grid_left, homography, top, left, image):
    """Takes the nearest count of one label's window of the grid for each pixel of its window of the film."""
    height, width = grid.shape
    h = homography
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            column = c + left
            row = r + top
            d = 1.0 / (h[2, 0] * column + h[2, 1] * row + h[2, 2])
            i = floor((h[0, 0] * column + h[0, 1] * row + h[0, 2]) * d + 0.5) - grid_left
            j = floor((h[1, 0] * column + h[1, 1] * row + h[1, 2]) * d + 0.5) - grid_top
            if 0 <= i < width and 0 <= j < height:
                image[r, c] = grid[j, i]
