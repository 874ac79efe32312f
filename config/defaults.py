"""Every key that can be set, with its default, unit, range and meaning. Unused means 0, "" or (), never null."""

from __future__ import annotations

from config.node import Config

_C = Config()

_C.VERSION = 1  # of the keys' names; raised by this code alone. In a YAML: the one it was written for; see config/renamed.py
_C.NAME = ""  # name of the run; empty: the stem of the YAML
_C.SEED = 0  # >= 0; of order, augmentation, initial weights, dropout; never of the splits
_C.DETERMINISTIC = False  # ask torch for deterministic kernels (bit-equal repeats on CUDA; slower)
_C.OUTPUT_DIR = ""  # the folder *of runs*; empty: exp

_C.MODEL = Config()
_C.MODEL.NAME = "example_model"  # a name in modeling/models, or torchvision/<name>, or timm/<name>
_C.MODEL.DEVICE = "auto"  # auto (cuda, mps, cpu: whichever is there), cpu, cuda, cuda:1, mps
_C.MODEL.NUM_CLASSES = 0  # >= 0; 0: from the data set; any other number must fit it
_C.MODEL.IN_CHANNELS = 0  # >= 0; channels of an image; 0: from the data set; 3 on grey images repeats their channel
_C.MODEL.HIDDEN = (128,)  # widths of the hidden layers of `mlp`
_C.MODEL.ARGS = {}  # further arguments of the model's class, such as {backbone: lenet, pooling: gem}
_C.MODEL.DROP_PATH = 0.0  # 0 to < 1; stochastic depth, the rate of the deepest block; 0: as the model has it (mostly none)
_C.MODEL.WEIGHTS = ""  # start from these weights: a file, a run, or best:METRIC
_C.MODEL.WEIGHTS_ALLOW = ()  # patterns (fnmatch) of weights that may be missing, unexpected or of another shape
_C.MODEL.FREEZE = ()  # patterns (fnmatch) of the model's weights that stay as they are; loaded: all that MODEL.WEIGHTS filled
_C.MODEL.FREEZE_EPOCHS = 0  # >= 0 epochs after which MODEL.FREEZE ends; 0: never
_C.MODEL.CHANNELS_LAST = False  # memory format of images and convolutions
_C.MODEL.MATMUL_PRECISION = ""  # highest, high, medium: of float32 matrix products (TF32, bf16); empty: as torch has it
_C.MODEL.COMPILE = False  # torch.compile the model and its loss
_C.MODEL.ACTIVATION_CHECKPOINTING = False  # keep no activations within blocks, compute them again: less memory, more time

_C.LOSS = Config()
_C.LOSS.NAME = "cross_entropy"  # a name in modeling/losses
_C.LOSS.ARGS = {}  # further arguments of the loss's class, such as {margin: 0.3}
_C.LOSS.TERMS = ()  # [name, weight] or [name, weight, {argument: value}] lists: their weighted sum, in place of LOSS.NAME
_C.LOSS.LABEL_SMOOTHING = 0.0  # 0 to 1; share of the target spread over all classes
_C.LOSS.CLASS_WEIGHTS = ()  # one weight a class, or () for equal weights
_C.LOSS.FOCAL_GAMMA = 2.0  # >= 0; focal: how much less the samples weigh that are right already; 0: cross entropy

_C.INPUT = Config()
_C.INPUT.SIZE_TRAIN = ()  # pixels, [height, width] or one number for both; (): as the data set has it
_C.INPUT.SIZE_TEST = ()  # the same, for validation and test
_C.INPUT.MIN_SCALE_TRAIN = 0.5  # > 0; least area of RandomResizedCrop as a share of the image
_C.INPUT.MAX_SCALE_TRAIN = 1.2  # > 0; greatest area, cut off at 1
_C.INPUT.PROB = 0.5  # 0 to 1; probability of RandomHorizontalFlip and RandomErasing
_C.INPUT.PADDING = 4  # >= 0 pixels on each side, for PadCrop
_C.INPUT.PIXEL_MEAN = ()  # fractions of full scale, one a channel; (): the data set's own
_C.INPUT.PIXEL_STD = ()  # the same
_C.INPUT.TRANSFORMS_TRAIN = ()  # names, or {Name: {argument: value}}, in order; see data/transforms
_C.INPUT.TRANSFORMS_TEST = ()  # the same, for validation and test
_C.INPUT.MIXUP_ALPHA = 0.0  # >= 0; Beta(alpha, alpha) draws how much of each image enters the mean of two; 0: off
_C.INPUT.CUTMIX_ALPHA = 0.0  # >= 0; the same for the area of a patch from another image; with mixup: one of both a step
_C.INPUT.MIX_PROB = 1.0  # 0 to 1; share of the steps that mixup or cutmix is applied to

