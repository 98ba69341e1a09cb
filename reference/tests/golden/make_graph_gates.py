#!/usr/bin/env python3
"""Golden values of the gates of computational graphs from torch; see make_golden.py. The gradient of max at ties is
Plumb's own: all of it goes to the first of equals, where torch gives each a half."""
import torch

from make_golden import Family, real, text, backward, INF, NAN

EDGES = torch.tensor([0.0, -0.0, 1e-300, -1e-300, 5e-324, INF, -INF, NAN, 1.0, -1.0, 1e150, -1e150, 720.0, -800.0])


def two_inputs(family, name, function, x0, x1):
    x0.requires_grad_()
    x1.requires_grad_()
    y = function(x0, x1)
    dy = real(*y.shape)
    dx0, dx1 = backward(y, dy, x0, x1)
    if name == "max":
        first = x0.isnan() | (x0 >= x1)
        dx0, dx1 = torch.where(first, dy, 0.0), torch.where(first, 0.0, dy)
    family.case(f"{name} x0={text(x0.shape)} x1={text(x1.shape)}", dict(x0=x0, x1=x1, dy=dy, y=y, dx0=dx0, dx1=dx1), "ulps")


def one_input(family, name, function, x):
    x.requires_grad_()
    y = function(x)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    family.case(f"{name} x={text(x.shape)}", dict(x=x, dy=dy, y=y, dx=dx), "ulps")


def copy_gate(family, x):
    dy0, dy1 = real(*x.shape), real(*x.shape)
    x.requires_grad_()
    (x.clone() * dy0 + x.clone() * dy1).sum().backward()
    family.case(f"copy x={text(x.shape)}", dict(x=x, dy0=dy0, dy1=dy1, y0=x, y1=x, dx=x.grad), "ulps")


def gates():
    f = Family("graph_gates")
    pairs = torch.cartesian_prod(torch.tensor([0.0, -0.0, 1.5, -2.0, INF, -INF, NAN]),
                                 torch.tensor([0.0, 1.5, -2.0, INF, -INF, NAN]))
    for name, function in (("add", torch.add), ("mul", torch.mul), ("max", torch.maximum)):
        two_inputs(f, name, function, real(2, 3, 4), real(2, 3, 4))
        two_inputs(f, name, function, pairs[:, 0].clone(), pairs[:, 1].clone())
    two_inputs(f, "max", torch.maximum, torch.randint(-1, 2, (4, 5)).double(), torch.randint(-1, 2, (4, 5)).double())
    for name, function in (("neg", torch.neg), ("exp", torch.exp), ("reciprocal", torch.reciprocal),
                           ("square", torch.square)):
        one_input(f, name, function, real(2, 3, 4))
        one_input(f, name, function, EDGES.clone())
    copy_gate(f, real(2, 5))
    copy_gate(f, real(3))
    f.write()


if __name__ == "__main__":
    gates()
