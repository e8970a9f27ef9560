"""What a backend measures of a pair of masks: voxel counts, surface distances, and the records they come in."""
