"""Augmentation: batched, per sample, on the device, for any number of bands."""

# The operations are our own, since neither library does what an ablation on Earth-observation images needs:
# - torchvision.transforms.v2 (0.29) draws one set of parameters a call, so a whole batch is turned by one angle and
#   mixed by one lambda; it draws from the global random state; hue, saturation and parts of RandAugment and
#   TrivialAugment want 1 or 3 bands in [0, 1] or bytes.
# - kornia (0.9) draws per sample, but from the global state only (a `generator=` is refused or ignored), and its
#   photometric operations clamp to [0, 1], which cuts real reflectance; its ColorJiggle wants 3 bands.
# Neither fuses a rotation, a crop and a shift into one interpolation. What torch has is used: `affine_grid`,
# `grid_sample`, `lerp`.
