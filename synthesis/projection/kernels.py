"""Compiled loops of the image projection; all release the interpreter lock.

A key plane stands for a group of neighbouring slabs: each slab is added to the two key planes around it with hat
weights. Planes are stored per slice as (planes, width + 3), padded with one zero before and two after.
"""

from math import ceil, floor, sqrt

import numpy as np

from anatomy_vlm.synthesis.projection.compiled import njit


# Rows gathered at a time: small enough for the first-level cache.
_BLOCK = 16
# Contracting the two products of an interpolation into one fused step would make left and right round differently.
_MIRROR_SAFE = {"nnan", "ninf", "nsz", "arcp"}


@njit(nogil=True, cache=True, fastmath=True)
def _read_row(row, corners, values):
    """What each voxel of a row adds: the number itself, or the attenuation curve of its Hounsfield number."""
    if corners is None:
        for i in range(row.shape[0]):
            values[i] = row[i]
    else:
        low, below, knee, above = corners[0], corners[1], corners[2], corners[3]
        zero = np.float32(0)
        for i in range(row.shape[0]):
            h = np.float32(row[i])
            values[i] = below * max(h - low, zero) + above * max(h - knee, zero)


@njit(nogil=True, cache=True, fastmath=True)
def gather_rows(image, first, weight, corners, planes):
    """Adds the rows of one slice (slabs, width) to its key planes; `first` ascends."""
    slabs, width = image.shape
    block = np.empty((_BLOCK, width), np.float32)
    for start in range(0, slabs, _BLOCK):
        stop = min(start + _BLOCK, slabs)
        # Memory is read once and in order; the additions below jump between rows, which a prefetcher does not follow.
        for k in range(start, stop):
            _read_row(image[k], corners, block[k - start])
        _add_rows(block[: stop - start], first[start:stop], weight[start:stop], planes)


@njit(nogil=True, cache=True, fastmath=True)
def _add_rows(block, first, weight, planes):
    slabs, width = block.shape
    k = 0
    while k < slabs:
        g = first[k]
        a = planes[g, 1 : width + 1]
        b = planes[min(g + 1, planes.shape[0] - 1), 1 : width + 1]
        if k + 3 < slabs and first[k + 3] == g:
            r0, r1, r2, r3 = block[k], block[k + 1], block[k + 2], block[k + 3]
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for i in range(width):
                near = w0 * r0[i] + w1 * r1[i] + w2 * r2[i] + w3 * r3[i]
                a[i] += near
                b[i] += r0[i] + r1[i] + r2[i] + r3[i] - near
            k += 4
        elif k + 1 < slabs and first[k + 1] == g:
            r0, r1 = block[k], block[k + 1]
            w0, w1 = weight[k], weight[k + 1]
            for i in range(width):
                near = w0 * r0[i] + w1 * r1[i]
                a[i] += near
                b[i] += r0[i] + r1[i] - near
            k += 2
        else:
            r0 = block[k]
            w0 = weight[k]
            if w0 == np.float32(1):
                for i in range(width):
                    a[i] += r0[i]
            else:
                for i in range(width):
                    near = w0 * r0[i]
                    a[i] += near
                    b[i] += r0[i] - near
            k += 1


@njit(nogil=True, cache=True, fastmath=True)
def gather_columns(image, first, weight, corners, planes):
    """As `gather_rows` for a slice (width, slabs), where the slabs lie along the second axis."""
    width, slabs = image.shape
    one = np.float32(1)
    row = np.empty(slabs, np.float32)
    for i in range(width):
        _read_row(image[i], corners, row)
        k = 0
        while k < slabs:
            g = first[k]
            near = np.float32(0)
            total = np.float32(0)
            while k < slabs and first[k] == g:
                near += weight[k] * row[k]
                total += row[k]
                k += 1
            planes[g, i + 1] += near
            if near != total or weight[k - 1] != one:
                planes[g + 1, i + 1] += total - near


@njit(nogil=True, cache=True)
def column_table(scale, shift, columns, width, index, weight):
    """Two-tap positions of every grid column in every key plane: index into the padded plane, weight of the second."""
    for g in range(scale.shape[0]):
        for u in range(columns):
            # Rounding the offset to 1/65536 voxel keeps both taps' weights exact, so mirrors are exact.
            x = np.rint(scale[g] * (u - (columns - 1) / 2) * 65536.0) / 65536.0 + np.rint(shift[g] * 65536.0) / 65536.0
            x = min(max(x + 1.0, 0.0), width + 1.0)
            i = floor(x)
            index[g, u] = i
            weight[g, u] = np.float32(x - i)


@njit(nogil=True, cache=True, fastmath=_MIRROR_SAFE)
def resample_columns(planes, index, weight, rows):
    """Samples each key plane (planes, width + 3) at the grid columns: rows (planes, columns)."""
    one = np.float32(1)
    for g in range(index.shape[0]):
        a = planes[g]
        ix = index[g]
        w = weight[g]
        r = rows[g]
        for u in range(index.shape[1]):
            i = ix[u]
            f = w[u]
            r[u] = (one - f) * a[i] + f * a[i + 1]


