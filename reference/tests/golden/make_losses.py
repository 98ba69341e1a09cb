#!/usr/bin/env python3
"""Golden values of softmax and of the losses (see make_golden.py)."""
import torch
import torch.nn.functional as F

from make_golden import Family, INF, NAN, backward, lattice, real, targets, text


def softmax_case(f, name, x, axis=1):
    x.requires_grad_()
    y = getattr(F, name)(x, axis)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    f.case(f"{name} x={text(x.shape)}" + (f" axis={axis}" if axis != 1 else ""),
           dict(x=x, dy=dy, y=y, dx=dx), "real")


def softmaxes():
    f = Family("softmax")
    for name in ("softmax", "log_softmax"):
        softmax_case(f, name, real(3, 5))
        softmax_case(f, name, real(2, 3, 4))
        softmax_case(f, name, real(2, 3, 4), 2)
        softmax_case(f, name, real(3, 2, 2), 0)
        softmax_case(f, name, real(6), 0)
        softmax_case(f, name, real(2, 1, 3))
        softmax_case(f, name, real(0, 3))
        softmax_case(f, name, real(3, 4, scale=400))
        softmax_case(f, name, torch.tensor([[1e308, -1e308, 0.0], [-1e308, -1e308, -1e308]]))
        softmax_case(f, name, torch.tensor([[-INF, 0.5, 1.0], [0.0, -0.0, 0.0]]))
        softmax_case(f, name, torch.tensor([[-INF, -INF], [INF, 1.0], [NAN, 1.0], [2.0, 3.0]]))
    f.write()


def with_reduction(reduction):
    return "" if reduction == "mean" else f" reduction={reduction}"


def nll_case(f, x, target, attributes="", weight=None, reduction="mean", ignore_index=-100):
    x.requires_grad_()
    y = F.nll_loss(x, target, weight, ignore_index=ignore_index, reduction=reduction)
    counted = target[target != ignore_index]
    total = weight[counted].sum() if weight is not None else torch.tensor(float(counted.numel()))
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    problem = f"nll_loss x={text(x.shape)} target={text(target.shape)}"
    problem += f" weight={weight.numel()}" if weight is not None else ""
    problem += with_reduction(reduction) + attributes
    f.case(problem, dict(x=x, target=target, weight=weight, dy=dy, y=y, total_weight=total, dx=dx), "real")


def nll():
    f = Family("nll_loss")
    for reduction in ("mean", "sum", "none"):
        def case(*arguments, **options):
            nll_case(f, *arguments, reduction=reduction, **options)

        case(real(4, 5), targets(5, 4))
        t = targets(4, 3, 5)
        t[torch.rand(t.shape) < 0.3] = -100
        case(real(3, 4, 5), t, "", real(4))
        case(real(2, 4, 3, 4), targets(4, 2, 3, 4), " ignore_index=2", real(4), ignore_index=2)  # a class
        t = targets(3, 2, 1, 2, 2)
        t[0, 0, 1, 1] = 9
        case(real(2, 3, 1, 2, 2), t, " ignore_index=9", ignore_index=9)  # no class
        case(real(3, 4), torch.full((3,), -100))  # nothing counts
        case(real(3, 2), torch.zeros(3, dtype=torch.long), "", torch.tensor([0.0, 1.0]))  # 0/0
        case(real(2, 2), torch.tensor([0, 1]), "", torch.tensor([1.0, -1.0]))  # the weights cancel
        case(real(4, 3), torch.tensor([0, 1, 2, 0]), "", torch.tensor([-1.0, -2.0, 0.5]))  # negative total
        x = torch.tensor([[-INF, -1.0], [-INF, -2.0], [NAN, -0.0]])
        case(x, torch.tensor([1, -100, 1]))  # not reached
        x = torch.tensor([[-INF, -1.0], [-2.0, -3.0]])
        case(x.clone(), torch.tensor([0, 1]), "", torch.tensor([0.0, 1.0]))  # 0·∞
        case(x, torch.tensor([0, 1]))
        case(real(0, 3), targets(3, 0))
    f.write()


