"""Published figures on Example-FAS: (mean, deviation over folds), percent."""

PUBLISHED = {
  'example_fas/official': {'Example-Net': {'acer': (12.5, 0)}},
  'example_fas/cross_room': {'Example-Net': {'hter': (25.0, 1.5)}},
}
