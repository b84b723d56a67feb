"""Bad config.json and generation_config.json files of a model that is otherwise right."""
import json

from harness import Case
from model_folder import REMOVED, change_text, json_damage, replace_file, set_json

CONFIG, GENERATION = "config.json", "generation_config.json"
SIZES = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
         "max_position_embeddings"]

# Values that no size may have.
NO_SIZES = [("text", "64"), ("a-list", [64]), ("an-object", {"value": 64}), ("true", True), ("a-fraction", 64.0),
            ("0", 0), ("negative", -1), ("2-to-the-31", 1 << 31), ("2-to-the-32", 1 << 32), ("largest", (1 << 63) - 1),
            ("most-negative", -(1 << 63)), ("2-to-the-63", 1 << 63), ("2-to-the-64", 1 << 64), ("10-to-the-30", 10**30)]


def field(name, slug, path, value, place="file"):
    return Case(name, slug, set_json(CONFIG, path, value), place)


def no_type(path, wrong):
    """Values of other types than the field's."""
    key = path.rsplit("/", 1)[-1]
    return [field(f"{key}-is-{name}", "config-field", path, value) for name, value in wrong]


TEXT, LIST, OBJECT, NUMBER, TRUE = ("text", "1"), ("a-list", [1]), ("an-object", {"a": 1}), ("a-number", 1), ("true",
                                                                                                              True)

CASES = [
    *[Case(f"config-{name}", f"config-{slug}", replace_file(CONFIG, text), "line" if slug != "too-large" else "file")
      for name, slug, text in json_damage('{"model_type": "bitnet"}')],
    *[Case(f"config-is-{name}", "config-field", replace_file(CONFIG, json.dumps(value)), "line")
      for name, value in [("a-list", []), ("a-list-of-one", [{"model_type": "bitnet"}])]],
    Case("config-is-an-empty-object", "config-missing", replace_file(CONFIG, "{}")),

    *[field(f"no-{key}", "config-missing", key, REMOVED) for key in [*SIZES, "model_type"]],
    *[field(f"{key}-is-null", "config-missing", key, None) for key in [*SIZES, "model_type"]],
    *[field(f"{key}-is-{name}", "config-field", key, value) for key in SIZES for name, value in NO_SIZES],
    *[field(f"{key}-is-{name}", "config-field", key, value)
      for key in ("num_key_value_heads", "head_dim") for name, value in NO_SIZES],
    *no_type("model_type", [NUMBER, LIST, OBJECT, TRUE]),
    field("model-type-empty", "config-model-type", "model_type", ""),
    field("model-type-long", "config-model-type", "model_type", "bitnet" * 100000),
    field("model-type-format", "config-model-type", "model_type", "%s%n%99999999d"),
    *no_type("hidden_act", [NUMBER, LIST, OBJECT, TRUE]),
    field("hidden-act-empty", "config-activation", "hidden_act", ""),
    *no_type("tie_word_embeddings", [TEXT, LIST, OBJECT, NUMBER]),
    *no_type("rms_norm_eps", [TEXT, LIST, OBJECT, TRUE]),
    *[field(f"eps-is-{value:g}", "config-field", "rms_norm_eps", value) for value in (0, -1e-5, 1.5, 1e-60, 1e300)],
    *no_type("rope_theta", [TEXT, LIST, OBJECT, TRUE]),
    *[field(f"theta-is-{value:g}", "config-field", "rope_theta", value) for value in (0, -1, 0.5, 1e13, 1e300)],
    *no_type("rope_scaling", [TEXT, LIST, NUMBER, TRUE]),
    *no_type("rope_parameters", [TEXT, LIST, NUMBER, TRUE]),
    field("theta-in-scaling-is-text", "config-field", "rope_parameters", {"rope_theta": "1e4"}),
    field("theta-given-twice", "config-rope", "rope_parameters", {"rope_theta": 7.0}),
    field("scaling-of-no-kind", "config-rope", "rope_scaling", {"rope_type": "\x1b[31m" + "x" * 10000}),
    field("scaling-unknown-field", "config-rope", "rope_scaling", {"rope_type": "default", "beta": 1e308}),
    *no_type("quantization_config", [TEXT, LIST, NUMBER, TRUE]),
    field("quantization-empty", "config-quantization", "quantization_config", {}),
    *no_type("quantization_config/quant_method", [NUMBER, LIST, OBJECT, TRUE]),
    *no_type("quantization_config/linear_class", [NUMBER, LIST, OBJECT, TRUE]),
    *no_type("quantization_config/modules_to_not_convert", [TEXT, OBJECT, NUMBER, TRUE]),
    field("modules-of-numbers", "config-field", "quantization_config/modules_to_not_convert", ["lm_head", 1]),
    field("too-many-modules", "config-field", "quantization_config/modules_to_not_convert", ["lm_head"] * 100000),
    field("attention-bias-is-text", "config-unsupported", "attention_bias", "false"),
    field("experts-negative", "config-unsupported", "num_local_experts", -1),
    field("layer-types-of-numbers", "config-unsupported", "layer_types", [1, 2]),

    # sizes that contradict each other or the weights
    field("heads-do-not-divide", "config-heads", "num_attention_heads", 3),
    field("kv-heads-do-not-divide", "config-heads", "num_key_value_heads", 3),
    field("more-kv-heads-than-heads", "config-heads", "num_key_value_heads", 8),
    field("head-dim-odd", "config-heads", "head_dim", 15),
    field("hidden-twice-as-large", "config-heads", "hidden_size", 128),
    field("most-layers", "graph-layers", "num_hidden_layers", 1024),
    field("ffn-larger", "graph-shape", "intermediate_size", 177),
    field("ffn-largest", "graph-shape", "intermediate_size", 262144),
    field("vocab-largest", "graph-shape", "vocab_size", 1 << 22),
    field("vocab-smaller-than-its-tokens", "config-token", "vocab_size", 1),

    *[Case(f"eos-{name}", slug, set_json(CONFIG, "eos_token_id", value))
      for name, slug, value in [("negative", "config-token", -1), ("past-the-vocabulary", "config-token", 512),
                                ("is-text", "config-field", "510"), ("is-a-fraction", "config-field", 510.0),
                                ("in-a-list-negative", "config-token", [510, -1]),
                                ("in-a-list-text", "config-field", [510, "a"]), ("in-lists", "config-field", [[510]]),
                                ("is-an-object", "config-field", {"id": 510}),
                                ("too-many", "config-token", list(range(500)))]],

    *[Case(f"generation-{name}", f"config-{slug}", replace_file(GENERATION, text),
           "line" if slug != "too-large" else "file") for name, slug, text in json_damage('{"eos_token_id": 1}')],
    Case("generation-is-a-list", "config-field", replace_file(GENERATION, "[]"), "line"),
    *[Case(f"generation-eos-{name}", slug, set_json(GENERATION, "eos_token_id", value))
      for name, slug, value in [("is-text", "config-field", "x"), ("2-to-the-32", "config-token", 1 << 32),
                                ("negative", "config-token", [-(1 << 63)]),
                                ("too-many", "config-token", list(range(64)))]],
    Case("config-cut-in-a-string", "config-syntax", change_text(CONFIG, lambda text: text[:text.index("bitnet") + 3]),
         "line"),
]
