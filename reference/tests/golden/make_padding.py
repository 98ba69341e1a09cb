#!/usr/bin/env python3
"""Golden values of the padding layers from torch.nn.functional.pad; see make_golden.py."""
import torch
import torch.nn.functional as F

from make_golden import Family, lattice, text, backward, INF, NAN

MODES = {"constant": "constant", "reflection": "reflect", "replication": "replicate", "circular": "circular"}


def pad_case(family, kind, x, pads, value=None):
    """`pads`: (begin, end) an axis, the first spatial axis first."""
    x.requires_grad_()
    sides = [side for pair in reversed(pads) for side in pair]
    y = F.pad(x, sides, MODES[kind], **({} if value is None else dict(value=value)))
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    pad = ",".join(str(side) for pair in pads for side in pair)
    problem = f"{kind}_pad{x.dim() - 2}d x={text(x.shape)} pad={pad}" + ("" if value is None else f" value={value}")
    family.case(problem, dict(x=x, dy=dy, y=y, dx=dx))


def paddings():
    f = Family("padding")
    for kind in MODES:
        for value in (None, -2.5) if kind == "constant" else (None,):
            pad_case(f, kind, lattice(2, 3, 5), [(2, 4)], value)
            pad_case(f, kind, lattice(1, 2, 4, 3), [(3, 1), (0, 2)], value)
            pad_case(f, kind, lattice(2, 1, 2, 3, 4), [(1, 0), (2, 1), (0, 3)], value)
        pad_case(f, kind, lattice(1, 2, 6), [(-2, 3)])
        pad_case(f, kind, lattice(1, 2, 6), [(4, -1)])
        pad_case(f, kind, lattice(2, 1, 5, 6), [(-1, -2), (2, -3)])
        pad_case(f, kind, lattice(1, 1, 4, 3, 5), [(1, -2), (-1, 1), (-2, -1)])
        x = lattice(1, 1, 2, 3)
        x[0, 0, 0, 0], x[0, 0, 1, 2], x[0, 0, 0, 2] = NAN, INF, -0.0
        pad_case(f, kind, x, [(1, 1), (2, 2)])
    pad_case(f, "replication", lattice(1, 2, 1), [(3, 5)])
    pad_case(f, "reflection", lattice(1, 2, 1, 2), [(0, 0), (1, 1)])
    pad_case(f, "circular", lattice(1, 2, 3), [(3, 3)])  # once around on both sides
    f.write()


if __name__ == "__main__":
    paddings()