def hinge_case(f, x, target, reduction):
    x.requires_grad_()
    classes = x.shape[1]
    y = F.multi_margin_loss(x, target, reduction=reduction) * classes
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    f.case(f"multiclass_hinge x={text(x.shape)} target={text(target.shape)}" + with_reduction(reduction),
           dict(x=x, target=target, dy=dy, y=y, dx=dx), "real")


def hinges():
    f = Family("multiclass_hinge")
    # the worked example of CS231n, lecture 3: losses 2.9, 0, 12.9
    scores = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    for reduction in ("mean", "sum", "none"):
        hinge_case(f, scores.clone(), torch.tensor([0, 1, 2]), reduction)
        hinge_case(f, real(4, 5), targets(5, 4), reduction)
        at_the_kinks = torch.tensor([[1.0, 2.0, 0.0, 0.0], [3.0, 2.0, 2.0, 4.0]])
        hinge_case(f, at_the_kinks, torch.tensor([1, 0]), reduction)
        hinge_case(f, real(3, 1), targets(1, 3), reduction)
        hinge_case(f, torch.tensor([[1e308, 0.0], [-INF, 1.0]]), torch.tensor([0, 1]), reduction)
    x = torch.tensor([[NAN, 1.0, 0.0], [1.0, 2.0, 0.0]], requires_grad=True)
    # multi_margin_loss compares and so loses a NaN; what is meant comes from the formula
    margins = x[:, :1] * 0 + x - x[:, 1:2] + 1
    y = torch.stack([margins[0, 0] + 0, margins[1, 0].clamp(min=0) + margins[1, 2].clamp(min=0)])
    dx = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    f.case("multiclass_hinge x=2x3 target=2 reduction=none",
           dict(x=x, target=torch.tensor([1, 1]), dy=torch.ones(2), y=y, dx=dx), "real")
    f.write()


def loss_case(f, name, function, x, target, attributes="", reduction="mean", kind="real", **more):
    x.requires_grad_()
    y = function(x, target, reduction=reduction, **more)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    named = dict(x=x, target=target, **{k: v for k, v in more.items() if isinstance(v, torch.Tensor)})
    shapes = " ".join(f"{key}={text(value.shape)}" for key, value in named.items())
    f.case(f"{name} {shapes}" + with_reduction(reduction) + attributes, dict(named, dy=dy, y=y, dx=dx), kind)


def unit(*shape):
    return torch.round(torch.rand(shape) * 1000) / 1000


def distances(f, reduction):
    pairs = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-300, 1e200, 4.0, -4.0])
    against = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 1.0, -1e-300, 1e200, 2.0, -2.0])
    for name, function, attributes, options in (
            ("mse", F.mse_loss, "", {}), ("l1", F.l1_loss, "", {}), ("smooth_l1", F.smooth_l1_loss, "", {}),
            ("smooth_l1", F.smooth_l1_loss, " beta=2", dict(beta=2.0)),
            ("smooth_l1", F.smooth_l1_loss, " beta=0", dict(beta=0.0)),
            ("huber", F.huber_loss, "", {}), ("huber", F.huber_loss, " delta=2", dict(delta=2.0))):
        loss_case(f, name, function, real(2, 3, 4), real(2, 3, 4), attributes, reduction, **options)
        # smooth_l1 with beta=0 has gradient -1 at equality in torch, where its l1 has 0
        keep = (pairs != against) | torch.tensor(attributes != " beta=0")
        loss_case(f, name, function, pairs[keep], against[keep], attributes, reduction, **options)
        if reduction == "none":
            loss_case(f, name, function, torch.tensor([INF, -INF, NAN]), torch.tensor([1.0, 2.0, 3.0]),
                      attributes, reduction, **options)
        if not attributes:
            loss_case(f, name, function, real(0, 3), real(0, 3), attributes, reduction, **options)


