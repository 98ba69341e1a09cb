#!/usr/bin/env python3
"""Golden values of grid_sample2d from torch, and of roi_align2d from the NumPy definition below, written from the
papers and ONNX's description of RoiAlign (torch 1.13.1 has no RoIAlign of its own); see make_golden.py.

Images of grid samples are lattices and coordinates multiples of 1/64, so that place and weights are exact."""
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from make_golden import Family, lattice, real, text, backward


def places(*extents, reach=1.4):
    return torch.round((torch.rand(extents) * 2 - 1) * reach * 64) / 64


def grid_case(family, x, grid, mode="bilinear", padding="zeros", corners=False):
    x.requires_grad_()
    grid.requires_grad_()
    y = F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)
    dy = lattice(*y.shape)
    dx, dgrid = backward(y, dy, x, grid)
    problem = f"grid_sample2d x={text(x.shape)} grid={text(grid.shape)} mode={mode} padding={padding}"
    problem += " align_corners=" + ("true" if corners else "false")
    family.case(problem, dict(x=x, grid=grid, dy=dy, y=y, dx=dx, dgrid=dgrid), "real")


def grids(f):
    # Centres and outer edges of the cells of both axes, the middles between them, and the ends of the image.
    marks = torch.tensor([-2.25, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0])
    kinks = torch.stack([torch.stack([marks, marks.roll(shift)], -1) for shift in (0, 5)])[None]
    for mode, padding, corners in itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection"),
                                                    (False, True)):
        grid_case(f, lattice(2, 3, 4, 5), places(2, 3, 4, 2), mode, padding, corners)
        grid_case(f, lattice(1, 1, 3, 2), places(1, 2, 5, 2, reach=5), mode, padding, corners)
        grid_case(f, lattice(1, 2, 1, 1), places(1, 2, 2, 2), mode, padding, corners)
        grid_case(f, lattice(1, 1, 4, 8), kinks.clone(), mode, padding, corners)
        grid_case(f, lattice(1, 1, 5, 9), kinks.clone(), mode, padding, corners)


# Region-of-interest align: every sample spelled out as a sum over all cells of the image.

def sample_weights(v, extent):
    """Weights of the cells of one axis at the place v, or None outside."""
    if v < -1 or v > extent:
        return None
    v = min(max(v, 0.0), extent - 1.0)
    return np.array([max(0.0, 1 - abs(v - i)) for i in range(extent)])


def roi_weights(box, extents, size, scale, ratio, aligned):
    """weights[p, q, h, w] of one box."""
    weights = np.zeros(tuple(size) + tuple(extents))
    shift = 0.5 if aligned else 0.0
    starts = [box[1] * scale - shift, box[0] * scale - shift]
    lengths = [(box[3] - box[1]) * scale, (box[2] - box[0]) * scale]
    if not aligned:
        lengths = [max(length, 1.0) for length in lengths]
    counts = [ratio if ratio > 0 else max(0, math.ceil(length / bins)) for length, bins in zip(lengths, size)]
    for p, q in itertools.product(range(size[0]), range(size[1])):
        for r, s in itertools.product(range(counts[0]), range(counts[1])):
            h = starts[0] + lengths[0] / size[0] * (p + (r + 0.5) / counts[0])
            w = starts[1] + lengths[1] / size[1] * (q + (s + 0.5) / counts[1])
            rows, columns = sample_weights(h, extents[0]), sample_weights(w, extents[1])
            if rows is not None and columns is not None:
                weights[p, q] += np.outer(rows, columns) / (counts[0] * counts[1])
    return weights


def roi_case(family, x, boxes, batch, size, scale=1.0, ratio=0, aligned=True):
    weights = np.stack([roi_weights(box, x.shape[2:], size, scale, ratio, aligned) for box in boxes.tolist()])
    y = np.einsum("kpqhw,kchw->kcpq", weights, x.numpy()[batch])
    dy = real(*y.shape)
    dx = np.zeros(tuple(x.shape))
    for k, n in enumerate(batch):
        dx[n] += np.einsum("pqhw,cpq->chw", weights[k], dy[k].numpy())
    problem = f"roi_align2d x={text(x.shape)} boxes={text(boxes.shape)} batch={len(batch)} size={text(size)}"
    problem += f" spatial_scale={scale} sampling_ratio={ratio} aligned=" + ("true" if aligned else "false")
    family.case(problem, dict(x=x, boxes=boxes, batch=torch.tensor(batch), dy=dy, y=torch.from_numpy(y),
                              dx=torch.from_numpy(dx)), "real")


def regions(f):
    boxes = torch.tensor([[0.3, 1.2, 4.7, 5.9], [2.0, 0.0, 6.0, 3.0], [-3.5, -2.25, 1.5, 2.0], [5.0, 4.0, 9.5, 11.0],
                          [1.1, 2.2, 1.4, 2.3], [4.5, 5.5, 2.25, 1.0], [20.0, 20.0, 30.0, 25.0]])
    for aligned, ratio in itertools.product((False, True), (0, 1, 3)):
        roi_case(f, real(2, 2, 6, 7), boxes, [0, 1, 1, 0, 1, 0, 1], (2, 3), ratio=ratio, aligned=aligned)
        roi_case(f, real(3, 1, 5, 4), boxes[:4], [2, 0, 1, 2], (3, 1), scale=0.5, ratio=ratio, aligned=aligned)
    whole = torch.tensor([[0.0, 0.0, 4.0, 3.0]])
    roi_case(f, real(1, 2, 3, 4), whole, [0], (3, 4), ratio=1)  # every bin is a cell: y = x
    f.write()


if __name__ == "__main__":
    family = Family("sampling")
    grids(family)
    regions(family)