_C.DATASETS = Config()
_C.DATASETS.TRAIN = ("mnist",)  # a name in data/datasets, or name:PLACE; a list is joined end to end
_C.DATASETS.VAL = ()  # the same; (): VAL_FRACTION of the training part is held out
_C.DATASETS.TEST = ()  # the same; (): the test part of the training set's name
_C.DATASETS.ROOT = "datasets"  # folder of downloaded data
_C.DATASETS.VAL_FRACTION = 0.1  # 0 to 0.9; stratified; 0: no validation
_C.DATASETS.FOLDS = 0  # 0, or >= 2 parts of the training data, stratified, one of which validates in place of VAL_FRACTION
_C.DATASETS.FOLD = 0  # 0 to FOLDS - 1; the part that validates
_C.DATASETS.SPLIT_SEED = 0  # >= 0; of held-out parts, whatever SEED is
_C.DATASETS.COMBINE_ALL = False  # retrieval: train on query and gallery of the training sets as well
_C.DATASETS.SHARD_WINDOW = 16  # >= 0 shards whose samples are mixed at a time by SAMPLER shuffle; 0: all (reads everywhere)
_C.DATASETS.CACHE_GB = 50.0  # >= 0 GB of copies of remote shards in ROOT/.cache; 0: none, each sample is a request
_C.DATASETS.LIMIT = 0  # >= 0 samples of each split at most; 0: all

_C.DATALOADER = Config()
_C.DATALOADER.LOADER = "auto"  # memory, threads (image files), processes; auto: on the GPU if it fits, else the first that can
_C.DATALOADER.NUM_WORKERS = 0  # >= 0; of files: with auto above 0 so many processes; threads: 0 is one a core; memory: unread
_C.DATALOADER.SAMPLER = "shuffle"  # shuffle, sequential, balanced, identities, cameras, sources; a name in data/samplers.py
_C.DATALOADER.INSTANCES = 4  # >= 2 images of an identity (camera, source) that lie together, for the samplers of these
_C.DATALOADER.REPEATS = 1  # >= 1 times that a sample stands in a step, each time augmented anew; an epoch keeps its length
_C.DATALOADER.DROP_LAST = False  # leave out the short last batch of an epoch
_C.DATALOADER.BAD_SAMPLES = "error"  # error, skip (left out, warned of, counted)
_C.DATALOADER.MAX_BAD = 0.01  # 0 to 1; share of a split's samples that BAD_SAMPLES skip may leave out; more end the run
_C.DATALOADER.TIMEOUT = 300  # >= 0 seconds that a worker may take for a batch; 0: for ever

