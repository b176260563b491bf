"""What a live torch module looks like to adapters, as frozen values that outlive it.

The registry keeps the `Architecture`, so that an adapter can be checked against a base model that isn't in memory.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    MergeModulelist,
    PrefixChange,
    WeightConverter,
    WeightRenaming,
    WeightTransform,
)
from transformers.pytorch_utils import Conv1D

from models_registry.dtypes import dtype_name
from models_registry.records import (
    AbsentHead,
    Architecture,
    FusedLayers,
    LayerKind,
    ModuleInfo,
    ParameterInfo,
    Renaming,
)
from models_registry.tensor_digest import tensor_digest

# What PEFT looks for, in its order, to leave a classification head out of "all-linear".
CLASSIFICATION_HEADS = ("score", "classifier")
CONVOLUTIONS: Mapping[int, LayerKind] = {1: "conv1d", 2: "conv2d", 3: "conv3d"}

ROOT_REFUSAL = "This is the whole model; a target is one of its submodules."
ATTENTION_CHILD_REFUSAL = (
    "nn.MultiheadAttention reads this layer's weights without calling it; target the attention module itself."
)
SEPARATE_WIDTHS_REFUSAL = "Its queries, keys and values differ in width; adapters need one projection for all three."
EMBEDDING_REFUSAL = (
    "This embedding looks up other rows than the ids it is called with (positions, usually); no adapter can follow it."
)
LAZY_REFUSAL = "This layer's shape is unknown until its first forward; give the base model an initialised layer."


def describe(module: nn.Module, absent_head: AbsentHead | None = None) -> Architecture:
    """The module list of an untouched base model, in `named_modules()` order.

    Tied parameters are hashed and counted once. Non-persistent buffers stay out of the fingerprint: they are computed
    from the config, and come out different in the last bit on another device. So does an `absent_head`, which no files
    hold.
    """
    digests = _digest_tensors(module)
    made_up = frozenset(absent_head.parameters if absent_head else ())
    parameters = [p for name, p in module.named_parameters() if name not in made_up and not is_lazy(p)]
    buffers = [b for b in module.buffers() if not is_lazy(b)]
    renamings, fused_layers = _list_renamings(module)
    model_type, input_embedding, output_embedding, classification_head = _name_transformers_parts(module)
    return Architecture(
        modules=_list_modules(module, digests),
        fingerprint=_fingerprint(module, digests, made_up),
        parameters=sum(p.numel() for p in parameters),
        bytes=sum(t.nbytes for t in (*parameters, *buffers)),
        model_type=model_type,
        input_embedding=input_embedding,
        output_embedding=output_embedding,
        tied_embeddings=_tied_to(module, input_embedding),
        classification_head=classification_head,
        absent_head=absent_head,
        renamings=renamings,
        fused_layers=fused_layers,
    )


# ---- modules ----------------------------------------------------------------------------------------------------


def _list_modules(root: nn.Module, digests: Mapping[int, str]) -> tuple[ModuleInfo, ...]:
    owners = {
        id(child): name
        for name, attention in root.named_modules()
        if isinstance(attention, nn.MultiheadAttention)
        for child in attention.children()
    }
    return tuple(_describe_module(name, m, digests, owners.get(id(m))) for name, m in root.named_modules())


def _describe_module(name: str, module: nn.Module, digests: Mapping[int, str], owner: str | None) -> ModuleInfo:
    kind, in_features, out_features, kernel_size, groups = _classify(module)
    own = {short: p for short, p in module.named_parameters(recurse=False) if not is_lazy(p)}
    dtype = _working_dtype(module, own.values(), kind)
    refusal = ATTENTION_CHILD_REFUSAL if owner else _refusal(name, module, kind, dtype)
    persistent = module.state_dict(keep_vars=True).keys()
    return ModuleInfo(
        name=name,
        type=type(module).__name__,
        kind=kind if refusal is None else None,
        in_features=in_features,
        out_features=out_features,
        kernel_size=kernel_size,
        groups=groups,
        dtype=dtype_name(dtype),
        refusal=refusal,
        owner=owner,
        parameters=_describe_tensors(own, digests),
        buffers=_describe_tensors({n: b for n, b in module.named_buffers(recurse=False) if n in persistent}, digests),
    )


def _describe_tensors(tensors: Mapping[str, Tensor], digests: Mapping[int, str]) -> dict[str, ParameterInfo]:
    return {
        short: ParameterInfo(shape=tuple(tensor.shape), dtype=dtype_name(tensor.dtype), digest=digests[id(tensor)])
        for short, tensor in tensors.items()
        if not is_lazy(tensor)
    }


def _classify(module: nn.Module) -> tuple[LayerKind | None, int, int, tuple[int, ...], int]:
    """(kind, in features, out features, kernel size, groups); a transposed convolution is not a convolution here."""
    match module:
        case nn.Linear():
            return "linear", module.in_features, module.out_features, (), 1
        case Conv1D():
            return "hf_conv1d", module.nx, module.nf, (), 1
        case nn.Embedding():
            return "embedding", module.num_embeddings, module.embedding_dim, (), 1
        case nn.MultiheadAttention():
            return "attention", module.embed_dim, module.embed_dim, (), 1
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            kind = CONVOLUTIONS[len(module.kernel_size)]
            return kind, module.in_channels, module.out_channels, module.kernel_size, module.groups
        case _:
            return None, 0, 0, (), 1


def _refusal(name: str, module: nn.Module, kind: LayerKind | None, dtype: torch.dtype) -> str | None:
    if name == "":
        return ROOT_REFUSAL
    if isinstance(module, nn.MultiheadAttention) and "in_proj_weight" not in dict(module.named_parameters()):
        return SEPARATE_WIDTHS_REFUSAL
    if isinstance(module, LazyModuleMixin):
        return LAZY_REFUSAL
    if isinstance(module, nn.Embedding) and not _looks_up_what_it_is_given(module):
        return EMBEDDING_REFUSAL
    if kind is not None and (not dtype.is_floating_point or dtype.itemsize < 2):
        return f"Its weight is stored as {dtype_name(dtype)}; adapters act on layers of 16 bits or more."
    return None


def _looks_up_what_it_is_given(embedding: nn.Embedding) -> bool:
    """transformers' scaled embeddings have a forward of their own too, but only multiply the rows afterwards."""
    return type(embedding).forward is nn.Embedding.forward or getattr(embedding, "embed_scale", None) is not None


