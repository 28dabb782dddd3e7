"""DATA to batches: folder, decode, split, augment, batches."""
