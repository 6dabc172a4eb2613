"""Words of INI files that have no entry in `sfgkeras.tables`, because no object of their own is behind them.

Names are lower case. Those in the tables `NOT_BUILT_...` are part of the interface but have no code yet, so
that they are refused before any data is read; building one makes it a line of a table.
"""

# NiftyNet's other networks, by their short names and by the modules of their classes.
NOT_BUILT_NETWORKS = {
    **dict.fromkeys(
        ("dense_vnet", "deepmedic", "scalenet", "holisticnet", "holistic_net", "holistic_scalenet")
        + ("toynet", "toynet_features"),
        "use highresnet",
    ),
    "vnet": "use unet",
    **dict.fromkeys(("resnet", "se_resnet", "masked_autofocus_net"), "use vgg11"),
    **dict.fromkeys(("vae", "simulator_gan", "simple_gan"), "use [REGRESSION] with highresnet"),
    "interventional_dense_net": "register the images before training, with sfgkeras preprocess",
    "interventional_affine_net": "register the images before training, with sfgkeras preprocess",
}
# NiftyNet's losses without code here, lower case, each with what to use instead.
NOT_BUILT_LOSSES = {
    "volenforcement": "use gdsc, which weighs small labels up",
    "variationallowerbound": "there is no variational autoencoder; use a [REGRESSION] with rmse",
    "confusionmatrix": "use crossentropy",
    "variability": "use crossentropy",
    "consistency": "use crossentropy",
}
# NiftyNet's measures without code here, each with what to use instead.
NOT_BUILT_EVALUATIONS = {
    "n_neg_ref": "it is the number of voxels less voxels_in_truth",
    "n_neg_seg": "it is the number of voxels less voxels_in_prediction",
    "com_ref": "the centre of the reference measures no prediction; leave it out",
    "roc": "values.csv has the probabilities of every class; use accuracy here",
    "roc_auc": "values.csv has the probabilities of every class; use balanced_accuracy here",
}
EVALUATION_UNITS = ("label", "foreground")
NOT_BUILT_UNITS = {"cc": "use label"}

ACTIVATIONS = (
    "prelu",
    "relu",
    "leaky_relu",
    "relu6",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "tanh",
    "sigmoid",
)
ACTIVATION_ALIASES = {"leakyrelu": "leaky_relu"}

WEIGHT_INITIALIZERS = (
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "variance_scaling",
)
BIAS_INITIALIZERS = ("zeros", "ones", "random_normal", "random_uniform", "truncated_normal")

NOT_BUILT_WINDOW_SAMPLING = {"selective": "use balanced, with sampler set to the section of the labels"}
NORM_TYPES = ("percentile", "quartile", "median")
FOREGROUND_TYPES = ("otsu_plus", "otsu_minus", "threshold_plus", "threshold_minus", "mean_plus")
FOREGROUND_ALIASES = {"thresh_plus": "threshold_plus", "thresh_minus": "threshold_minus", "mean": "mean_plus"}

REMATERIALISATIONS = ("none", "activations", "blocks")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
PRECISIONS = ("none", "float16", "bfloat16")
PRECISION_ALIASES = {
    "no": "none",
    "false": "none",
    "0": "none",
    "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16",
}

LAYOUTS = ("flat", "subject_folders", "tree")

NOT_BUILT_LOADERS = {"opencv": "use pillow", "skimage": "use pillow", "dummy": "leave the line out"}
