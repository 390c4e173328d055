"""3x3 convolutions with fewer multiplications.

Winograd's minimal filtering (Lavin and Gray, 2016, section 4): a tile of the output is A^T [(G g G^T) * (B^T d B)] A,
where d is a tile of the input and g the kernel. After nearest upsampling neighbouring inputs are equal, so that one of
six products vanishes in each direction and the input tile is read from the small map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Scheme:
    """Minimal filtering in one direction; a map uses it in both.

    Attributes:
        inputs: B^T (n, cells of the input that a tile reads).
        kernel: G (n, 3).
        outputs: A^T (cells of the output in a tile, n).
        step: cells of the input from one tile to the next.
        scale: cells of the output for one of the input.
    """

    inputs: Matrix
    kernel: Matrix
    outputs: Matrix
    step: int
    scale: int

    @property
    def products(self) -> int:
        """Count multiplications for a tile in one direction: n."""
        return len(self.kernel)


WINOGRAD = Scheme(
    inputs=(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    kernel=(
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    outputs=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    step=4,
    scale=1,
)
"""F(4,3): 6 products for 4 outputs instead of 12."""


UPSAMPLED = Scheme(
    inputs=((4, -5, 1, 0), (0, -8, 2, 0), (0, -3, 3, 0), (0, 1, -1, 0), (0, 4, -5, 1)),
    kernel=tuple(row for number, row in enumerate(WINOGRAD.kernel) if number != 2),
    outputs=tuple(row[:2] + row[3:] for row in WINOGRAD.outputs),
    step=2,
    scale=2,
)
"""F(4,3) of -1, 0, 0, 1, 1, 2, as cells of the small map: the third product is 4a + -4a - b + b = 0."""


class TileConvolution(nn.Module):
    """A 3x3 convolution with zero padding by minimal filtering: (B,D,h,w) -> (B,D',h*scale,w*scale).

    Args:
        conv: 3x3, stride 1, padding 1, one group, with bias.
        scheme: `WINOGRAD`, or `UPSAMPLED` for nearest x2 upsampling followed by `conv`.
    """

    kernel: Tensor
    inputs: Tensor
    outputs: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        inputs, kernel, outputs = (torch.tensor(m, dtype=torch.float64) for m in _matrices(scheme))
        weight = torch.einsum("ia,oqab,jb->ijoq", kernel, conv.weight.detach().double(), kernel).flatten(0, 1)
        self.register_buffer("kernel", weight.float())  # (n*n,D',D)
        filters = torch.einsum("ia,jb->ijab", inputs, inputs).flatten(0, 1)[:, None]  # (n*n,1,k,k)
        self.register_buffer("inputs", filters.float().repeat(conv.in_channels, 1, 1, 1))
        self.register_buffer("outputs", torch.einsum("ia,jb->ijab", outputs, outputs).flatten(0, 1).flatten(1).float())
        assert conv.bias is not None
        self.register_buffer("bias", conv.bias.detach()[:, None, None].clone())

    def forward(self, features: Tensor) -> Tensor:
        """Convolve."""
        step, size, products = self.scheme.step, len(self.scheme.outputs), self.scheme.products**2
        batch, dim, height, width = features.shape
        # One cell of zeros around, and as many more below and right as the last tile may reach over.
        padded = F.pad(features, (1, step, 1, step))
        tiles = F.conv2d(padded, self.inputs, stride=step, groups=dim)  # (B,D*n*n,tiles down,tiles across)
        down, across = tiles.shape[2:]
        tiles = tiles.reshape(batch, dim, products, down * across).transpose(1, 2)
        multiplied = self.kernel @ tiles  # (B,n*n,D',tiles)
        dim = multiplied.shape[2]
        outputs = self.outputs @ multiplied.reshape(batch, products, dim * down * across)
        outputs = outputs.reshape(batch, size, size, dim, down, across).permute(0, 3, 4, 1, 5, 2)
        outputs = outputs.reshape(batch, dim, size * down, size * across)
        return outputs[:, :, : height * self.scheme.scale, : width * self.scheme.scale] + self.bias


def _matrices(scheme: Scheme) -> tuple[Matrix, Matrix, Matrix]:
    return scheme.inputs, scheme.kernel, scheme.outputs


class PhaseConvolution(nn.Module):
    """Nearest x2 upsampling, then a 3x3 convolution, as four 2x2 convolutions of the small map.

    An output cell sees four cells of the small map, some of them several times: their weights are added up. The four
    kinds of output cell (even or odd row and column) share windows, so they are channels of one 2x2 convolution.

    Args:
        conv: 3x3, stride 1, padding 1, one group, with bias.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        above, centre, below = conv.weight.detach().double().unbind(2)  # each (D',D,3)
        rows = (torch.stack([above + centre, below], 2), torch.stack([above, centre + below], 2))
        kernels = []
        for row in rows:  # the lower row of the upper cell, the upper row of the lower cell
            left, middle, right = row.unbind(3)
            kernels += [torch.stack([left + middle, right], 3), torch.stack([left, middle + right], 3)]
        weight = torch.stack(kernels, 1).flatten(0, 1).float()  # (D'*4,D,2,2), ordered as pixel_shuffle wants it
        assert conv.bias is not None
        self.conv = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 2, padding=1)
        self.conv.weight = nn.Parameter(weight)
        self.conv.bias = nn.Parameter(conv.bias.detach().repeat_interleave(4))

    def forward(self, features: Tensor) -> Tensor:
        """Upsample and convolve: (B,D,h,w) -> (B,D',2h,2w)."""
        shuffled = F.pixel_shuffle(self.conv(features), 2)
        return shuffled[:, :, 1:-1, 1:-1]


__all__ = ["UPSAMPLED", "WINOGRAD", "PhaseConvolution", "Scheme", "TileConvolution"]