_C.SOLVER = Config()
_C.SOLVER.OPTIMIZER_NAME = "SGD"  # any class of torch.optim
_C.SOLVER.OPTIMIZER_ARGS = {}  # further arguments of that class, such as {nesterov: true}
_C.SOLVER.MAX_EPOCHS = 10  # >= 1 passes over the training data at most
_C.SOLVER.MAX_STEPS = 0  # >= 0 optimizer steps at most; 0: MAX_EPOCHS alone decides
_C.SOLVER.BASE_LR = 0.01  # > 0; peak learning rate, which the schedule multiplies
_C.SOLVER.LR_SCALING = ""  # linear, sqrt: BASE_LR x (IMS_PER_BATCH / LR_SCALING_BATCH), or its root; empty: as it is
_C.SOLVER.LR_SCALING_BATCH = 0  # >= 0 samples per optimizer step that BASE_LR was tuned for, for LR_SCALING
_C.SOLVER.BIAS_LR_FACTOR = 1.0  # >= 0; the rate of biases over BASE_LR
_C.SOLVER.MOMENTUM = 0.9  # 0 to 1; where the optimizer has it
_C.SOLVER.WEIGHT_DECAY = 0.0005  # >= 0; decay of weights, as the optimizer understands it
_C.SOLVER.WEIGHT_DECAY_BIAS = 0.0  # >= 0; decay of biases
_C.SOLVER.WEIGHT_DECAY_NORM = 0.0  # >= 0; of the weights of normalisation layers
_C.SOLVER.PARAM_GROUPS = ()  # [pattern (fnmatch of the name), factor of the rate, weight decay] lists; the first match wins
_C.SOLVER.NEW_LR_FACTOR = 1.0  # >= 0; the rate of layers that MODEL.WEIGHTS did not fill over BASE_LR
_C.SOLVER.LAYER_DECAY = 1.0  # > 0 to 1; the rate of a block over that of the block after it; 1: all the same
_C.SOLVER.SCHEDULE = "constant"  # constant, multi_step, cosine, one_cycle, polynomial, exponential, plateau
_C.SOLVER.GAMMA = 0.1  # > 0; multi_step, plateau: factor of each fall; exponential: of the whole run
_C.SOLVER.STEPS = ()  # optimizer steps, increasing; where set and SCHEDULE is not, the schedule is multi_step
_C.SOLVER.POWER = 1.0  # > 0; polynomial: (1 - step / steps) to this power
_C.SOLVER.PLATEAU_PATIENCE = 5  # >= 1 validations in a row without a better score, before the rate falls
_C.SOLVER.PLATEAU_THRESHOLD = 0.0  # >= 0; by how much a score must be better, in its own unit
_C.SOLVER.PLATEAU_MIN_LR = 0.0  # >= 0; the rate falls no lower
_C.SOLVER.WARMUP_FACTOR = 0.3333333333333333  # 0 to 1; share of the rate at step 0
_C.SOLVER.WARMUP_ITERS = 0  # >= 0 optimizer steps of warm-up
_C.SOLVER.WARMUP_METHOD = "linear"  # linear, constant
_C.SOLVER.IMS_PER_BATCH = 64  # >= 1 samples per optimizer step, over all ranks
_C.SOLVER.ACCUMULATE = 1  # >= 1 micro-batches that a step's samples are split into
_C.SOLVER.PRECISION = "fp32"  # fp32, bf16, fp16 (CUDA only)
_C.SOLVER.CLIP_NORM = 0.0  # >= 0; greatest norm of the gradient; 0: no clipping
_C.SOLVER.CLIP_VALUE = 0.0  # >= 0; greatest size of each value of the gradient; 0: no clipping
_C.SOLVER.EMA_DECAY = 0.0  # 0 to 1; moving average of the weights, which is what gets evaluated; 0: off
_C.SOLVER.SWA_EPOCHS = 0  # >= 0 last epochs whose weights are averaged (SWA), which is what gets evaluated; 0: off
_C.SOLVER.NONFINITE = "stop"  # stop, skip (the step), rollback (to a checkpoint): what a NaN in loss or gradient does
_C.SOLVER.NONFINITE_LIMIT = 3  # >= 1 steps in a row that are skipped, or rollbacks of a run; one more ends it
_C.SOLVER.ROLLBACK_FACTOR = 0.5  # > 0 to 1; the learning rate after a rollback over that before it
_C.SOLVER.EVAL_PERIOD = 1  # >= 1 epochs between validations
_C.SOLVER.EARLY_STOP = 0  # >= 0 validations without a better score that end the run; 0: off
_C.SOLVER.CHECKPOINT_PERIOD = 10  # >= 1 epochs between epoch_NNNN.pt; last.pt is written every epoch
_C.SOLVER.CHECKPOINT_SECONDS = 0.0  # >= 0 seconds between further last.pt within an epoch; 0: off
_C.SOLVER.CHECKPOINT_ASYNC = True  # write checkpoints beside training, which waits for the copy only (takes host memory)
_C.SOLVER.TOP_K = 0  # >= 0; of epoch_NNNN.pt only the K best and the newest are kept; 0: all
_C.SOLVER.LOG_PERIOD = 50  # >= 1 optimizer steps between log lines

_C.TEST = Config()
_C.TEST.IMS_PER_BATCH = 256  # >= 1 samples of a batch per rank in validation and test
_C.TEST.WEIGHT = ""  # weights for tools/test_net.py without a run
_C.TEST.AT_END = True  # test the best weights when training has ended
_C.TEST.FIGURES = True  # draw the pictures in the run's figures/
_C.TEST.EVALUATOR = "classification"  # classification, regression, multilabel, retrieval; a name in engine/evaluators
_C.TEST.AUGMENT = ()  # hflip, vflip, rot90, five_crop: views of an image whose predictions are averaged with its own
_C.TEST.DISTANCE = "cosine"  # cosine, euclidean: between the features of two images (retrieval)
_C.TEST.RERANK = False  # k-reciprocal re-ranking (retrieval)
_C.TEST.PROTOCOL = "market1501"  # market1501; cuhk03: ranks over drawn galleries of one image an identity (retrieval)
_C.TEST.PRIMARY_METRIC = ""  # the score that selects; empty: the evaluator's first

