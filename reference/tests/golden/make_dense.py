#!/usr/bin/env python3
"""Golden values of matmul from torch, and of one training step of perceptron and adaline: the forward from the books'
formulas in NumPy, the gradients by torch's autograd of the same lines; see make_golden.py."""
import torch

from make_golden import Family, lattice, real, text, backward


def product(family, x, w, kind="exact"):
    x.requires_grad_()
    w.requires_grad_()
    y = x @ w
    dy = lattice(*y.shape) if kind == "exact" else real(*y.shape)
    dx, dw = backward(y, dy, x, w)
    family.case(f"matmul x={text(x.shape)} w={text(w.shape)}", dict(x=x, w=w, dy=dy, y=y, dx=dx, dw=dw), kind)


def lecture(family):
    """The worked example, with the y that the lecture misprints."""
    x = torch.tensor([[2.0, 1, -3], [-3, 4, 2]])
    w = torch.tensor([[3.0, 2, 1, -1], [2, 1, 3, 2], [3, 2, 1, -2]])
    dy = torch.tensor([[2.0, 3, -3, 9], [-8, 1, 4, 6]])
    y = torch.tensor([[-1.0, -1, 2, 6], [5, 2, 11, 7]])
    dx = torch.tensor([[0.0, 16, -9], [-24, 9, -30]])
    dw = torch.tensor([[28.0, 3, -18, 0], [-30, 7, 13, 33], [-22, -7, 17, -15]])
    family.case("matmul x=2x3 w=3x4", dict(x=x, w=w, dy=dy, y=y, dx=dx, dw=dw))


def step(family, name, x, weight, bias, target, rate):
    parameters = [t.requires_grad_() for t in (x, weight, bias, target)]
    s = (weight * x).sum() + bias
    prediction = (s > 0).double() if name == "perceptron" else s
    updated_weight, updated_bias = weight + rate * (target - prediction) * x, bias + rate * (target - prediction)
    outputs = dict(prediction=prediction, updated_weight=updated_weight, updated_bias=updated_bias)
    cotangents = {"d" + key: lattice(*value.shape) for key, value in outputs.items()}
    torch.autograd.backward([t for t in outputs.values() if t.requires_grad],
                            [cotangents["d" + key] for key, t in outputs.items() if t.requires_grad])
    gradients = dict(zip(("dx", "dweight", "dbias", "dtarget"), (p.grad for p in parameters)))
    problem = f"{name} x={x.numel()} weight={x.numel()} bias=1 target=1 rate={rate}"
    family.case(problem, dict(x=x, weight=weight, bias=bias, target=target, **outputs, **cotangents, **gradients), "real")


def dense():
    f = Family("dense")
    lecture(f)
    product(f, lattice(4, 5), lattice(5, 3))
    product(f, lattice(1, 7), lattice(7, 1))
    product(f, lattice(0, 3), lattice(3, 2))
    product(f, real(5, 33), real(33, 7), "real")
    for name in ("perceptron", "adaline"):
        for target in (0.0, 1.0):
            for rate in (1, 0.125):
                step(f, name, lattice(5), lattice(5), lattice(1), torch.tensor([target]), rate)
        # s = 0 is not above 0: the perceptron predicts 0
        step(f, name, torch.tensor([1.0, 2.0]), torch.tensor([2.0, -1.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.5)
    step(f, "adaline", lattice(3), lattice(3), lattice(1), lattice(1), -0.3)
    f.write()


if __name__ == "__main__":
    dense()
