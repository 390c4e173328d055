"""What the tensors of GroupViT are called: in the authors' files, in Hugging Face's, and here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A name in a file and a name here.

    A name that ends with a dot is the beginning of several, and what follows is the same in both. `{stage}` and
    `{block}` are numbers.

    Attributes:
        source: in the file.
        target: here.
        part: "queries", "keys" or "values", when the tensor is a third of the parameter's rows; empty for all.
    """

    source: str
    target: str
    part: str = ""

    def renamed(self, source: str) -> str | None:
        """Translate a name of a file; None if the rule is for others."""
        return _rewritten(source, self.source, self.target)

    def original(self, target: str) -> str | None:
        """Translate a name of ours back; None if the rule is for others."""
        return _rewritten(target, self.target, self.source)


def _rewritten(name: str, pattern: str, template: str) -> str | None:
    expression = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    for number in ("stage", "block"):
        expression = expression.replace("{" + number + "}", rf"(?P<{number}>\d+)")
    match = re.match(expression + ("" if pattern.endswith(".") else "$"), name)
    return template.format(**match.groupdict()) + name[match.end() :] if match else None


@dataclass(frozen=True)
class Place:
    """Where a tensor goes.

    Attributes:
        target: name of the parameter; empty for nowhere.
        part: see `Rule`.
        note: for the report.
    """

    target: str
    part: str
    note: str


@dataclass(frozen=True)
class Layout:
    """How a family of files calls its tensors.

    Attributes:
        name: for people.
        marks: beginnings of names, of which a file has each.
        rules: the first that fits holds.
        ignored: names that inference does not need, and why.
    """

    name: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    ignored: Mapping[str, str]

    def place(self, source: str) -> Place | None:
        """Find where a tensor goes; None if its name is not known."""
        if source in self.ignored:
            return Place("", "", self.ignored[source])
        for rule in self.rules:
            if target := rule.renamed(source):
                return Place(target, rule.part, f"rows of the {rule.part}" if rule.part else "loaded")
        return None

    def sources(self, target: str) -> list[str]:
        """Say which tensors of a file make one of our parameters."""
        return [source for rule in self.rules if (source := rule.original(target))]


def _below(source: str, target: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(source + rule.source, target + rule.target, rule.part) for rule in rules)


def _grouping(output_of_look: str) -> tuple[Rule, ...]:
    """Rules of a grouping, which both layouts call alike but for one layer."""
    projections = {"q_proj.": "query.", "k_proj.": "key.", "v_proj.": "value."}
    return (
        Rule("norm_tokens.", "norm_tokens."),
        Rule("norm_x.", "norm_patches."),
        Rule("mlp_inter.", "mix."),
        Rule("norm_post_tokens.", "norm_mixed."),
        *(Rule(f"pre_assign_attn.attn.{theirs}", f"look.{ours}") for theirs, ours in projections.items()),
        Rule(f"pre_assign_attn.attn.{output_of_look}.", "look.out."),
        Rule("pre_assign_attn.norm2.", "look.norm_mlp."),
        Rule("pre_assign_attn.mlp.", "look.mlp."),
        Rule("pre_assign_attn.norm_post.", "look.norm_out."),
        *(Rule(f"assign.{theirs}", f"assign.{ours}") for theirs, ours in projections.items()),
        Rule("assign.proj.", "assign.out."),
        Rule("norm_new_x.", "norm_groups."),
        Rule("mlp_channels.", "mlp."),
    )


_TOKENS = (
    Rule("group_token", "tokens"),
    Rule("group_projector.0.", "token_maker.norm."),
    Rule("group_projector.1.", "token_maker.mix."),
)
_STAGE = "vision.stages.{stage}."
_VISION_BLOCK = "vision.stages.{stage}.blocks.{block}."
_TEXT_BLOCK = "text.blocks.{block}."

