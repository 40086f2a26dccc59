"""Dropout (Srivastava et al. 2014)."""

from torch import Tensor, nn

from lit_transformer.components.cpu_kernels import DROPOUT_LEVELS, DropoutFunction


class Dropout(nn.Module):
    """Zeroes elements of (..., D) with probability `p` in training and divides the others by 1 - p.

    p is rounded to a multiple of 2^-16, at most 1 - 2^-16; see `cpu_kernels.DropoutFunction`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.level = min(round(p * DROPOUT_LEVELS), DROPOUT_LEVELS - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.level == 0:
            return x
        y: Tensor = DropoutFunction.apply(x, self.level)
        return y

    def extra_repr(self) -> str:
        return f"p={self.level / DROPOUT_LEVELS:g}"
