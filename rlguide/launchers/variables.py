"""The environment variables that a training on other hosts needs: only these are passed, never all but some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

# Names or patterns. None of them says where something lies on this host alone: nodes have the same paths.
_PASSED = (
    # Which devices, and how they compute.
    *("CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_TF32_OVERRIDE", "TORCH_*", "PYTORCH_*", "TRITON_*", "ASCEND_*"),
    *("OMP_*", "MKL_*", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHASHSEED"),
    # How processes are started and talk to each other.
    *("FORCE_TORCHRUN", "NPROC_PER_NODE", "NNODES", "OPTIM_TORCH", "NCCL_*", "GLOO_*", "DS_*", "USE_MCA", "USE_V1"),
    # What LLaMA-Factory takes from where.
    *(
        "USE_MODELSCOPE_HUB",
        "USE_OPENMIND_HUB",
        "DISABLE_VERSION_CHECK",
        "ALLOW_EXTRA_ARGS",
        "LLAMAFACTORY_*",
        "HF_*",
        "HUGGINGFACE_HUB_CACHE",
    ),
    *("HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_*", "TOKENIZERS_PARALLELISM", "MODELSCOPE_*", "RECORD_VRAM"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    # Where trackers write, and their keys.
    *("WANDB_*", "SWANLAB_*", "TRACKIO_*", "MLFLOW_*", "TENSORBOARD_LOGGING_DIR", "COMET_*", "NEPTUNE_*", "CLEARML_*"),
    # How output is written.
    *("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8"),
)


def passed_variables(environment: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Those of these variables, and of the names `also`, that are set. Some are secrets: never print or write them."""
    wanted = (*_PASSED, *also)
    return {name: value for name, value in environment.items() if any(fnmatchcase(name, item) for item in wanted)}
