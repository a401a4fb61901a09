"""Learned reconstruction: masks, SSIM and its companions, Fourier operators of torch, training sets by attribute."""