_C.DISTRIBUTED = Config()
_C.DISTRIBUTED.STRATEGY = "ddp"  # ddp (whole weights on every rank), fsdp (each keeps its part); under torchrun only
_C.DISTRIBUTED.SYNC_BATCHNORM = False  # batch normalisation over the samples of all ranks (CUDA only)
_C.DISTRIBUTED.FIND_UNUSED = False  # allow parameters that a step's loss does not reach (slower)
_C.DISTRIBUTED.TIMEOUT = 600  # > 0 seconds that ranks wait for one that hangs
_C.DISTRIBUTED.MAX_REQUEUES = 20  # >= 0 times that a SLURM job stopped by a signal puts itself into the queue again

_C.DISTILL = Config()
_C.DISTILL.TEACHER = ""  # learn from this run's best weights as well: a run, or best:METRIC; empty: off
_C.DISTILL.WEIGHT = 0.5  # 0 to 1; share of the teacher's part in the loss
_C.DISTILL.TEMPERATURE = 4.0  # > 0; softens both outputs before they are compared

_C.HOOKS = ()  # further hooks by name, in order; see engine/hooks
_C.MIRRORS = ()  # wandb, mlflow, trackio, a name in tracking/mirrors, or {name: {argument: value}}: get a copy of the record

FREE_MAPPINGS = {"MODEL.ARGS", "LOSS.ARGS", "SOLVER.OPTIMIZER_ARGS"}  # keys whose inner names are not ours to check

CHOICES = {
    "DATALOADER.LOADER": ("auto", "memory", "threads", "processes"),
    "DATALOADER.BAD_SAMPLES": ("error", "skip"),
    "MODEL.MATMUL_PRECISION": ("", "highest", "high", "medium"),
    "SOLVER.LR_SCALING": ("", "linear", "sqrt"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.PRECISION": ("fp32", "bf16", "fp16"),
    "SOLVER.NONFINITE": ("stop", "skip", "rollback"),
    "TEST.DISTANCE": ("cosine", "euclidean"),
    "TEST.PROTOCOL": ("market1501", "cuhk03"),
    "DISTRIBUTED.STRATEGY": ("ddp", "fsdp"),
}

# (least, greatest); a least value given as a string, such as ">0", is excluded itself
RANGES: dict[str, tuple[float | str, float]] = {
    "INPUT.MIN_SCALE_TRAIN": (">0", 10),
    "INPUT.MAX_SCALE_TRAIN": (">0", 10),
    "INPUT.PROB": (0, 1),
    "INPUT.MIX_PROB": (0, 1),
    "LOSS.LABEL_SMOOTHING": (0, 1),
    "MODEL.DROP_PATH": (0, 0.999),
    "DISTILL.WEIGHT": (0, 1),
    "DISTILL.TEMPERATURE": (">0", 1e3),
    "SOLVER.LAYER_DECAY": (">0", 1),
    "SOLVER.POWER": (">0", 100),
    "SOLVER.PLATEAU_PATIENCE": (1, 10**9),
    "DATASETS.VAL_FRACTION": (0, 0.9),
    "DATASETS.FOLDS": (0, 1000),
    "SOLVER.BASE_LR": (">0", 1e6),
    "SOLVER.MOMENTUM": (0, 1),
    "SOLVER.GAMMA": (">0", 1e6),
    "SOLVER.WARMUP_FACTOR": (0, 1),
    "SOLVER.EMA_DECAY": (0, 1),
    "SOLVER.MAX_EPOCHS": (1, 10**9),
    "SOLVER.NONFINITE_LIMIT": (1, 10**9),
    "SOLVER.ROLLBACK_FACTOR": (">0", 1),
    "DATALOADER.REPEATS": (1, 10**6),
    "DATALOADER.INSTANCES": (2, 10**6),
    "DATALOADER.MAX_BAD": (0, 1),
    "DATALOADER.NUM_WORKERS": (0, 1000),
    "SOLVER.IMS_PER_BATCH": (1, 10**9),
    "SOLVER.ACCUMULATE": (1, 10**6),
    "SOLVER.EVAL_PERIOD": (1, 10**9),
    "SOLVER.CHECKPOINT_PERIOD": (1, 10**9),
    "SOLVER.LOG_PERIOD": (1, 10**9),
    "TEST.IMS_PER_BATCH": (1, 10**9),
    "DISTRIBUTED.TIMEOUT": (">0", 10**7),
}
DEFAULT_RANGE: tuple[float | str, float] = (0, 1e18)  # of every other number


def get_defaults() -> Config:
    """A fresh, unfrozen copy of the defaults."""
    return _C.clone()
