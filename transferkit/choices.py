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
LR_STEPS = 8, 10_000  # at each rate of a search for one; below, a quarter of a short run is a batch
