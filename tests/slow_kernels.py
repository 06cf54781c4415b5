"""Kernels of infinitely wide networks in plain loops over positions: no code of the library.

Both images are kept in one covariance S[a, i, j, b, k, l] between position (i, j) of image a and
(k, l) of image b, so that variances are entries of it and nothing is carried apart.
"""

import itertools
import math

import numpy as np


def relu(var_u, var_v, cov):
    """Cho and Saul 2009: E[s(u) s(v)], E[s'(u) s'(v)]."""
    scale = math.sqrt(var_u * var_v)
    rho = min(max(cov / scale, -1.0), 1.0)
    angle = math.pi - math.acos(rho)
    return scale * (rho * angle + math.sqrt(1 - rho**2)) / (2 * math.pi), angle / (2 * math.pi)


def erf(var_u, var_v, cov):
    """Williams 1997."""
    a, b = 1 + 2 * var_u, 1 + 2 * var_v
    slope = 4 / math.pi / math.sqrt(a * b - 4 * cov**2)
    return 2 / math.pi * math.asin(2 * cov / math.sqrt(a * b)), slope


def identity(var_u, var_v, cov):
    return cov, 1.0


DUALS = {"relu": relu, "erf": erf, "identity": identity}


def starts(length, size, stride, padding):
    """Where along one side the filters begin, and the number of them."""
    if padding == "valid":
        return [stride * i for i in range((length - size) // stride + 1)]
    count = -(-length // stride)
    missing = max((count - 1) * stride + size - length, 0)
    return [stride * i - missing // 2 for i in range(count)]


def inside(index, length, padding):
    """An index of the image, or None in a margin of zeros."""
    if padding == "circular":
        return index % length
    return index if 0 <= index < length else None


def convolved(S, size, stride, padding):
    _, height, width = S.shape[:3]
    rows = starts(height, size[0], stride[0], padding)
    columns = starts(width, size[1], stride[1], padding)
    out = np.zeros((2, len(rows), len(columns)) * 2)
    for a, i, j, b, k, l in np.ndindex(out.shape):
        for m, n in itertools.product(range(size[0]), range(size[1])):
            p = inside(rows[i] + m, height, padding), inside(columns[j] + n, width, padding)
            q = inside(rows[k] + m, height, padding), inside(columns[l] + n, width, padding)
            if None not in (*p, *q):
                out[a, i, j, b, k, l] += S[a, *p, b, *q]
    return out


def pooled(S, window):
    _, height, width = S.shape[:3]
    out = np.zeros((2, height // window[0], width // window[1]) * 2)
    for a, i, j, b, k, l in np.ndindex(out.shape):
        cells = list(itertools.product(range(window[0]), range(window[1])))
        total = 0.0
        for (m, n), (o, p) in itertools.product(cells, cells):
            first = (i * window[0] + m, j * window[1] + n)
            total += S[a, *first, b, k * window[0] + o, l * window[1] + p]
        out[a, i, j, b, k, l] = total / len(cells) ** 2
    return out


def activated(S, activation):
    m, m_dot = np.empty_like(S), np.empty_like(S)
    for place in np.ndindex(S.shape):
        p, q = place[:3], place[3:]
        m[place], m_dot[place] = DUALS[activation](S[*p, *p], S[*q, *q], S[place])
    return m, m_dot


def read_out(S, readout, padding):
    """The covariance of the read-out's features between image 0 and image 1, summed over them."""
    _, height, width = S.shape[:3]
    places = list(itertools.product(range(height), range(width)))
    if readout == "gap":
        return sum(S[0, *p, 1, *q] for p in places for q in places) / len(places) ** 2
    reach, total = 0 if readout == "flatten" else readout.reach, 0.0
    around = list(itertools.product(range(-reach, reach + 1), repeat=2))
    for i, j in places:
        for (a, b), (c, d) in itertools.product(around, around):
            p = inside(i + a, height, padding), inside(j + b, width, padding)
            q = inside(i + c, height, padding), inside(j + d, width, padding)
            if None not in (*p, *q):
                total += S[0, *p, 1, *q]
    return total / (2 * reach + 1) ** 4


def convolutional(
    x,
    z,
    depth,
    activation="relu",
    *,
    readout="gap",
    size=(3, 3),
    padding="zero",
    strides=None,
    pooling=None,
    train=None,
    train_biases=None,
    published=True,
    weight=0.0,
    bias=0.0,
    width=0,
):
    """NTK and NNGP; a `width` means standard parametrization, `published` Arora et al.'s scale."""
    train = range(1, depth + 1) if train is None else train
    train_biases = train if train_biases is None else train_biases
    dual = DUALS[activation]
    weight = weight or 1 / dual(1.0, 1.0, 1.0)[0]
    strides, pooling, area = strides or {}, pooling or {}, size[0] * size[1]
    images = np.stack([x, z])
    products = np.empty(images.shape[:3] * 2)
    for place in np.ndindex(products.shape):
        products[place] = float(images[place[:3]] @ images[place[3:]])

    def rates(layer, gain, summed):
        """What the weights and the biases of a layer add to the NTK."""
        weights, biases = (gain, bias) if not width else (summed, float(bias > 0))
        return (layer in train) * weights, (layer in train_biases) * biases

    box = convolved(products, size, strides.get(1, (1, 1)), padding)
    gain = 1.0 if published else weight / (area * x.shape[-1])
    by_weights, by_biases = rates(1, gain, 1.0)
    sigma, theta = gain * box + bias, by_weights * box + by_biases
    m = sigma
    for layer in range(1, depth):
        m, m_dot = activated(sigma, activation)
        m, theta = (pooled(S, pooling.get(layer, (1, 1))) for S in (m, m_dot * theta))
        if layer < depth - 1:
            gain = weight / area
            by_weights, by_biases = rates(layer + 1, gain, width)
            box, back = (
                convolved(S, size, strides.get(layer + 1, (1, 1)), padding) for S in (m, theta)
            )
            sigma, theta = gain * box + bias, gain * back + by_weights * box + by_biases
    features, back = (read_out(S, readout, padding) for S in (m, theta))
    places = 1 if readout == "gap" else m.shape[1] * m.shape[2]
    gain = weight / (area if published else places)
    by_weights, by_biases = rates(depth, gain, width)
    return gain * back + by_weights * features + by_biases, gain * features + bias


def fully_connected(x, z, depth, activation="relu", **options):
    """NTK and NNGP: images of one pixel, filters of one pixel."""
    if depth == 1:
        weight, bias = options.get("weight", 0.0), options.get("bias", 0.0)
        gain = 1.0 if options.get("published", True) else weight / len(x)
        return gain * (x @ z) + bias, gain * (x @ z) + bias
    pixel = lambda v: v[None, None]
    return convolutional(pixel(x), pixel(z), depth, activation, size=(1, 1), **options)
