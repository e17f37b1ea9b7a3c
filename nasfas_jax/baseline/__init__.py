"""The networks in PyTorch (extra `torch`), for comparison and weight exchange.

They are written from the formulas, in the form that PyTorch users run: a
central difference convolution is two convolutions, a mixed operation a loop. A
module has the name of its Flax counterpart. Feature maps are [N, C, H, W].

In training, PyTorch updates the running variance with the unbiased variance of
the batch, Flax with the biased one, smaller by (n - 1) / n with n = N H W. With
the same stored statistics the two agree: evaluation uses them in the same way,
and training does not read them.
"""
