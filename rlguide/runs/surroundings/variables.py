"""The environment variables that can change what a training does: only these are kept, never all but some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

# Names, or patterns of names of which none is a secret.
KEPT = (
    # Which devices, and how they compute.
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "CUDA_HOME"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ASCEND_RT_VISIBLE_DEVICES"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHASHSEED"),
    # How processes are started and talk to each other.
    *("FORCE_TORCHRUN", "NPROC_PER_NODE", "NNODES", "MIN_NNODES", "MAX_NNODES", "NODE_RANK", "MAX_RESTARTS"),
    *("OPTIM_TORCH", "USE_RAY", "NCCL_*", "TORCH_NCCL_*", "GLOO_SOCKET_IFNAME", "DS_SKIP_CUDA_CHECK"),
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS"),
    # What LLaMA-Factory takes from where.
    *("RLGUIDE_ENGINE", "DISABLE_VERSION_CHECK", "USE_MODELSCOPE_HUB", "USE_OPENMIND_HUB", "HF_ENDPOINT"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"),
    # Where trackers write.
    *("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "SWANLAB_MODE", "SWANLAB_LOG_DIR", "TRACKIO_DIR"),
    *("MLFLOW_TRACKING_URI", "TENSORBOARD_LOGGING_DIR"),
)


def kept_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of these variables that are set, by name."""
    return {name: environment[name] for name in sorted(environment) if any(fnmatchcase(name, item) for item in KEPT)}
