"""What some options may be, and numbers that stand in their help."""

FIRST_ORDER = ("sgd", "momentum", "nesterov", "adam", "adamw")
OPTIMIZERS = (*FIRST_ORDER, "lbfgs")
SCHEDULES = ("constant", "step", "exponential", "inverse", "cosine", "onecycle", "snapshot")
PRECISIONS = ("auto", "fp32", "bf16", "fp32/bf16", "bf16/fp32", "fp32/fp16")
BALANCES = ("none", "weights", "sampler")
LR = {"sgd": 3e-2, "momentum": 3e-3, "nesterov": 3e-3, "adam": 1e-3, "adamw": 3e-4}  # Adam's is the lecture's
MAX_VIEWS = 64
MAX_ERROR = 0.05  # share of the sure answers that may be wrong, where nothing else is asked for
TRACKERS = ("tensorboard", "mlflow", "wandb", "aim")  # by the names of their packages
BEST = "best"  # the backbone that is ranked first
BACKBONE, HALF, NOTHING = "backbone", "half", "none"  # what may be frozen, beside the stages up to one
LR_STEPS = 8, 10_000  # at each rate of a search for one; below, a quarter of a short run is a batch
RULES = {  # defaults that depend on other options, or on the images
    "freeze": "none; with auto half, of up to 2,000 images and a pretrained network, but for --snapshots, lbfgs, and "
    "--views with --mixup or --cutmix",
    "epochs": "4 to 20, about 3000 images in all; auto 4, of up to 2,000 images 8, but for --snapshots; of a head "
    "alone 10 to 100; of a network with lbfgs 20, of five steps each",
    "batch_size": "a sixteenth of the images, 4 to 32; with auto a fifth, of up to 2,000 images, but for --snapshots",
    "views": "2 for a head alone, 1 where --augment does not mirror; else 0, or 4 with --freeze STAGE where that "
    "saves much, since what is frozen runs once a view; of a network with lbfgs 4, all in each step, or 1 with "
    "--augment none",
    "val_fraction": "0.2; with auto a third, of up to 2,000 images and a pretrained network, but for --snapshots and "
    "lbfgs",
}
