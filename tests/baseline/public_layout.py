"""Networks laid out and named as in the public CDCN code, from its tables."""

import torch
from torch import nn
from torch.nn import functional


class HeldConv(nn.Module):
  """A central difference convolution, folded, that holds a `conv`."""

  def __init__(self, in_features, features):
    super().__init__()
    self.conv = nn.Conv2d(in_features, features, 3, padding=1, bias=False)

  def forward(self, x):
    centre = torch.zeros(3, 3)
    centre[1, 1] = 0.7
    total = self.conv.weight.sum((2, 3), keepdim=True)
    folded = self.conv.weight - centre * total
    return functional.conv2d(x, folded, padding=1)


class Attention(nn.Module):
  def __init__(self, window):
    super().__init__()
    self.conv1 = nn.Conv2d(2, 1, window, padding=window // 2, bias=False)

  def forward(self, x):
    both = torch.cat([x.mean(1, True), x.max(1, True)[0]], dim=1)
    return x * torch.sigmoid(self.conv1(both))


def layers(*widths, pool=False):
  parts = []
  for before, after in zip(widths, widths[1:], strict=False):
    parts += [HeldConv(before, after), nn.BatchNorm2d(after), nn.ReLU()]
  if pool:
    parts.append(nn.MaxPool2d(3, 2, 1))
  return nn.Sequential(*parts)


def fuse(outputs, side=4):
  resize = nn.Upsample((side, side), mode='bilinear')
  return torch.cat([resize(x) for x in outputs], dim=1)


class PublicCDCN(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv1 = layers(3, 4)
    for i in (1, 2, 3):
      setattr(self, f'Block{i}', layers(4, 4, 6, 4, pool=True))
    self.lastconv1 = layers(12, 4)
    self.lastconv2 = layers(4, 2)
    self.lastconv3 = nn.Sequential(HeldConv(2, 1), nn.ReLU())

  def forward(self, x):
    outputs = [self.Block1(self.conv1(x))]
    outputs.append(self.Block2(outputs[-1]))
    outputs.append(self.Block3(outputs[-1]))
    x = self.lastconv2(self.lastconv1(fuse(outputs)))
    return self.lastconv3(x).squeeze(1)


class PublicCDCNpp(nn.Module):
  """CDCN++ as a description of the public code has it.

  conv1: 3 to 64. Block1: 128, 204, 128. Block2: 128 to 153, 128, 179, 128.
  Block3: 128, 153, 128. lastconv1: 384 to 128, then 128 to 1 at place 3. The
  second size has 80 and 160 for 64 and 128.
  """

  def __init__(self, stem=64, width=128, map_size=32):
    super().__init__()
    self.map_size = map_size
    wide, small, middle = (int(width * r) for r in (1.6, 1.2, 1.4))
    self.conv1 = layers(3, stem)
    self.Block1 = layers(stem, width, wide, width, pool=True)
    self.Block2 = layers(width, small, width, middle, width, pool=True)
    self.Block3 = layers(width, width, small, width, pool=True)
    self.lastconv1 = nn.Sequential(
      *layers(3 * width, width), HeldConv(width, 1), nn.ReLU()
    )
    self.sa1, self.sa2, self.sa3 = Attention(7), Attention(5), Attention(3)

  def forward(self, x):
    outputs = [self.Block1(self.conv1(x))]
    outputs.append(self.Block2(outputs[-1]))
    outputs.append(self.Block3(outputs[-1]))
    gates = (self.sa1, self.sa2, self.sa3)
    outputs = [gate(x) for gate, x in zip(gates, outputs, strict=True)]
    return self.lastconv1(fuse(outputs, self.map_size)).squeeze(1)