def _working_dtype(module: nn.Module, own: Iterable[nn.Parameter], kind: LayerKind | None) -> torch.dtype:
    # A parametrised layer computes its weight and holds no such parameter; a lazy one has no numbers yet.
    if kind is not None and isinstance(weight := getattr(module, "weight", None), Tensor):
        return weight.dtype
    return next((p.dtype for p in own), torch.float32)


# ---- transformers -----------------------------------------------------------------------------------------------


def _name_transformers_parts(root: nn.Module) -> tuple[str | None, str | None, str | None, str | None]:
    """(model type, input and output embedding, classification head), all None for a module that isn't transformers'."""
    if not isinstance(root, PreTrainedModel):
        return None, None, None, None
    output_embedding = _name_of(root, root.get_output_embeddings())
    heads = (_name_of(root, getattr(root, name, None)) for name in CLASSIFICATION_HEADS)
    head = None if output_embedding else next((name for name in heads if name), None)
    return root.config.model_type, _input_embedding(root), output_embedding, head


def _input_embedding(root: PreTrainedModel) -> str | None:
    try:
        return _name_of(root, root.get_input_embeddings())
    except NotImplementedError:  # how transformers says that a model (vision, audio) has none
        return None


def _tied_to(root: nn.Module, embedding: str | None) -> tuple[str, ...]:
    if embedding is None:
        return ()
    # What a vision model embeds are patches, in a module without a weight of its own.
    weight = dict(root.get_submodule(embedding).named_parameters(recurse=False)).get("weight")
    if weight is None:
        return ()
    sharing = {name for name, p in root.named_parameters(remove_duplicate=False) if p is weight}
    return tuple(sorted({name.removesuffix(".weight") for name in sharing} - {embedding}))


def _list_renamings(root: nn.Module) -> tuple[tuple[Renaming, ...], tuple[FusedLayers, ...]]:
    """What transformers renames, and what it stacks into one parameter, as it reads files of its older versions."""
    if not isinstance(root, PreTrainedModel):
        return (), ()
    transforms = get_model_conversion_mapping(root)
    renamings = [
        Renaming(transform.compiled_sources.pattern, transform.target_patterns[0], _scopes(transform))
        for transform in transforms
        if type(transform) in (WeightRenaming, PrefixChange)  # others count or pair layers as they go
    ]
    fused = [
        FusedLayers(transform.compiled_sources.pattern, transform.target_patterns[0].strip("."))
        for transform in transforms
        if isinstance(transform, WeightConverter) and any(isinstance(o, MergeModulelist) for o in transform.operations)
    ]
    return tuple(renamings), tuple(fused)


def _scopes(transform: WeightTransform) -> tuple[str, ...]:
    """What a name may begin with before that which is renamed, the longer one first."""
    if transform.scope_prefix is None:
        return ("",)
    scope = f"{transform.scope_prefix}." if transform.scope_prefix else ""
    model = f"{transform.base_model_prefix}." if transform.base_model_prefix else ""
    return (f"{model}{scope}", scope)


def _name_of(root: nn.Module, part: object) -> str | None:
    return next((name for name, module in root.named_modules() if module is part), None)


# ---- bytes ------------------------------------------------------------------------------------------------------


def _digest_tensors(root: nn.Module) -> dict[int, str]:
    """sha256 (hex) of every parameter's and buffer's bytes, by the tensor's `id`: tied ones are read once."""
    tensors = (*root.parameters(), *root.buffers())
    return {id(tensor): tensor_digest(tensor) for tensor in tensors if not is_lazy(tensor)}


def _fingerprint(root: nn.Module, digests: Mapping[int, str], made_up: Collection[str]) -> str:
    persistent = root.state_dict(keep_vars=True).keys()
    buffers = [(name, b) for name, b in root.named_buffers(remove_duplicate=False) if name in persistent]
    total = hashlib.sha256()
    for name, tensor in sorted([*root.named_parameters(remove_duplicate=False), *buffers], key=lambda entry: entry[0]):
        if id(tensor) in digests and name not in made_up:
            line = f"{name}\0{list(tensor.shape)}\0{dtype_name(tensor.dtype)}\0{digests[id(tensor)]}\n"
            total.update(line.encode())
    return total.hexdigest()
