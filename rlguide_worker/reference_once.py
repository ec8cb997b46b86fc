"""The reference's log-probabilities, computed once for each example.

The reference does not change, and the engine asks it at every step of every epoch and evaluation. Here they are kept by
example: a hash of its tokens and labels, and one number for each response. They are saved with each checkpoint, so
that a resumed run has them, and are used again only if the reference's weights and the versions are the same.

In several processes the reference runs wherever one of them lacks an example, since a forward pass of a model that is
wrapped for several is a collective call; what it gives is shared.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch

FILE = "reference.safetensors"
SAMPLE = 4096  # values of each weight that the fingerprint takes as they are
PIECE = 2**20  # of eight bytes each: it also takes the sum of so many
_PACKAGES = ("llamafactory", "peft", "torch", "transformers", "trl")
_ROWS = {"input_ids", "attention_mask", "labels", "position_ids", "token_type_ids", "kto_tags"}


class Reference:
    """Log-probabilities by example, with what they cost and saved."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[float, ...]] = {}
        self.computed = self.looked_up = 0
        self.why_not = ""  # why every example is computed, if it is

    def known(self, trainer, keys):
        """The values (n, k) of the examples, float32 on the trainer's device; None if one is missing somewhere."""
        rows = [self.values.get(key) for key in keys]
        found = bool(rows) and None not in rows
        if trainer.accelerator.num_processes > 1:
            flag = torch.tensor(int(found), device=trainer.accelerator.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
            found = bool(flag)
        if not found:
            self.computed += len(keys)
            return None
        self.looked_up += len(keys)
        return torch.tensor(rows, dtype=torch.float32, device=trainer.accelerator.device)

    def keep(self, trainer, keys, values):
        """Keep the values (n, k), and those of the other processes."""
        names, values = _as_rows(keys), values.detach().float()
        if trainer.accelerator.num_processes > 1:
            names = _gathered(trainer.accelerator, names.to(values.device))
            values = _gathered(trainer.accelerator, values)
        for name, row in zip(names.cpu().numpy(), values.tolist(), strict=True):
            self.values[name.tobytes()] = tuple(row)

    def give_up(self, why: str) -> None:
        """Compute every example from now on."""
        self.values.clear()
        self.why_not = why

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write the values into a checkpoint's folder; where that fails, a resumed run computes them again."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self.values:
            return
        names, values = _as_rows(self.values), torch.tensor(list(self.values.values()), dtype=torch.float32)
        part = folder / f"{FILE}.part"
        try:
            save_file({"examples": names, "values": values}, part, {"fingerprint": fingerprint})
            part.replace(folder / FILE)
        except (OSError, SafetensorError) as error:
            print(f"rlguide: the reference's values are not saved with {folder.name}: {error}")

    def load(self, folder: Path, fingerprint: str) -> str:
        """Take the values of a checkpoint. Returns why not, or ""."""
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        if not path.exists():
            return "the checkpoint has none"
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("fingerprint") != fingerprint:
                    return "those of the checkpoint are of other weights, settings or versions"
                names, values = file.get_tensor("examples"), file.get_tensor("values")
        except (SafetensorError, OSError) as error:
            return f"those of the checkpoint cannot be read: {error}"
        is_sound = names.dtype == torch.uint8 and values.dtype == torch.float32 and names.shape == (len(values), 16)
        if not is_sound or not bool(values.isfinite().all()):
            return "those of the checkpoint are damaged"
        for name, row in zip(names.numpy(), values.tolist(), strict=True):
            self.values[name.tobytes()] = tuple(row)
        return ""


def _as_rows(keys):
    """Keys of 16 bytes as rows of a tensor."""
    if not keys:
        return torch.zeros((0, 16), dtype=torch.uint8)
    return torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).reshape(-1, 16)


