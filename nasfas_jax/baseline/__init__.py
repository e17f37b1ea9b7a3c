"""The networks in PyTorch (extra `torch`), to compare with and bring weights.

Written from the formulas, in the form that PyTorch users run: a central
difference convolution is two convolutions, a mixed operation is a loop. A
module has the name of its Flax counterpart. Feature maps are [N, C, H, W].

The running variance: PyTorch stores that of the sample, Flax that of the batch
itself, smaller by (n - 1) / n with n = N H W. What is stored means the same to
both: in evaluation the two agree, and in training neither reads it.
"""