@njit(nogil=True, cache=True, fastmath=True)
def spread_rows(z, below, above, scale, shift, height, top, band):
    """Adds to a band of grid rows, from row `top` on, those between slices z - 1 (`below`) and z (`above`)."""
    half = (height - 1) / 2
    for g in range(scale.shape[0]):
        s = scale[g]
        o = shift[g]
        va = (z - 1 - o) / s + half
        vb = (z - o) / s + half
        if va > vb:
            low = floor(vb) + 1
            high = floor(va)
        else:
            low = ceil(va)
            high = ceil(vb) - 1
        low = max(low, top)
        high = min(high, top + band.shape[0] - 1)
        for v in range(low, high + 1):
            f = np.float32(s * (v - half) + o - (z - 1))
            e = np.float32(1) - f
            p = band[v - top]
            r0 = below[g]
            r1 = above[g]
            for u in range(band.shape[1]):
                p[u] += e * r0[u] + f * r1[u]


@njit(nogil=True, cache=True)
def project_slices(
    volume, along_rows, first, weight, corners, index, tap, scale, shift, height, start, stop, top, band
):
    """Straight from voxels to the rows of the grid that slices [start - 1, stop) reach, without storing key planes."""
    depth = volume.shape[0]
    width = volume.shape[2] if along_rows else volume.shape[1]
    count = scale.shape[0]
    planes = np.zeros((count + 1, width + 3), np.float32)
    below = np.zeros((count, index.shape[1]), np.float32)
    above = np.zeros((count, index.shape[1]), np.float32)
    for z in range(start - 1, stop):
        below, above = above, below
        if 0 <= z < depth:
            planes[:] = 0
            if along_rows:
                gather_rows(volume[z], first, weight, corners, planes)
            else:
                gather_columns(volume[z], first, weight, corners, planes)
            resample_columns(planes, index, tap, above)
        else:
            above[:] = 0
        if z >= start:
            spread_rows(z, below, above, scale, shift, height, top, band)


@njit(nogil=True, cache=True)
def store_planes(volume, along_rows, first, weight, corners, start, stop, keys):
    """Key planes of slices [start, stop): keys (Z, planes, width + 3)."""
    count = keys.shape[1]
    planes = np.zeros((count + 1, keys.shape[2]), np.float32)
    for z in range(start, stop):
        planes[:] = 0
        if along_rows:
            gather_rows(volume[z], first, weight, corners, planes)
        else:
            gather_columns(volume[z], first, weight, corners, planes)
        keys[z] = planes[:count]


@njit(nogil=True, cache=True)
def project_planes(keys, index, tap, scale, shift, height, start, stop, top, band):
    """As `project_slices`, from stored key planes."""
    depth = keys.shape[0]
    count = scale.shape[0]
    below = np.zeros((count, index.shape[1]), np.float32)
    above = np.zeros((count, index.shape[1]), np.float32)
    for z in range(start - 1, stop):
        below, above = above, below
        if 0 <= z < depth:
            resample_columns(keys[z], index, tap, above)
        else:
            above[:] = 0
        if z >= start:
            spread_rows(z, below, above, scale, shift, height, top, band)


@njit(nogil=True, cache=True)
def scale_by_path(image, center, right, down, depth, start, stop):
    """Multiplies rows [start, stop) of an image by the length of each pixel's ray through one slab."""
    rows, columns = image.shape
    for r in range(start, stop):
        v = r - (rows - 1) / 2
        for c in range(columns):
            u = c - (columns - 1) / 2
            x = center[0] + u * right[0] + v * down[0]
            y = center[1] + u * right[1] + v * down[1]
            z = center[2] + u * right[2] + v * down[2]
            image[r, c] *= sqrt(x * x + y * y + z * z) / abs(depth[0] + u * depth[1] + v * depth[2])


@njit(nogil=True, cache=True, fastmath=True)
def warp_bicubic(grid, homography, image, start, stop):
    """Samples `grid` at homography @ (column, row, 1) for the rows [start, stop) of `image`; outside it is zero.

    Catmull-Rom's bicubic kernel (Keys 1981, a = -0.5): bilinear sampling costs a factor 1.6 in error here.
    """
    height, width = grid.shape
    h = homography
    half = np.float32(0.5)
    for r in range(start, stop):
        for c in range(image.shape[1]):
            d = 1.0 / (h[2, 0] * c + h[2, 1] * r + h[2, 2])
            x = (h[0, 0] * c + h[0, 1] * r + h[0, 2]) * d
            y = (h[1, 0] * c + h[1, 1] * r + h[1, 2]) * d
            i = floor(x)
            j = floor(y)
            if i < 1 or j < 1 or i > width - 3 or j > height - 3:
                image[r, c] = 0
                continue
            f = np.float32(x - i)
            a0 = half * f * (f * (2 - f) - 1)
            a1 = half * (f * f * (3 * f - 5) + 2)
            a2 = half * f * (f * (4 - 3 * f) + 1)
            a3 = half * f * f * (f - 1)
            f = np.float32(y - j)
            b0 = half * f * (f * (2 - f) - 1)
            b1 = half * (f * f * (3 * f - 5) + 2)
            b2 = half * f * (f * (4 - 3 * f) + 1)
            b3 = half * f * f * (f - 1)
            p, q, s, t = grid[j - 1], grid[j], grid[j + 1], grid[j + 2]
            image[r, c] = (
                b0 * (a0 * p[i - 1] + a1 * p[i] + a2 * p[i + 1] + a3 * p[i + 2])
                + b1 * (a0 * q[i - 1] + a1 * q[i] + a2 * q[i + 1] + a3 * q[i + 2])
                + b2 * (a0 * s[i - 1] + a1 * s[i] + a2 * s[i + 1] + a3 * s[i + 2])
                + b3 * (a0 * t[i - 1] + a1 * t[i] + a2 * t[i + 1] + a3 * t[i + 2])
            )