def binary(f, reduction):
    def case(x, target, **more):
        loss_case(f, "bce_with_logits", F.binary_cross_entropy_with_logits, x, target, "", reduction, **more)

    case(real(2, 3, 4), unit(2, 3, 4))
    case(real(3, 4), torch.randint(0, 2, (3, 4)).double(), weight=real(3, 4), pos_weight=real(4).abs())
    case(real(2, 2, 3), unit(2, 2, 3), pos_weight=real(3).abs())
    case(real(5), unit(5), weight=real(5))
    far = torch.tensor([-800.0, 800.0, -40.0, 40.0, 0.0, -0.0])
    case(far.clone(), torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5, 1.0]))
    case(-far, torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5, 1.0]), pos_weight=torch.tensor([2.0] * 6))
    if reduction == "none":
        case(torch.tensor([NAN, 1e300, -1e300]), torch.tensor([0.5, 0.0, 1.0]))


def divergences(f, reduction):
    def case(x, target, attributes="", **more):
        loss_case(f, "kl_div", F.kl_div, x, target, attributes, reduction, **more)

    case(F.log_softmax(real(3, 4), 1).detach(), F.softmax(real(3, 4), 1))
    case(real(2, 3, 2), real(2, 3, 2), " log_target=true", log_target=True)
    case(real(2, 3), torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]))
    if reduction == "none":  # where torch has 0·∞ = NaN, nothing is lost by a probability of 0
        x = torch.tensor([-INF, -INF, NAN, 1.0])
        t = torch.tensor([0.0, 0.5, 0.5, 0.0])
        f.case("kl_div x=4 target=4 reduction=none",
               dict(x=x, target=t, dy=torch.ones(4), y=torch.tensor([0.0, INF, NAN, 0.0]), dx=-t), "real")


def probabilities(f, reduction):
    def case(x, target, attributes="", weight=None, smoothing=0.0):
        x.requires_grad_()
        y = F.cross_entropy(x, target, weight, reduction=reduction, label_smoothing=smoothing)
        dy = real(*y.shape)
        dx, = backward(y, dy, x)
        problem = f"cross_entropy x={text(x.shape)} target={text(target.shape)}"
        problem += (f" weight={weight.numel()}" if weight is not None else "") + with_reduction(reduction)
        f.case(problem + attributes + " targets=probabilities",
               dict(x=x, target=target, weight=weight, dy=dy, y=y, dx=dx), "real")

    case(real(4, 5), F.softmax(real(4, 5), 1))
    case(real(2, 3, 4), unit(2, 3, 4), "", real(3))  # need not sum to 1
    case(real(2, 3, 2, 2), F.softmax(real(2, 3, 2, 2), 1), " label_smoothing=0.2", real(3).abs(), 0.2)
    case(real(3, 4, scale=400), F.one_hot(targets(4, 3), 4).double())
    case(torch.tensor([[-INF, 1.0], [1.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]]))  # 0·∞


def penalties(f):
    for weight, attributes, factor in ((real(3, 4), "", 1e-4), (lattice(2, 2, 3), " lambda=0.5", 0.5),
                                       (real(7), " lambda=-2", -2.0), (real(0, 3), "", 1e-4)):
        weight.requires_grad_()
        y = factor * (weight * weight).sum()
        dy = real()
        dweight, = backward(y, dy, weight)
        f.case(f"l2_regularisation weight={text(weight.shape)}{attributes}",
               dict(weight=weight, dy=dy, y=y, dweight=dweight), "real")


def losses():
    f = Family("losses")
    for reduction in ("mean", "sum", "none"):
        distances(f, reduction)
        binary(f, reduction)
        divergences(f, reduction)
        probabilities(f, reduction)
    divergences(f, "batchmean")
    penalties(f)
    f.write()


if __name__ == "__main__":
    softmaxes()
    nll()
    hinges()
    losses()
