"""Three-dimensional segmentation: BraTS files, patches, sliding window, Dice, the trivial baseline."""
