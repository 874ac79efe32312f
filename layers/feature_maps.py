"""Features of transformers as maps, B x C x H x W, as convolutions give them."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelsToFront(nn.Module):
    """B x H x W x C -> B x C x H x W."""

    def forward(self, x: Tensor) -> Tensor:
        """A view with the axes in another order."""
        return x.permute(0, 3, 1, 2)


class TokensToMap(nn.Module):
    """B x (first + H * W) x C -> B x C x H x W.

    Args:
        first: tokens before those of the image, such as a class token; they are left out.
        grid: (H, W), or None: H is the number of tokens and W 1.
    """

    def __init__(self, first: int, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.first, self.grid = first, grid

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, row after row, as a map."""
        tokens = x[:, self.first :].transpose(1, 2)
        return tokens.unflatten(2, self.grid or (tokens.shape[2], 1))
