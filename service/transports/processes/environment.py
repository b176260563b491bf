"""Which of the front's variables its hosts get: those on a list, because the others may hold secrets."""

import re
from collections.abc import Collection, Mapping

_NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "TQDM_DISABLE", "TOKENIZERS_PARALLELISM"),
    )
)
_PREFIXES = (
    *("LC_", "PYTHON", "MALLOC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_", "ATEN_"),
    *("TORCH_", "PYTORCH_", "CUDA_", "NVIDIA_", "HF_", "TRANSFORMERS_", "COVERAGE_", "COV_CORE_"),
)
_FOR_S3 = ("AWS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_SECRETS = {"HF_TOKEN"}
_NEVER = re.compile(r"ADAPTER_SERVICE_.*|PG[A-Z]+|DATABASE_URL", re.IGNORECASE)


def host_environment(
    environment: Mapping[str, str], more: Collection[str] = (), *, blobs_in_s3: bool = False
) -> dict[str, str]:
    """`more` are names that the operator lists, for factories that need them; the service's own settings and the
    database's variables are never passed on."""
    prefixes = _PREFIXES + _FOR_S3 if blobs_in_s3 else _PREFIXES

    def passes(name: str) -> bool:
        known = (name in _NAMES or name.startswith(prefixes)) and name not in _SECRETS
        return (known or name in more) and not _NEVER.fullmatch(name)

    passed = {name: value for name, value in environment.items() if passes(name)}
    # numpy would start threads when it is imported, and a process with threads can't be forked safely. Threads that
    # spin while they wait for each other are ten times slower than ones that sleep, once other hosts use the cores.
    # Without STRICT, MKL's sums depend on where its threads' buffers lie: a text would have other bits among others.
    return {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MKL_CBWR": "AUTO,STRICT", **passed}
