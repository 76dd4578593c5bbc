"""Compiled loops of the image projection; all release the interpreter lock.

A key plane stands for a group of neighbouring slabs: each slab is added to the two key planes around it with hat
weights. Planes are stored per slice as (planes, width + 3), padded with one zero before and two after.
"""

from math import ceil, floor

import numpy as np

from anatomy_vlm.synthesis.projection.compiled import njit, prefetch


# Key planes worked on at a time, so that two slices of them and their samples stay in the second-level cache.
_PLANES = 32
# How far ahead of the additions memory is asked for: beyond the latency, within the second-level cache.
_AHEAD_BYTES = 16384
_LINE_BYTES = 64
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
def gather_rows(image, following, first, weight, corners, planes):
    """Adds the rows of one slice (slabs, width) to its key planes; `first` ascends. `following` is read after it."""
    slabs, width = image.shape
    line = _LINE_BYTES // image.itemsize
    ahead = max(1, _AHEAD_BYTES // (width * image.itemsize))
    values = np.empty(width, np.float32)
    for k in range(slabs):
        # Left to itself the processor fetches too late: the stores below occupy what tracks its misses.
        row = image[k + ahead] if k + ahead < slabs else following[min(k + ahead - slabs, slabs - 1)]
        for i in range(0, width, line):
            prefetch(row, i)
        near = planes[first[k]]
        # Nothing is added to a plane beyond the last, or to any second plane where each slab has its own.
        far = planes[min(first[k] + 1, planes.shape[0] - 1)]
        if corners is None:
            _add_row(image[k], weight[k], near, far)
        else:
            _read_row(image[k], corners, values)
            _add_row(values, weight[k], near, far)


@njit(nogil=True, cache=True, fastmath=True)
def _add_row(values, weight, near, far):
    rest = np.float32(1) - weight
    for i in range(values.shape[0]):
        near[i + 1] += weight * values[i]
        far[i + 1] += rest * values[i]


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
                planes[min(g + 1, planes.shape[0] - 1), i + 1] += total - near


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
def resample_columns(planes, others, index, weight, rows, other_rows):
    """Samples the key planes of two slices (planes, width + 3) at the grid columns: two times (planes, columns)."""
    one = np.float32(1)
    for g in range(index.shape[0]):
        a = planes[g]
        b = others[g]
        ix = index[g]
        w = weight[g]
        r = rows[g]
        s = other_rows[g]
        for u in range(index.shape[1]):
            # An unsigned index needs no test for counting from the end.
            i = np.uint64(ix[u])
            j = i + np.uint64(1)
            f = w[u]
            e = one - f
            r[u] = e * a[i] + f * a[j]
            s[u] = e * b[i] + f * b[j]


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
    """What slices [start, stop) give to the rows of the grid that they reach, without storing key planes."""
    width = volume.shape[2] if along_rows else volume.shape[1]
    slabs = len(first)
    # Slabs that run along memory's fastest axis are read in one go.
    share = _PLANES if along_rows else len(scale)
    planes = np.zeros((2, share + 1, width + 3), np.float32)
    rows = np.zeros((3, share + 1, index.shape[1]), np.float32)
    begin = 0
    while begin < slabs:
        low = first[begin]
        end = begin
        while end < slabs and first[end] < low + share:
            end += 1
        # The last slab alone decides whether its group reaches the next plane.
        count = first[end - 1] - low + (1 if weight[end - 1] == 1 else 2)
        part, group = slice(low, low + count), slice(begin, end)
        local = first[group] - low
        below, near, far = rows[0, :count], rows[1, :count], rows[2, :count]
        below[:] = 0
        for z in range(start, stop + 1, 2):
            planes[:] = 0
            for k in range(z, min(z + 2, stop)):
                following = min(k + 1, stop - 1)
                if along_rows:
                    image, later = volume[k, group], volume[following, group]
                    gather_rows(image, later, local, weight[group], corners, planes[k - z])
                else:
                    gather_columns(volume[k], first, weight, corners, planes[k - z])
            if z < stop:
                resample_columns(planes[0], planes[1], index[part], tap[part], near, far)
            else:
                near[:] = 0
            spread_rows(z, below, near, scale[part], shift[part], height, top, band)
            if z < stop:
                spread_rows(z + 1, near, far, scale[part], shift[part], height, top, band)
            below, near, far = far, near, below
        begin = end


@njit(nogil=True, cache=True)
def store_planes(volume, along_rows, first, weight, corners, start, stop, keys):
    """Key planes of slices [start, stop): keys (Z, planes, width + 3)."""
    for z in range(start, stop):
        keys[z] = 0
        if along_rows:
            gather_rows(volume[z], volume[min(z + 1, stop - 1)], first, weight, corners, keys[z])
        else:
            gather_columns(volume[z], first, weight, corners, keys[z])


@njit(nogil=True, cache=True)
def project_planes(keys, index, tap, scale, shift, height, start, stop, top, band):
    """As `project_slices`, from stored key planes."""
    empty = np.zeros((_PLANES, keys.shape[2]), np.float32)
    rows = np.zeros((3, _PLANES, index.shape[1]), np.float32)
    for low in range(0, len(scale), _PLANES):
        part = slice(low, min(low + _PLANES, len(scale)))
        count = part.stop - low
        below, near, far = rows[0, :count], rows[1, :count], rows[2, :count]
        below[:] = 0
        for z in range(start, stop + 1, 2):
            first = keys[z, part] if z < stop else empty[:count]
            second = keys[z + 1, part] if z + 1 < stop else empty[:count]
            resample_columns(first, second, index[part], tap[part], near, far)
            spread_rows(z, below, near, scale[part], shift[part], height, top, band)
            if z < stop:
                spread_rows(z + 1, near, far, scale[part], shift[part], height, top, band)
            below, near, far = far, near, below


@njit(nogil=True, cache=True, error_model="numpy")
def scale_by_path(image, center, right, down, depth, start, stop):
    """Multiplies rows [start, stop) of an image by the length of each pixel's ray through one slab."""
    rows, columns = image.shape
    for r in range(start, stop):
        v = r - (rows - 1) / 2
        x = center[0] + v * down[0]
        y = center[1] + v * down[1]
        z = center[2] + v * down[2]
        d = depth[0] + v * depth[2]
        # Squared length and depth along the row are polynomials of the column, to be rounded once.
        a0, a1 = np.float32(x * x + y * y + z * z), np.float32(2 * (x * right[0] + y * right[1] + z * right[2]))
        a2 = np.float32(right[0] ** 2 + right[1] ** 2 + right[2] ** 2)
        d0, d1 = np.float32(d), np.float32(depth[1])
        half = np.float32((columns - 1) / 2)
        line = image[r]
        for c in range(columns):
            u = np.float32(c) - half
            line[c] *= np.sqrt(a0 + u * (a1 + u * a2)) / abs(d0 + u * d1)


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
