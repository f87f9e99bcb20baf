import optuna
import torch

# two threads fight over tiny matrices; one is quicker and the same everywhere
torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.WARNING)
