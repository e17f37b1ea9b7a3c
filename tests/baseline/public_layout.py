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


def fuse(outputs):
  return torch.cat(
    [nn.Upsample((4, 4), mode='bilinear')(x) for x in outputs], dim=1
  )


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
  def __init__(self):
    super().__init__()
    # With 6 channels: int(1.6 * 6), int(1.2 * 6), int(1.4 * 6).
    self.conv1 = layers(3, 4, 6)
    self.Block1 = layers(6, 9, 6, pool=True)
    self.Block2 = layers(6, 7, 6, 8, 6, pool=True)
    self.Block3 = layers(6, 6, 7, 6, pool=True)
    self.sa1, self.sa2, self.sa3 = Attention(7), Attention(5), Attention(3)
    self.lastconv1 = layers(18, 4)
    self.lastconv2 = nn.Sequential(HeldConv(4, 1), nn.ReLU())

  def forward(self, x):
    outputs = [self.Block1(self.conv1(x))]
    outputs.append(self.Block2(outputs[-1]))
    outputs.append(self.Block3(outputs[-1]))
    gates = (self.sa1, self.sa2, self.sa3)
    x = fuse([gate(x) for gate, x in zip(gates, outputs, strict=True)])
    return self.lastconv2(self.lastconv1(x)).squeeze(1)
