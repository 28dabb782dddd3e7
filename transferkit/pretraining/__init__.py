"""Training the embedded networks on CIFAR, which fine-tuning never imports."""
