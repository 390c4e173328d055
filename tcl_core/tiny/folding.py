"""A frozen convolutional trunk without BatchNorm: less to compute, and less to keep for the gradient of its input."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class _OverwritingReLU6(torch.autograd.Function):
    """ReLU6 in place. PyTorch's own copies its input for the gradient, which can be told from the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp_(0, 6)
        ctx.mark_dirty(y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], y, 0.0, 6.0)
        return passed


class _LeanReLU6(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _OverwritingReLU6.apply(x)
        return y


def fold_norms(module: nn.Module) -> None:
    """Fold every BatchNorm, in evaluation mode, into the convolution before it; its activation stays.

    For timm's blocks, which list convolution and norm in the order in which they run.
    """
    from timm.layers.norm_act import BatchNormAct2d

    before: tuple[str, nn.Module] = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, BatchNormAct2d) and isinstance(before[1], nn.Conv2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, _LeanReLU6() if isinstance(child.act, nn.ReLU6) else child.act)
        else:
            fold_norms(child)
        before = (name, child)


__all__ = ["fold_norms"]