OFFICIAL = Layout(
    "the authors'",
    ("img_encoder.", "text_encoder.", "img_projector."),
    (
        Rule("logit_scale", "logit_scale"),
        Rule("img_encoder.patch_embed.proj.", "vision.patch."),
        Rule("img_encoder.patch_embed.norm.", "vision.patch_norm."),
        Rule("img_encoder.pos_embed", "vision.position"),
        Rule("img_encoder.norm.", "vision.norm."),
        *_below(
            "img_encoder.layers.{stage}.blocks.{block}.",
            _VISION_BLOCK,
            (
                Rule("attn.qkv.", "attention.qkv."),
                Rule("attn.proj.", "attention.out."),
                Rule("norm1.", "norm1."),
                Rule("norm2.", "norm2."),
                Rule("mlp.", "mlp."),
            ),
        ),
        *_below("img_encoder.layers.{stage}.", _STAGE, _TOKENS),
        *_below("img_encoder.layers.{stage}.downsample.", _STAGE + "grouping.", _grouping("proj")),
        Rule("text_encoder.positional_embedding", "text.positional_embedding"),
        Rule("text_encoder.token_embedding.", "text.token_embedding."),
        Rule("text_encoder.ln_final.", "text.norm."),
        *_below(
            "text_encoder.transformer.resblocks.{block}.",
            _TEXT_BLOCK,
            (
                Rule("attn.in_proj_weight", "attention.qkv.weight"),
                Rule("attn.in_proj_bias", "attention.qkv.bias"),
                Rule("attn.out_proj.", "attention.out."),
                Rule("ln_1.", "norm1."),
                Rule("ln_2.", "norm2."),
                Rule("mlp.", "mlp."),
            ),
        ),
        *(
            Rule(f"{theirs}_projector.{part}.", f"{ours}.{name}.")
            for theirs, ours in (("img", "image_projector"), ("text", "text.projection"))
            for part, name in (("linear_hidden.0", "fc1"), ("linear_hidden.1", "norm"), ("linear_out", "fc2"))
        ),
    ),
    {"multi_label_logit_scale": "temperature of a loss"},
)

_HUGGING_FACE_BLOCK = (
    Rule("self_attn.q_proj.", "attention.qkv.", "queries"),
    Rule("self_attn.k_proj.", "attention.qkv.", "keys"),
    Rule("self_attn.v_proj.", "attention.qkv.", "values"),
    Rule("self_attn.out_proj.", "attention.out."),
    Rule("layer_norm1.", "norm1."),
    Rule("layer_norm2.", "norm2."),
)
HUGGING_FACE = Layout(
    "Hugging Face's",
    ("vision_model.encoder.stages.", "text_model.", "visual_projection."),
    (
        Rule("logit_scale", "logit_scale"),
        Rule("vision_model.embeddings.patch_embeddings.projection.", "vision.patch."),
        Rule("vision_model.embeddings.layernorm.", "vision.patch_norm."),
        Rule("vision_model.embeddings.position_embeddings", "vision.position"),
        Rule("vision_model.layernorm.", "vision.norm."),
        *_below(
            "vision_model.encoder.stages.{stage}.layers.{block}.",
            _VISION_BLOCK,
            (*_HUGGING_FACE_BLOCK, Rule("mlp.", "mlp.")),
        ),
        *_below("vision_model.encoder.stages.{stage}.", _STAGE, _TOKENS),
        *_below("vision_model.encoder.stages.{stage}.downsample.", _STAGE + "grouping.", _grouping("out_proj")),
        Rule("text_model.embeddings.position_embedding.weight", "text.positional_embedding"),
        Rule("text_model.embeddings.token_embedding.", "text.token_embedding."),
        Rule("text_model.final_layer_norm.", "text.norm."),
        *_below(
            "text_model.encoder.layers.{block}.",
            _TEXT_BLOCK,
            (*_HUGGING_FACE_BLOCK, Rule("mlp.fc1.", "mlp.c_fc."), Rule("mlp.fc2.", "mlp.c_proj.")),
        ),
        *(
            Rule(f"{theirs}_projection.{number}.", f"{ours}.{name}.")
            for theirs, ours in (("visual", "image_projector"), ("text", "text.projection"))
            for number, name in ((0, "fc1"), (1, "norm"), (3, "fc2"))
        ),
    ),
    {"text_model.embeddings.position_ids": "counts from 0, in files of older versions"},
)

LAYOUTS = (OFFICIAL, HUGGING_FACE)
