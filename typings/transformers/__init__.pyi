# What we import of `transformers` itself, and where that is. Its own `__init__` has every architecture: to find one
# name there, pyright would read five hundred modules, which takes it longer than all of ours. Add what you need.
from transformers.cache_utils import DynamicCache as DynamicCache
from transformers.configuration_utils import PreTrainedConfig as PreTrainedConfig
from transformers.generation.configuration_utils import GenerationConfig as GenerationConfig
from transformers.generation.logits_process import LogitsProcessor as LogitsProcessor
from transformers.generation.logits_process import LogitsProcessorList as LogitsProcessorList
from transformers.generation.logits_process import MinPLogitsWarper as MinPLogitsWarper
from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor as NoRepeatNGramLogitsProcessor
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor as RepetitionPenaltyLogitsProcessor
from transformers.generation.logits_process import TopKLogitsWarper as TopKLogitsWarper
from transformers.generation.logits_process import TopPLogitsWarper as TopPLogitsWarper
from transformers.generation.stopping_criteria import StoppingCriteria as StoppingCriteria
from transformers.generation.stopping_criteria import StoppingCriteriaList as StoppingCriteriaList
from transformers.generation.utils import GenerationMixin as GenerationMixin
from transformers.modeling_utils import PreTrainedModel as PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING as CONFIG_MAPPING
from transformers.models.auto.configuration_auto import AutoConfig as AutoConfig
from transformers.models.auto.modeling_auto import AutoModel as AutoModel
from transformers.models.auto.modeling_auto import AutoModelForAudioClassification as AutoModelForAudioClassification
from transformers.models.auto.modeling_auto import AutoModelForCausalLM as AutoModelForCausalLM
from transformers.models.auto.modeling_auto import AutoModelForImageClassification as AutoModelForImageClassification
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText as AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import AutoModelForMaskedLM as AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import AutoModelForQuestionAnswering as AutoModelForQuestionAnswering
from transformers.models.auto.modeling_auto import AutoModelForSeq2SeqLM as AutoModelForSeq2SeqLM
from transformers.models.auto.modeling_auto import (
    AutoModelForSequenceClassification as AutoModelForSequenceClassification,
)
from transformers.models.auto.modeling_auto import AutoModelForSpeechSeq2Seq as AutoModelForSpeechSeq2Seq
from transformers.models.auto.modeling_auto import AutoModelForTokenClassification as AutoModelForTokenClassification
from transformers.models.auto.processing_auto import AutoProcessor as AutoProcessor
from transformers.models.auto.tokenization_auto import AutoTokenizer as AutoTokenizer
from transformers.models.bart.configuration_bart import BartConfig as BartConfig
from transformers.models.bart.modeling_bart import BartForConditionalGeneration as BartForConditionalGeneration
from transformers.models.bert.configuration_bert import BertConfig as BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification as BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertModel as BertModel
from transformers.models.bloom.configuration_bloom import BloomConfig as BloomConfig
from transformers.models.bloom.modeling_bloom import BloomForCausalLM as BloomForCausalLM
from transformers.models.clip.configuration_clip import CLIPConfig as CLIPConfig
from transformers.models.clip.configuration_clip import CLIPTextConfig as CLIPTextConfig
from transformers.models.clip.configuration_clip import CLIPVisionConfig as CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPModel as CLIPModel
from transformers.models.clip.modeling_clip import CLIPTextModel as CLIPTextModel
from transformers.models.deberta.configuration_deberta import DebertaConfig as DebertaConfig
from transformers.models.deberta.modeling_deberta import DebertaModel as DebertaModel
from transformers.models.distilbert.configuration_distilbert import DistilBertConfig as DistilBertConfig
from transformers.models.distilbert.modeling_distilbert import (
    DistilBertForSequenceClassification as DistilBertForSequenceClassification,
)
from transformers.models.fsmt.configuration_fsmt import FSMTConfig as FSMTConfig
from transformers.models.fsmt.modeling_fsmt import FSMTForConditionalGeneration as FSMTForConditionalGeneration
from transformers.models.gemma2.configuration_gemma2 import Gemma2Config as Gemma2Config
from transformers.models.gemma2.modeling_gemma2 import Gemma2ForCausalLM as Gemma2ForCausalLM
from transformers.models.gemma3.configuration_gemma3 import Gemma3TextConfig as Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3ForCausalLM as Gemma3ForCausalLM
from transformers.models.gpt2.configuration_gpt2 import GPT2Config as GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2ForSequenceClassification as GPT2ForSequenceClassification
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel as GPT2LMHeadModel
from transformers.models.gpt_neox.configuration_gpt_neox import GPTNeoXConfig as GPTNeoXConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXForCausalLM as GPTNeoXForCausalLM
from transformers.models.gptj.configuration_gptj import GPTJConfig as GPTJConfig
from transformers.models.gptj.modeling_gptj import GPTJForCausalLM as GPTJForCausalLM
from transformers.models.led.configuration_led import LEDConfig as LEDConfig
from transformers.models.led.modeling_led import LEDForConditionalGeneration as LEDForConditionalGeneration
from transformers.models.llama.configuration_llama import LlamaConfig as LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM as LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaForSequenceClassification as LlamaForSequenceClassification
from transformers.models.llava.configuration_llava import LlavaConfig as LlavaConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration as LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor as LlavaProcessor
from transformers.models.mamba.configuration_mamba import MambaConfig as MambaConfig
from transformers.models.mamba.modeling_mamba import MambaForCausalLM as MambaForCausalLM
from transformers.models.mistral.configuration_mistral import MistralConfig as MistralConfig
from transformers.models.mistral.modeling_mistral import MistralForCausalLM as MistralForCausalLM
from transformers.models.mixtral.configuration_mixtral import MixtralConfig as MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralForCausalLM as MixtralForCausalLM
from transformers.models.modernbert.configuration_modernbert import ModernBertConfig as ModernBertConfig
from transformers.models.modernbert.modeling_modernbert import ModernBertForMaskedLM as ModernBertForMaskedLM
from transformers.models.opt.configuration_opt import OPTConfig as OPTConfig
from transformers.models.opt.modeling_opt import OPTForCausalLM as OPTForCausalLM
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config as Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM as Qwen2ForCausalLM
from transformers.models.qwen2_moe.configuration_qwen2_moe import Qwen2MoeConfig as Qwen2MoeConfig
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeForCausalLM as Qwen2MoeForCausalLM
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config as Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM as Qwen3ForCausalLM
from transformers.models.recurrent_gemma.configuration_recurrent_gemma import (
    RecurrentGemmaConfig as RecurrentGemmaConfig,
)
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaForCausalLM as RecurrentGemmaForCausalLM,
)
from transformers.models.roberta.configuration_roberta import RobertaConfig as RobertaConfig
from transformers.models.roberta.modeling_roberta import (
    RobertaForSequenceClassification as RobertaForSequenceClassification,
)
from transformers.models.roberta.modeling_roberta import RobertaModel as RobertaModel
from transformers.models.t5.configuration_t5 import T5Config as T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel as T5EncoderModel
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration as T5ForConditionalGeneration
from transformers.models.vit.configuration_vit import ViTConfig as ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification as ViTForImageClassification
from transformers.models.whisper.configuration_whisper import WhisperConfig as WhisperConfig
from transformers.models.whisper.modeling_whisper import (
    WhisperForConditionalGeneration as WhisperForConditionalGeneration,
)
from transformers.models.xlnet.configuration_xlnet import XLNetConfig as XLNetConfig
from transformers.models.xlnet.modeling_xlnet import XLNetModel as XLNetModel
from transformers.processing_utils import ProcessorMixin as ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase as PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast as PreTrainedTokenizerFast
from transformers.utils import logging as logging
from transformers.utils.quantization_config import GgufConfig as GgufConfig
