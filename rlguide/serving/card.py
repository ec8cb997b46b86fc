"""The model card of an exported model: README.md with the metadata of the Hugging Face hub.

It says what is on record and nothing else: a licence is that of a card or of the catalog, or unknown. What records
and files say is text of theirs: Markdown in it is escaped, folders of this machine are named by their last part, and
no name of a user or host is asked for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.console import printable
from rlguide.errors import DataError
from rlguide.policy.base import model_name
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import CHECKPOINT_NAME, RunRecord
from rlguide.runs.checkpoints import step_of
from rlguide.runs.record import Run
from rlguide.serving.card_results import results
from rlguide.serving.on_record import CARD, HUB_ID, Dataset, base_card, datasets_of, escaped, hub_id_of
from rlguide.statistics import finite
from rlguide.workspace import Workspace, atomic_write, read_json

# Settings of a training that matter for what comes of it, in this order.
_SETTINGS = (
    *("pref_beta", "pref_loss", "pref_ftx", "simpo_gamma", "kto_chosen_weight", "kto_rejected_weight"),
    *("learning_rate", "lr_scheduler_type", "warmup_ratio", "num_train_epochs", "max_steps", "cutoff_len"),
    *("finetuning_type", "lora_rank", "lora_alpha", "lora_target", "quantization_bit", "bf16", "seed"),
)
_VERSIONS = ("llamafactory", "torch", "transformers", "trl", "peft")


def write_card(ws: Workspace, folder: Path, policy: Policy, run: Run | None) -> None:
    """Write the card of the model that was merged into `folder`. Raises RlguideError if it cannot be written."""
    with atomic_write(folder / CARD) as file:
        file.write(card(ws, folder, policy, run))


def card(ws: Workspace, folder: Path, policy: Policy, run: Run | None) -> str:
    """The text of the card."""
    record = run.record if run is not None else RunRecord()
    base, hub_id = base_card(ws, policy.base), hub_id_of(ws, policy.base)
    name = hub_id or model_name(policy.base)
    data = list(datasets_of(ws, record))
    lines = [
        _title(folder.name),
        "",
        _what_it_is(name, policy, record),
        "",
        *_licences(name, base, data),
        *_data(data),
        *_training(record),
        *results(ws, policy, run),
        *_merge(folder, policy),
        _use(folder.name, f"rlguide chat {shlex.quote(_one_line(folder.name))}"),
    ]
    return f"---\n{_metadata(hub_id, record, data)}---\n\n" + "\n".join(lines) + "\n"


def of_repository(text: str, folder: str, repository: str) -> str:
    """A card as it is on a hub: where it names the folder of the model, it names the repository.

    What somebody has written in the place of such lines stays.

    Args:
        folder: the name of the folder that the card was written for.
        repository: ORG/NAME.
    """
    own = _use(folder, f"rlguide chat {shlex.quote(_one_line(folder))}")
    text = text.replace(own, _use(repository, f"rlguide chat --base {shlex.quote(repository)}"), 1)
    return text.replace(f"\n{_title(folder)}\n", f"\n{_title(repository.split('/')[1])}\n", 1)


def _title(name: str) -> str:
    return f"# {escaped(name)}"


def _metadata(hub_id: str | None, record: RunRecord, data: list[Dataset]) -> str:
    """The metadata, in YAML. The licence of a derived model is its author's to choose, so none stands here."""
    import yaml

    languages = dict.fromkeys(code for item in data if item.known for code in item.known.languages)
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rlguide", "llama-factory", *([record.method] if record.method else [])],
    }
    if hub_id:
        values |= {"base_model": hub_id, "base_model_relation": "finetune"}
    ids = [item.hub_id for item in data if item.hub == "hf" and item.hub_id and HUB_ID.fullmatch(item.hub_id)]
    if sets := list(dict.fromkeys(ids)):
        values["datasets"] = sets
    if languages:
        values["language"] = list(languages)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _what_it_is(name: str, policy: Policy, record: RunRecord) -> str:
    method = f" with {escaped(record.method.upper())}" if record.method else ""
    stack = " + ".join([name, *map(_adapter_name, policy.adapters)])
    return f"{escaped(name)}, tuned{method} and merged: {escaped(stack)}."


