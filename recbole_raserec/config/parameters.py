"""The table of all parameters: default, types, range, meaning, source, and what each parameter affects.

The yaml files of properties/ hold the same defaults. Users read and edit those files. A test compares the two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recbole_raserec.config import ranges
from recbole_raserec.config.rows import Parameter

_NONE = type(None)
_TEXT, _DICT, _NAMES, _INTERVAL = (str, _NONE), (dict, _NONE), (str, list, tuple, _NONE), (str, list, _NONE)
_NUMBER, _NUMBERS, _SHARES = (float, int, _NONE), (float, int, list, tuple, _NONE), (float, list, tuple, _NONE)

# The protocol of every result with split=leave_one_out. RecBole has no name for that of split=time.
_EVAL_ARGS = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
_LOAD_COL, _PARTS = {"inter": ["user_id", "item_id", "timestamp"]}, ["original", "patterns", "decoded"]

# A key gives its rows their part and their source. Its third entry is what a row affects if the row does not say it.
_TABLE: dict[tuple[str, str, str], tuple[Parameter, ...]] = {
    ("backbone", "RecBole", "rows"): (
        Parameter("backbone", "SASRec", "The model that is pre-trained and then frozen.", architecture=True),
        Parameter("hidden_size", 64, "D, the width of item and user vectors.", ranges.COUNT, architecture=True),
        Parameter("n_layers", 2, "Transformer layers.", ranges.COUNT, architecture=True),
        Parameter("n_heads", 2, "Attention heads; they divide hidden_size.", ranges.COUNT, architecture=True),
        Parameter("inner_size", 256, "Width of the feed-forward layer.", ranges.COUNT, architecture=True),
        Parameter("hidden_act", "gelu", "Activation of the feed-forward layer.", ranges.ACTIVATION, architecture=True),
        Parameter("hidden_dropout_prob", 0.5, "Dropout of embeddings and layer outputs.", ranges.BELOW_ONE),
        Parameter("attn_dropout_prob", 0.5, "Dropout of attention weights.", ranges.BELOW_ONE),
        Parameter("layer_norm_eps", 1e-12, "Added to the variance in layer normalisation.", ranges.POSITIVE),
        Parameter("initializer_range", 0.02, "Standard deviation of the initial weights.", ranges.POSITIVE),
        Parameter("loss_type", "CE", "Cross entropy over the items. No other value is taken."),
    ),
    ("backbone", "BSARec", "rows"): (
        Parameter("average_weight", 0.0, "Fraction of a moving average in a layer.", ranges.SHARE, architecture=True),
        Parameter("average_window", 10, "Positions of the average or filter.", ranges.COUNT, architecture=True),
        Parameter("average_form", "mean", "mean, filter, or fourier.", ranges.AVERAGES, architecture=True, newer=True),
    ),
    ("backbone", "DuoRec", "rows"): (
        Parameter("contrast_weight", 0.5, "Weight of the contrastive loss.", ranges.NOT_NEGATIVE),
        Parameter("contrast_tau", 8.0, "Temperature of the contrastive loss.", ranges.POSITIVE),
    ),
    ("backbone", "here", "rows"): (
        Parameter("score_tau", 0.0, "Above 0: scores are cosines divided by it.", ranges.SCORE_TAU, architecture=True),
        Parameter(
            "embedding_dropout_prob", None, "None: as hidden_dropout_prob.", ranges.DROPOUT, types=_NUMBER, newer=True
        ),
    ),
    ("data", "RecBole", "rows"): (
        Parameter("model", None, "RaSeRec.", types=_TEXT),
        Parameter("dataset", None, "Name of the data set and of its folder in data_path.", types=_TEXT),
        Parameter("load_col", _LOAD_COL, "Fields to read; None reads all.", types=_DICT),
        Parameter("unload_col", None, "Fields not to read.", types=_DICT),
        Parameter("user_inter_num_interval", "[0,inf)", "Interactions that a user must have.", types=_INTERVAL),
        Parameter("item_inter_num_interval", "[0,inf)", "Interactions that an item must have.", types=_INTERVAL),
        Parameter(
            "MAX_ITEM_LIST_LENGTH", 50, "Most items of a history that are read.", ranges.COUNT, architecture=True
        ),
        Parameter("benchmark_filename", None, "Files that are split already.", fixed=True),
        Parameter("data_path", "dataset/", "Folder of the data sets.", affects="nothing"),
    ),
    ("data", "here", "rows"): (
        Parameter("split", "leave_one_out", "leave_one_out, or time.", ranges.SPLIT, newer=True),
        Parameter("time_shares", [0.8, 0.1, 0.1], "Shares of its three parts.", types=_SHARES, newer=True),
    ),
    ("training", "RecBole", "rows"): (
        Parameter("epochs", 300, "Most epochs of the backbone.", ranges.COUNT, affects="backbone"),
        Parameter("stopping_step", 10, "Patience, in validations.", ranges.NOT_NEGATIVE, affects="backbone"),
        Parameter("eval_step", 1, "Epochs between two validations.", ranges.COUNT),
        Parameter("train_batch_size", 2048, "(prefix, target) pairs in a training step.", ranges.COUNT),
        Parameter("learner", "adam", "Optimiser.", ranges.LEARNER),
        Parameter("learning_rate", 0.001, "Size of the backbone's steps.", ranges.POSITIVE),
        Parameter("weight_decay", 0.0, "L2 penalty of the optimiser.", ranges.NOT_NEGATIVE),
        Parameter("clip_grad_norm", None, "Arguments of torch's clip_grad_norm_.", types=_DICT),
        Parameter("reg_weight", None, "L2 penalty of some backbones."),
        Parameter("seed", 2020, "Seed of everything random.", ranges.SEED),
        Parameter("train_neg_sample_args", None, "Negative sampling.", types=_DICT, fixed=True),
        Parameter("transform", None, "Change of training batches that some backbones need.", fixed=True),
        Parameter("shuffle", True, "Training pairs come in random order.", fixed=True),
        Parameter("enable_amp", False, "Training with bfloat16 autocast."),
        Parameter("enable_scaler", False, "Scaled gradients for mixed precision.", fixed=True),
    ),
    ("training", "here", "rows"): (
        Parameter(
            "window_stride", "auto", "New positions that each further window trains on.", ranges.STRIDE, (int, str)
        ),
        Parameter("ema_decay", 0.0, "Decay per step of the weights' average; 0 is off.", ranges.BELOW_ONE),
        Parameter("softmax_negatives", -1, "Items that a softmax samples; 0 all, -1 automatic.", ranges.at_least(-1)),
    ),
    ("regeneration", "DR4SR", "rows"): (
        Parameter("regenerate", None, "DR4SR or DR4SR+.", types=_TEXT, affects="backbone"),
        Parameter("regenerate_parts", _PARTS, "What to train on.", types=_NAMES, affects="backbone"),
        Parameter("pattern_window", 5, "Consecutive positions that a pattern may span.", ranges.at_least(2)),
        Parameter("pattern_min_support", 2, "Training sequences that a pattern must occur in.", ranges.COUNT),
        Parameter("pattern_pairs", 10, "Most patterns that a sequence is paired with.", ranges.COUNT),
        Parameter("pattern_weight", 1.0, "Weight of a pattern's pairs.", ranges.NOT_NEGATIVE, affects="backbone"),
        Parameter("regenerator_pretrained", None, "Checkpoint to start from.", types=_TEXT, affects="nothing"),
        Parameter("regenerator_embedding_epochs", 10, "Epochs of its item vectors without a checkpoint.", ranges.COUNT),
        Parameter("regenerator_epochs", 40, "Epochs of the regenerator.", ranges.COUNT),
        Parameter("regenerator_learning_rate", 0.001, "Peak size of its steps.", ranges.POSITIVE),
        Parameter("regenerator_batch_size", 256, "(sequence, pattern) pairs in a step.", ranges.COUNT),
        Parameter("regenerator_n_layers", 2, "Layers of each of its three Transformers.", ranges.COUNT),
        Parameter("regenerator_n_heads", 2, "Attention heads; they divide hidden_size.", ranges.COUNT),
        Parameter("regenerator_inner_size", 256, "Width of the feed-forward layers.", ranges.COUNT),
        Parameter("regenerator_dropout_prob", 0.5, "Dropout of embeddings and layers.", ranges.BELOW_ONE),
        Parameter("regenerator_diversity", 5, "K', rows that are decoded from a sequence.", ranges.COUNT),
        Parameter("regenerator_entropy_weight", 1.0, "Weight of the mixture's entropy.", ranges.NOT_NEGATIVE),
        Parameter("decode_gamma", 1.0, "Probability that a token may be any item.", ranges.SHARE),
        Parameter("decode_max_length", 25, "Most items of a decoded row.", ranges.at_least(2)),
        Parameter("decode_weight", 1.0, "Weight of a decoded row's pairs.", ranges.NOT_NEGATIVE, affects="backbone"),
    ),
    ("regeneration", "DR4SR+", "backbone"): (
        Parameter("personalize_warmup_epochs", 10, "Epochs before weights are learned.", ranges.NOT_NEGATIVE),
        Parameter("personalize_every", 30, "Training steps between two updates of the weights.", ranges.COUNT),
        Parameter("personalize_learning_rate", 0.001, "Size of the weights' updates.", ranges.POSITIVE),
        Parameter("personalize_terms", 3, "Terms of the Neumann series after the first.", ranges.NOT_NEGATIVE),
    ),
    ("retrieval", "RaSeRec 3.2", "memory"): (
        Parameter("memory", ["pairs"], "What the bank holds: pairs, patterns or both.", types=_NAMES),
        Parameter("top_k", 20, "K, memories that the attention reads.", ranges.COUNT, affects="finetune"),
    ),
    ("retrieval", "FAISS", "memory"): (
        Parameter("index_factory", "Flat", "Factory string of the index, auto or lists; Flat is exact."),
        Parameter("index_nprobe", 16, "Lists that an IVF index visits.", ranges.COUNT),
        Parameter("index_recall", 0.0, "Recall that the effort is tuned to; 0 is off.", ranges.SHARE, newer=True),
    ),
    ("augmentation", "RaSeRec 3.3, 3.4", "finetune"): (
        Parameter("alpha", 0.5, "h~ = alpha h + (1 - alpha) h'.", ranges.SHARE),
        Parameter("beta", 1.0, "h' = beta branch(H, V) + (1 - beta) branch(V, H).", ranges.SHARE),
        Parameter("cross_heads", 2, "Heads of the cross attention; they divide hidden_size.", ranges.COUNT),
        Parameter("cross_inner_size", 256, "Width of the layer between the attentions.", ranges.COUNT),
        Parameter("cross_dropout_prob", 0.5, "Dropout of the attention's weights and outputs.", ranges.BELOW_ONE),
        Parameter("cross_initializer_range", 0.02, "Standard deviation of its initial weights.", ranges.POSITIVE),
        Parameter("cross_layer_norm_eps", 1e-12, "Added to its variance in normalisation.", ranges.POSITIVE),
        Parameter("attn_tau", 1.0, "Temperature that divides the attention's logits.", ranges.POSITIVE),
    ),
    ("mixture", "here", "mixture"): (
        Parameter(
            "mixture_weight", [0.0, 0.05, 0.1], "l of the mixture; validation chooses from a list.", types=_NUMBERS
        ),
        Parameter("mixture_tau", [0.2], "Temperatures of the memories' cosines.", types=_NUMBERS),
        Parameter("mixture_popularity_exponent", [0.0], "b; votes / (1 + count)^b.", types=_NUMBERS, newer=True),
        Parameter("mixture_top_k", 20, "Memories that the mixture reads.", ranges.COUNT),
    ),
    ("safeguard", "here", "mixture"): (
        Parameter("safeguard", True, "Use memories only as far as validation shows no loss.", newer=True, before=False),
        Parameter(
            "retrieval_strength", [0.25, 0.5, 1.0], "s of h + s (h~ - h).", types=_NUMBERS, newer=True, before=[1.0]
        ),
    ),
    ("safeguard", "arXiv 2007.07314", "mixture"): (
        Parameter(
            "popularity_adjustment",
            [0.0, 0.1, 0.2],
            "Scores lose this times log(1 + count of the item).",
            types=_NUMBERS,
            newer=True,
            before=[0.0],
        ),
    ),
    ("fine-tuning", "here", "finetune"): (
        Parameter(
            "finetune_popularity_exponent", 0.0, "c; a pair weighs (count of its target)^-c.", ranges.SHARE, newer=True
        ),
    ),
    ("fine-tuning", "RaSeRec", "finetune"): (
        Parameter("finetune_epochs", 50, "Most epochs of fine-tuning.", ranges.COUNT),
        Parameter("finetune_learning_rate", 0.001, "Size of Adam's steps.", ranges.POSITIVE),
        Parameter("finetune_batch_size", 1024, "(prefix, target) pairs in a step.", ranges.COUNT),
        Parameter("finetune_stopping_step", 10, "Patience, in validations.", ranges.NOT_NEGATIVE),
    ),
    ("evaluation", "RecBole", "rows"): (
        Parameter("eval_args", _EVAL_ARGS, "Leave-one-out, all items ranked. The only other protocol is `split=time`."),
        Parameter("metrics", ["Recall", "NDCG"], "Ranking metrics.", types=_NAMES),
        Parameter("topk", [5, 10, 20], "Cut-offs.", types=(int, list, tuple, _NONE)),
        Parameter("valid_metric", "NDCG@10", "The metric that early stopping watches, unmasked."),
        Parameter("metric_decimal_place", 6, "Digits that are kept.", ranges.COUNT),
        Parameter("eval_type", None, "Set by RecBole: ranking."),
        Parameter("valid_neg_sample_args", None, "Set by RecBole: none."),
        Parameter("test_neg_sample_args", None, "Set by RecBole: none."),
        Parameter("eval_batch_size", 512, "Most users that are ranked at once.", ranges.COUNT, affects="nothing"),
    ),
    ("evaluation", "here", "report"): (
        Parameter("memory_include_valid", False, "The headline figures use the validation pairs as memories."),
        Parameter("bootstrap_samples", 2000, "Resamples of the users for an interval.", ranges.at_least(100)),
        Parameter("drift_shares", [], "Fractions of the memory to test with.", types=_SHARES, affects="nothing"),
        Parameter("portrait", False, "The result holds what the report draws.", affects="nothing"),
    ),
    ("run", "here", "nothing"): (
        Parameter("preset", None, "A set of values of properties/preset/.", types=_TEXT),
        Parameter("pretrained", None, "Checkpoint of the backbone.", types=_TEXT),
        Parameter("resume", False, "Continue an interrupted run."),
        Parameter("result_file", None, "File for the result as JSON.", types=_TEXT),
        Parameter("ray_address", None, "Address of a Ray cluster; local starts one here.", types=_TEXT),
    ),
    ("run", "RecBole", "nothing"): (
        Parameter("checkpoint_dir", "saved", "Folder of the checkpoints."),
        Parameter("config_files", None, "Yaml files of parameters."),
        Parameter("show_progress", True, "Progress bars."),
        Parameter("state", "INFO", "Level of the log.", ranges.LEVEL),
        Parameter("log_wandb", False, "Logs to Weights & Biases."),
        Parameter("wandb_project", "recbole", "Its project."),
        Parameter("use_gpu", True, "False: RecBole's trainer asks for no GPU."),
        Parameter("gpu_id", "0", "GPUs that may be used; empty for none.", types=(str, int, tuple, _NONE)),
        Parameter("device", None, "Set by RecBole from gpu_id.", fixed=True),
        Parameter("nproc", 1, "Processes on this machine.", ranges.COUNT),
        Parameter("world_size", -1, "Processes on all machines; -1 is nproc.", ranges.WORLD_SIZE),
        Parameter("group_offset", 0, "Number of this machine's first process.", ranges.NOT_NEGATIVE),
        Parameter("ip", "localhost", "Address of the machine of process 0."),
        Parameter("port", "5678", "A free port there. One machine needs none.", types=(str, int, _NONE)),
        Parameter("local_rank", None, "Set by RecBole."),
        Parameter("offset", None, "RecBole's name of group_offset."),
        Parameter("single_spec", None, "Set by RecBole."),
    ),
    # These change nothing either. They stay here because fingerprints have always contained them.
    ("run", "RecBole", "rows"): (
        Parameter("config_file", None, "Not read."),
        Parameter("verbose", None, "Not read."),
        Parameter("saved", None, "Not read."),
        Parameter("save_dataset", False, "Writes the filtered data set.", fixed=True),
        Parameter("save_dataloaders", False, "Writes the split data.", fixed=True),
    ),
}

PARAMETERS: dict[str, Parameter] = {
    row.name: replace(
        row, part=part, source=source, affects=row.affects or stage, types=row.types or ranges.types_of(row.default)
    )
    for (part, source, stage), rows in _TABLE.items()
    for row in rows
}

# What the lack of a newer parameter means, in the runs and results that are older than it.
NEWER: dict[str, Any] = {name: row.earlier for name, row in PARAMETERS.items() if row.newer}


def affects(name: str) -> str:
    """The earliest stage that depends on a parameter. Without a row it belongs to RecBole and may affect all."""
    return PARAMETERS[name].affects if name in PARAMETERS else "rows"


def is_of(name: str, part: str) -> bool:
    """Whether a parameter belongs to ``part``."""
    return name in PARAMETERS and PARAMETERS[name].part == part
