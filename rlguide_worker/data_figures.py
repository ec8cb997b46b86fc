"""What the tokens that are trained on look like, as figures: rows that are cut, pairs that are nearly the same."""

from collections import Counter

SAMPLE = 500  # rows that are looked at, evenly over the data set: a share is then known to within 0.05 or so
IGNORED = -100  # the label of a token that is not learnt


def figures(dataset, settings: dict, special: "tuple | list | set") -> dict:
    """The figures of a data set as the trainer has it, in tokens; {} of one that they say nothing about.

    `settings`: the config. `special`: ids of special tokens, one of which ends each whole response.
    """
    if settings.get("packing") or settings.get("neat_packing") or not hasattr(dataset, "select"):
        return {}  # rows of several examples, or a stream
    columns, count = set(dataset.column_names), len(dataset)
    if not count:
        return {}
    some = min(SAMPLE, count)
    rows = [dataset[number * count // some] for number in range(some)]
    found = {"rows": count, "sampled": len(rows)}
    cutoff, special = int(settings.get("cutoff_len") or 2048), set(special)
    if {"chosen_input_ids", "rejected_input_ids", "chosen_labels", "rejected_labels"} <= columns:
        pairs = [[_response(row[f"{side}_labels"]) for side in ("chosen", "rejected")] for row in rows]
        is_cut = [
            any(
                _is_cut(row[f"{side}_input_ids"], response, cutoff, special)
                for side, response in zip(("chosen", "rejected"), pair, strict=True)
            )
            for row, pair in zip(rows, pairs, strict=True)
        ]
        found["distance"] = _mean(distance(*pair) for pair in pairs)
        found["longer"] = _mean(
            0.5 if len(chosen) == len(rejected) else len(chosen) > len(rejected) for chosen, rejected in pairs
        )
    elif {"input_ids", "labels"} <= columns:
        is_cut = [_is_cut(row["input_ids"], _response(row["labels"]), cutoff, special) for row in rows]
    else:
        return {}
    found["cut"] = _mean(is_cut)
    if "kto_tags" in columns:
        good = sum(map(bool, dataset["kto_tags"]))
        found |= {"good": good, "bad": count - good}
    return found


def distance(one: list, other: list) -> float:
    """How far apart two responses are, from 0 (the same tokens) to 1 (none in common).

    The bag distance over the length of the longer one, which is at most the normalised edit distance (I. Bartolini,
    P. Ciaccia, M. Patella, SPIRE 2002), and linear where that is quadratic.
    """
    more, less = Counter(one), Counter(other)
    unlike = max((more - less).total(), (less - more).total())
    return unlike / max(len(one), len(other), 1)


def _response(labels: list) -> list:
    return [label for label in labels if label != IGNORED]


def _is_cut(ids: list, response: list, cutoff: int, special: set) -> bool:
    """Whether a response lost its end: the row is as long as it may be, and no special token is at its end."""
    return len(ids) >= cutoff and not special.intersection(response[-3:])


def _mean(values) -> float:
    values = list(values)
    return round(sum(values) / len(values), 4)


def make_callback(events, settings: dict):
    """A TrainerCallback that tells the figures of the data to `events` as the training begins, in the main process.

    `settings`: the config.
    """
    from transformers import TrainerCallback

    class Teller(TrainerCallback):
        def on_train_begin(self, args, state, control, train_dataloader=None, processing_class=None, **others):
            if not state.is_world_process_zero:
                return
            try:
                special = getattr(processing_class, "all_special_ids", ())
                found = figures(getattr(train_dataloader, "dataset", None), settings, special)
            except Exception:  # of data in a form that nobody has seen yet; training goes on without
                return
            if found:
                events.write("data", **found)

    return Teller()
