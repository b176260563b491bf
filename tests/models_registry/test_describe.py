import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from models_registry.architecture import describe
from models_registry.records import Architecture, ModuleInfo


class Zoo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.embedding = nn.Embedding(7, 4)
        self.conv = nn.Conv2d(4, 6, (3, 2), groups=2)
        self.transposed = nn.ConvTranspose2d(4, 6, 3)
        self.hf = Conv1D(5, 3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.lazy = nn.LazyLinear(2)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("angles", torch.ones(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.fixture
def zoo() -> Architecture:
    torch.manual_seed(0)
    return describe(Zoo())


def named(architecture: Architecture, name: str) -> ModuleInfo:
    return next(module for module in architecture.modules if module.name == name)


def tiny_bert() -> BertForSequenceClassification:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return BertForSequenceClassification(config)


def test_modules_come_in_the_order_of_the_tree_with_the_root_first(zoo: Architecture) -> None:
    assert [module.name for module in zoo.modules] == [name for name, _ in Zoo().named_modules()]
    assert named(zoo, "").kind is None


@pytest.mark.parametrize(
    ("name", "kind", "in_features", "out_features"),
    [
        ("linear", "linear", 3, 5),
        ("embedding", "embedding", 7, 4),
        ("conv", "conv2d", 4, 6),
        ("hf", "hf_conv1d", 3, 5),
        ("transposed", None, 0, 0),
    ],
)
def test_a_layer_has_its_kind_and_its_features(
    zoo: Architecture, name: str, kind: str | None, in_features: int, out_features: int
) -> None:
    module = named(zoo, name)
    assert (module.kind, module.in_features, module.out_features) == (kind, in_features, out_features)


def test_a_convolution_has_its_kernel_and_groups(zoo: Architecture) -> None:
    assert (named(zoo, "conv").kernel_size, named(zoo, "conv").groups) == ((3, 2), 2)


@pytest.mark.parametrize("name", ["attention.out_proj", "lazy"])
def test_a_layer_on_which_an_adapter_could_not_act_says_why(zoo: Architecture, name: str) -> None:
    assert named(zoo, name).kind is None
    assert named(zoo, name).refusal


def test_a_layer_in_8_bits_is_refused() -> None:
    holder = nn.Sequential(nn.Linear(2, 2))
    holder[0].weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    layer = named(describe(holder), "0")
    assert layer.kind is None
    assert "int8" in (layer.refusal or "")


def test_a_module_lists_only_its_own_parameters(zoo: Architecture) -> None:
    assert named(zoo, "").parameters == {}
    weight = named(zoo, "linear").parameters["weight"]
    assert (weight.shape, weight.dtype) == ((5, 3), "float32")


def test_the_fingerprint_is_the_same_for_the_same_bytes_and_another_for_others() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = describe(model)
    assert describe(model) == before
    model.get_buffer("1.running_mean").add_(1)
    assert describe(model).fingerprint != before.fingerprint


def test_the_fingerprint_covers_names_and_dtypes() -> None:
    layer = nn.Linear(2, 2)
    wider = nn.Linear(2, 2, dtype=torch.float64)
    wider.load_state_dict(layer.state_dict())
    models = (nn.Sequential(layer), nn.ModuleDict({"a": layer}), nn.Sequential(wider))
    fingerprints = {describe(model).fingerprint for model in models}
    assert len(fingerprints) == 3


def test_a_digest_tells_which_weight_differs() -> None:
    model = nn.Linear(2, 2).bfloat16()
    before = describe(model).modules[0].parameters
    with torch.no_grad():
        model.bias.add_(1)
    after = describe(model).modules[0].parameters
    assert before["weight"] == after["weight"]
    assert before["bias"].digest != after["bias"].digest


def test_buffers_that_are_computed_stay_out_of_the_fingerprint() -> None:
    torch.manual_seed(0)
    model = Zoo()
    before = describe(model).fingerprint
    model.get_buffer("angles").add_(1)
    assert describe(model).fingerprint == before


def test_tied_weights_are_counted_once() -> None:
    config = GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)
    architecture = describe(model)
    assert architecture.parameters == sum(p.numel() for p in model.parameters())
    tied = named(architecture, "lm_head").parameters["weight"]
    assert tied == named(architecture, "transformer.wte").parameters["weight"]


def test_a_language_model_names_its_output_embedding() -> None:
    config = GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    architecture = describe(GPT2LMHeadModel(config))
    assert (architecture.model_type, architecture.output_embedding) == ("gpt2", "lm_head")
    assert architecture.classification_head is None


def test_a_classifier_names_its_head() -> None:
    architecture = describe(tiny_bert())
    assert (architecture.model_type, architecture.output_embedding) == ("bert", None)
    assert architecture.classification_head == "classifier"


def test_any_other_module_has_no_transformers_parts(zoo: Architecture) -> None:
    assert (zoo.model_type, zoo.output_embedding, zoo.classification_head) == (None, None, None)