def _gathered(accelerator, rows):
    """The rows of all processes, which may have different numbers of them; padding is left out."""
    counts = accelerator.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    most = max(1, *counts)  # nothing can be split into parts of no rows
    padded = rows.new_zeros((most, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = accelerator.gather(padded).split(most)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def fingerprint(model, is_adapter_off: bool, settings: dict) -> str:
    """A digest of the reference: its weights, its configuration, `settings`, the packages' versions.

    Of each weight it takes samples, and sums of all bits read as integers, which one changed value changes.
    `is_adapter_off`: the reference is `model` without the adapter that is trained, so only frozen weights count.
    """
    digest = hashlib.sha256()
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}  # some quantized weights are buffers
    for name, weight in sorted(weights.items()):
        if is_adapter_off and weight.requires_grad:
            continue
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // SAMPLE)].contiguous().cpu()
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
        digest.update(_sums(flat).numpy().tobytes())
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    versions = {name: version(name) for name in _PACKAGES}
    digest.update(json.dumps([config, settings, versions], sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _sums(flat):
    """The sum of each piece of a flat weight, eight bytes read as one integer, and the bytes that are left over."""
    data = flat.contiguous().view(torch.uint8)
    if data.storage_offset() % 8:
        data = data.clone()
    rest = len(data) % 8
    words = data[: len(data) - rest].view(torch.int64)
    sums = [piece.sum() for piece in words.split(PIECE)]
    return torch.cat([torch.stack(sums), data[len(data) - rest :]]).cpu()


def pairs(batch, model):
    """A key for each pair of a batch whose second half has the rejected responses."""
    count = len(batch["input_ids"]) // 2
    rows = _rows(batch, "")
    return [_key(rows[number] + rows[number + count], model) for number in range(count)]


def responses(batch, model):
    """A key for each example of a KTO batch: its response and the one that the KL is estimated from."""
    return [_key(own + other, model) for own, other in zip(_rows(batch, ""), _rows(batch, "kl_"), strict=True)]


def _rows(batch, prefix):
    """For each row the bytes of its tokens and labels, without padding."""
    names = ("input_ids", "labels", "attention_mask")
    ids, labels, mask = (batch[prefix + name].cpu() for name in names)
    return [
        b"%d " % len(kept) + kept.numpy().tobytes() + label[is_kept].numpy().tobytes()
        for row, label, is_kept in zip(ids, labels, mask.bool(), strict=True)
        for kept in [row[is_kept]]
    ]


def _key(content: bytes, model) -> bytes:
    """In training a model may add noise or drop units, in evaluation it does not: these are two."""
    return hashlib.blake2b(content, digest_size=16, key=b"train" if model.training else b"eval").digest()


def has_only_text(batch) -> bool:
    """Whether tokens and labels are all there is: pictures are not part of a key."""
    return all(name.removeprefix("kl_") in _ROWS for name in batch)


def _random_state():
    """The states of the random generators, to see whether something drew from them."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def ask(reference: Reference, trainer, keys, compute):
    """The values (n, k) of the examples with these keys: kept ones, or those that `compute()` gives.

    No keys (None): the examples have more than text, and their values are not kept.
    """
    values = reference.known(trainer, keys or [])
    if values is not None:
        return values
    before = _random_state()
    values = compute()
    if not all(map(torch.equal, before, _random_state())):
        reference.give_up("its forward pass draws random numbers (dropout or NEFTune's noise)")
    else:
        reference.keep(trainer, keys or [], values if keys else values[:0])
    return values


def of_pairs(engines):
    """CustomDPOTrainer.compute_reference_log_probs, which asks the engine's only for pairs that are new."""

    def compute_reference_log_probs(self, model, batch):
        reference = self.lean.reference
        if reference is None or reference.why_not:
            return engines(self, model, batch)
        keys = pairs(batch, model) if has_only_text(batch) else None
        values = ask(reference, self, keys, lambda: torch.stack(engines(self, model, batch), -1))
        return values.unbind(-1)

    return compute_reference_log_probs


def of_responses(engines):
    """CustomKTOTrainer.compute_reference_log_probs, which asks the engine's only for examples that are new."""

    def compute_reference_log_probs(self, model, batch):
        reference = self.lean.reference
        if reference is None or reference.why_not:
            return engines(self, model, batch)
        is_chosen = batch["kto_tags"]

        def compute():
            chosen, rejected, kl = engines(self, model, batch)
            own = torch.empty_like(kl)
            own[is_chosen], own[~is_chosen] = chosen, rejected
            return torch.stack([own, kl], -1)

        keys = responses(batch, model) if has_only_text(batch) else None
        own, kl = ask(reference, self, keys, compute).unbind(-1)
        return own[is_chosen], own[~is_chosen], kl

    return compute_reference_log_probs