def _adapter_name(adapter: str) -> str:
    """The last part of its folder; of a checkpoint that of its run, and the step."""
    folder = Path(adapter)
    if CHECKPOINT_NAME.fullmatch(folder.name):
        return f"{model_name(str(folder.parent))} at step {step_of(folder)}"
    return model_name(adapter)


def _licences(name: str, base: Mapping[str, Any], data: list[Dataset]) -> list[str]:
    name = escaped(name)
    licence = base.get("license_name") or base.get("license")
    if isinstance(licence, str):
        link = base.get("license_link")
        more = f" ({escaped(link)})" if isinstance(link, str) else ""
        of_base = f"This model is derived from {name}, whose licence is {escaped(licence)}{more}: check its terms."
    else:
        of_base = f"This model is derived from {name}, whose licence is not on record here: check its card."
    lines = ["## Licence", "", of_base, ""]
    for item in data:
        if item.use == "training":
            known = item.known.licence if item.known else "not on record here: check its source"
            lines.append(f"- trained on {escaped(item.name)}: {escaped(known)}")
    return [*lines, "", "No licence of this model itself was chosen by rlguide.", ""]


def _data(data: list[Dataset]) -> list[str]:
    if not data:
        return ["## Data", "", "Not on record.", ""]
    lines = ["## Data", "", "| Dataset | Use | Rows | Source | SHA-256 |", "|---|---|---|---|---|"]
    for item in data:
        source = item.hub_id or "a local file"
        source += " on ModelScope" if item.hub == "modelscope" else ""
        if item.hub_id and item.commit:
            source += f" at {item.commit[:12]}"
        rows = f"{item.rows:,}" if type(item.rows) is int else "-"
        cells = (item.name, item.use, rows, source, item.sha256 if isinstance(item.sha256, str) else "-")
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    return [*lines, ""]


def _training(record: RunRecord) -> list[str]:
    if not record.method:
        return ["## Training", "", "Not on record.", ""]
    config = record.config or {}
    rows: list[tuple[str, Any]] = [("method", record.method), ("loss", record.loss), ("template", record.template)]
    rows += [(key, config.get(key)) for key in _SETTINGS]
    rows += [("steps", record.total_steps), ("effective batch", record.effective_batch)]
    gpus = (record.surroundings or {}).get("gpus")
    if isinstance(gpus, list):
        rows.append(("GPUs", ", ".join(map(str, gpus)) or "none (CPU)"))
    if record.seconds is not None:
        rows.append(("training time", f"{record.seconds:.0f} s"))
    versions = record.engine or {}
    rows.append(("versions", ", ".join(f"{name} {versions[name]}" for name in _VERSIONS if name in versions)))
    table = [f"| {escaped(name)} | {escaped(value)} |" for name, value in rows if value not in (None, "")]
    return ["## Training", "", "| Setting | Value |", "|---|---|", *table, ""]


def _merge(folder: Path, policy: Policy) -> list[str]:
    try:
        manifest = read_json(folder / MANIFEST)
    except DataError:
        manifest = {}
    compared = manifest.get("compared") if isinstance(manifest, dict) else None
    lines = ["## Merge", "", f"Merged by LLaMA-Factory's export, through rlguide {__version__}."]
    far = finite(compared.get("difference")) if isinstance(compared, dict) else None
    if isinstance(compared, dict) and far is not None:
        lines.append(
            f"{escaped(compared.get('prompts'))} prompts were scored by the stack of adapters and by this model: log-"
            f"probabilities differ by at most {far:.1g} nats ({escaped(compared.get('tolerance'))} allowed), greedy "
            "responses are the same."
        )
    else:
        lines.append("It was not compared with the stack of adapters.")
    return [*lines, "", f"Chat template: {escaped(policy.template)}.", ""]


def _use(model: str, chat: str) -> str:
    """How it is used. Args: model: its folder or repository; chat: the command to chat with it."""
    name = _one_line(model)
    lines = [
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        f'chat = pipeline("text-generation", model={json.dumps(name, ensure_ascii=False)})',
        'print(chat([{"role": "user", "content": "Hello!"}], max_new_tokens=128))',
        "```",
        "",
        "```bash",
        f"vllm serve {shlex.quote(name)}",
        chat,
        "```",
    ]
    return "\n".join(lines)


def _one_line(name: str) -> str:
    return " ".join(printable(name).split())
