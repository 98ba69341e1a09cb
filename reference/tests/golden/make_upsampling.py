#!/usr/bin/env python3
"""Golden values of the upsampling layers from torch.nn.functional.interpolate; see make_golden.py.

The gradient of the nearest modes is scattered along torch's forward, because torch's own backward takes shortcuts
where O = I or O = 2I that its forward does not take (pytorch #97135). So does the backward of bicubic where O = I on
both axes: there the gradient is the transpose of torch's forward, column by column."""
import torch
import torch.nn.functional as F

from make_golden import Family, lattice, real, text, backward, INF, NAN

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def up_case(family, mode, x, align_corners=None, **given):
    rank = x.dim() - 2
    name = {"nearest": f"nearest{rank}d", "nearest-exact": f"nearest_exact{rank}d", "linear": f"{LINEAR[rank]}{rank}d",
            "bicubic": "bicubic2d"}[mode]
    options = dict(given, mode=LINEAR[rank] if mode == "linear" else mode)
    if align_corners is not None:
        options["align_corners"] = align_corners
    copies = mode.startswith("nearest")
    x.requires_grad_()
    y = F.interpolate(x, **options)
    dy = lattice(*y.shape) if copies else real(*y.shape)
    if copies:
        cells = torch.arange(float(x.numel())).reshape(x.shape)
        dx = torch.zeros(x.numel()).index_add(0, F.interpolate(cells, **options).long().reshape(-1), dy.reshape(-1))
    elif mode == "bicubic" and x.shape == y.shape:
        columns = torch.eye(x.numel()).reshape(-1, *x.shape)
        dx = torch.stack([(F.interpolate(column, **options) * dy).sum() for column in columns])
    else:
        dx, = backward(y, dy, x)
    (key, value), = given.items()
    word = {"size": "size", "scale_factor": "scale"}[key]
    problem = f"upsample_{name} x={text(x.shape)} {word}={text(value)}" + (" align_corners=true" if align_corners else "")
    family.case(problem, dict(x=x, dy=dy, y=y, dx=dx), "exact" if copies else "real")


def upsamplings():
    f = Family("upsampling")
    for mode in ("nearest", "nearest-exact"):
        up_case(f, mode, lattice(2, 2, 6), size=(4,))
        up_case(f, mode, lattice(1, 2, 5), size=(13,))
        up_case(f, mode, lattice(1, 1, 3), scale_factor=(1.3,))  # O = I is no copy
        up_case(f, mode, lattice(1, 1, 2), scale_factor=(2.3,))  # nor is O = 2I a doubling
        up_case(f, mode, lattice(1, 1, 88), scale_factor=(1.36363636,))  # 119 cells, not 120
        up_case(f, mode, lattice(2, 1, 3, 5), size=(7, 3))
        up_case(f, mode, lattice(1, 2, 4, 3), scale_factor=(0.6, 2.5))
        up_case(f, mode, lattice(1, 1, 2, 3, 4), size=(3, 7, 2))
        up_case(f, mode, lattice(1, 2, 3, 2, 3), scale_factor=(0.4, 3.7, 2.0))
        for size in (41, 47, 55, 82, 123, 246):  # float32 decides: o·I/O is whole, its rounding falls below
            up_case(f, mode, lattice(1, 1, 41), size=(size,))
        x = lattice(1, 1, 4)
        x[0, 0, 1:] = torch.tensor([NAN, INF, -0.0])
        up_case(f, mode, x, size=(7,))
    for corners in (False, True):
        up_case(f, "linear", real(2, 2, 5), corners, size=(8,))
        up_case(f, "linear", real(1, 2, 4), corners, size=(1,))
        up_case(f, "linear", real(1, 2, 1), corners, size=(3,))
        up_case(f, "linear", real(1, 2, 9), corners, size=(4,))
        up_case(f, "linear", real(1, 1, 3), corners, scale_factor=(1.3,))  # O = I is a copy
        up_case(f, "linear", real(1, 1, 3), corners, scale_factor=(2.6,))
        up_case(f, "linear", real(2, 1, 3, 5), corners, size=(7, 3))
        up_case(f, "linear", real(1, 2, 4, 3), corners, scale_factor=(0.6, 2.5))
        up_case(f, "linear", real(1, 1, 2, 3, 4), corners, size=(3, 7, 2))
        up_case(f, "linear", real(1, 2, 3, 2, 3), corners, scale_factor=(0.7, 3.7, 1.3))
        # Steps are dyadic: the polynomial of the weights loses digits that a few units do not forgive.
        up_case(f, "bicubic", real(2, 1, 3, 5), corners, size=(5, 9) if corners else (4, 16))
        up_case(f, "bicubic", real(1, 2, 4, 3), corners, scale_factor=(0.75, 3.0) if corners else (0.8, 2.5))
        up_case(f, "bicubic", real(1, 1, 3, 2), corners, scale_factor=(1.28, 1.28))  # O = I is no copy
        up_case(f, "bicubic", real(1, 1, 1, 2), corners, size=(4, 1))
        up_case(f, "bicubic", real(1, 2, 9, 8), corners, size=(2, 3) if corners else (2, 4))
    f.write()


if __name__ == "__main__":
    upsamplings()
