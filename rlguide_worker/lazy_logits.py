"""Logits that are never held: for each token only the log-probability that is asked for, a chunk of tokens at a time.

A model's head makes B x L x V logits of B x L x H hidden states, and a loss takes one number of each V. At 2 x 2,048
tokens and Qwen3's V = 151,936 one float32 copy is 2.3 GiB, and the engine holds several: of the policy and of the
reference, as bf16, as float32, as log-softmax, and their gradients.

Inside `lazy_head` the head returns `Logits` instead: the hidden states, which remember what would have been done to
their logits. When a log-probability is picked (`gather` of a `log_softmax`, or `cross_entropy`), the head runs on a
chunk of tokens, and only the picked numbers are kept; for the backward pass the chunk is computed once more
(torch.utils.checkpoint):

    log p(y_t | x, y_<t) = log_softmax(W h_t)[y_t]

The engine's own code runs unchanged on that, the forward pass goes through the model as it is wrapped (DDP, autocast,
PEFT), and an operation that is not known here gets the full logits, as without this module.
"""

import functools
from collections import Counter
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

CHUNK_BYTES = 128 * 2**20  # of the float32 logits of one chunk; in backward about five such tensors are alive
IGNORED = -100  # the engine's IGNORE_INDEX


@contextmanager
def lazy_head(model, labels=None):
    """While it is open, `model` (a causal language model without its parallel wrapper) returns `Logits`.

    `labels` (B, L): what the log-probabilities will be asked for, -100 where a token does not count. Those are
    multiplied by zero later, so they are not computed.
    """
    head = model.get_output_embeddings()
    had_own, forward = "forward" in vars(head), head.forward
    head.forward = lambda hidden: Logits.of(hidden, head, forward, labels)
    try:
        yield
    finally:
        if had_own:
            head.forward = forward
        else:
            del head.forward


class Logits(torch.Tensor):
    """Hidden states (..., H) in the place of logits (..., V).

    `_hidden`: the same as an ordinary tensor. `_head`: from rows (n, H) to logits (n, V). `_steps`: what is done to
    each row of logits afterwards; `_is_linear`: none of it but casts and products. `_targets` (...): the token that
    follows each, -100 where it does not count; None if it is not known. `_full` (..., V): what
    they are from the time on that something asks for them in full, since that may also write into them.
    """

    @classmethod
    def of(cls, hidden, head, forward, labels):
        """What `head(hidden)` returns, not computed yet."""
        kind = hidden.device.type
        state = {"dtype": torch.get_autocast_dtype(kind), "enabled": torch.is_autocast_enabled(kind)}

        def logits(rows):
            with torch.autocast(kind, **state):  # the state that the head was called in
                return forward(rows)

        made = stand_in(hidden)
        made._hidden, made._head, made._vocabulary = hidden, logits, head.weight.shape[0]
        made._steps, made._is_linear, made._targets, made._full = (), True, None, None
        if labels is not None and labels.shape == hidden.shape[:-1]:
            made._targets = F.pad(labels, (0, 1), value=IGNORED)[..., 1:]
        return made

    def of_tokens(self, hidden, targets):
        """The same logits of other tokens."""
        made = stand_in(hidden)
        made._hidden, made._head, made._vocabulary = hidden, self._head, self._vocabulary
        made._steps, made._is_linear, made._targets, made._full = self._steps, self._is_linear, targets, None
        return made

    def after(self, step, is_linear=False):
        """These logits after one more step."""
        made = self.of_tokens(self._hidden, self._targets)
        made._steps, made._is_linear = (*self._steps, step), self._is_linear and is_linear
        return made

    def computed(self, hidden):
        """The logits (..., V) of hidden states (..., H), after all steps."""
        return functools.reduce(lambda rows, step: step(rows), self._steps, self._head(hidden))

    def in_full(self):
        """The logits (..., V), the same tensor each time."""
        if self._full is None:
            self._full = self.computed(self._hidden)
        return self._full

    def in_chunks(self, function, *rows):
        """`function` of chunks of rows, each chunk computed anew for its backward pass if there are several."""
        size = max(2 * _fewest_rows(), CHUNK_BYTES // (4 * self._vocabulary))
        count = max(1, -(-len(rows[0]) // size))
        chunks = zip(*(tensor.tensor_split(count) for tensor in rows), strict=True)
        if count > 1 and torch.is_grad_enabled():
            function = functools.partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
        return [function(*chunk) for chunk in chunks]

    def picked(self, index, is_wanted):
        """`computed(...)` at `index` (N) for each of N rows; 0 where `is_wanted` (N) is false."""
        rows = _at_least(is_wanted)
        hidden = self._hidden.reshape(-1, self._hidden.shape[-1])
        values = self.in_chunks(self._pick, hidden.index_select(0, rows), index.index_select(0, rows))
        values = torch.cat(values)
        return values.new_zeros(len(hidden)).index_copy(0, rows, values)

    def _pick(self, hidden, index):
        return self.computed(hidden).gather(-1, index.unsqueeze(-1)).squeeze(-1)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if args and isinstance(args[0], Logits) and args[0]._full is None:
                made = _answer(func, args, kwargs)
                if made is not NotImplemented:
                    return made
            asked_in_full[getattr(func, "__name__", str(func))] += 1
            return func(*_full(args), **_full(kwargs))


def stand_in(hidden):
    """A tensor of class Logits that is reached from the same parameters as `hidden` (DDP looks for those)."""
    return hidden.as_subclass(Logits)


asked_in_full: Counter[str] = Counter()  # how often operations that are not known here got full logits


def _full(values):
    """Arguments with full logits in the place of lazy ones."""
    return tree_map_only(Logits, Logits.in_full, values)


def _at_least(is_wanted):
    """The indices of the wanted rows, in order; with others if they are too few."""
    rows = is_wanted.nonzero().squeeze(-1)
    missing = _fewest_rows() - len(rows)
    if missing <= 0:
        return rows
    others = (~is_wanted).nonzero().squeeze(-1)
    return torch.cat([rows, others[:missing]]).sort().values


def _fewest_rows():
    """A product of fewer rows takes other kernels, and its last bits differ.

    Measured with MKL: from 8 rows on they do not on one thread, from 12 rows on two.
    """
    return max(16, 8 * torch.get_num_threads())


def _answer(func, args, kwargs):
    """What is asked of lazy logits, the first of `args`; NotImplemented if it takes the full ones."""
    if func in _KNOWN:
        return _KNOWN[func](*args, **kwargs)
    if getattr(func, "__name__", "") == "__get__" and func.__self__.__name__ not in ("nbytes", "itemsize"):
        value = func(args[0]._hidden)  # an attribute: device, requires_grad
        return NotImplemented if isinstance(value, torch.Tensor) else value  # .data, .T: another view of the numbers
    return NotImplemented


# What the engine and the models do with logits; each function gets the Logits. NotImplemented asks for the full ones.


def _step(function, is_linear=True):
    """An operation on each row by itself, so that it can wait."""

    def wait(logits, *args, **kwargs):
        if any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
            return NotImplemented
        return logits.after(lambda rows: function(rows, *args, **kwargs), is_linear)

    return wait


def _log_softmax(logits, dim=None, *args, **kwargs):
    is_plain = not args and not kwargs.get("dtype")
    if dim not in (-1, logits._hidden.dim() - 1) or not is_plain:
        return NotImplemented
    return logits.after(lambda rows: rows.log_softmax(-1))


def _item(logits, index):
    """Some of the tokens: a mask of the first dimension, or slices."""
    if isinstance(index, tuple):
        parts = index
        if Ellipsis in parts or len(parts) >= logits._hidden.dim():  # the last part is about the vocabulary
            *parts, last = parts
            if last != slice(None):
                return NotImplemented
        if not all(isinstance(part, slice) or part is Ellipsis for part in parts):
            return NotImplemented
    elif isinstance(index, torch.Tensor) and index.dtype == torch.bool and index.dim() == 1 < logits._hidden.dim():
        parts = index
    else:
        return NotImplemented
    leading = tuple(parts) if isinstance(index, tuple) else index
    return logits.of_tokens(logits._hidden[index], None if logits._targets is None else logits._targets[leading])


def _split(logits, size, dim=0):
    if dim != 0 or logits._hidden.dim() < 2:
        return NotImplemented
    hidden = logits._hidden.split(size)
    targets = [None] * len(hidden) if logits._targets is None else logits._targets.split(size)
    return tuple(map(logits.of_tokens, hidden, targets))


def _alone(function):
    """An operation that is known without further arguments, such as a dimension."""
    return lambda logits, *args, **kwargs: NotImplemented if args or kwargs else function(logits)


def _view(logits, *shape, **named):
    if named or shape != (-1, logits._vocabulary):
        return NotImplemented
    targets = None if logits._targets is None else logits._targets.reshape(-1)
    return logits.of_tokens(logits._hidden.reshape(-1, logits._hidden.shape[-1]), targets)


def _same(function):
    return _alone(lambda logits: logits.of_tokens(function(logits._hidden), logits._targets))


def _dtype(logits):
    with torch.no_grad():  # autocast and steps change it
        return logits.computed(logits._hidden.reshape(-1, logits._hidden.shape[-1])[:1]).dtype


def _shape(logits):
    return torch.Size([*logits._hidden.shape[:-1], logits._vocabulary])


def _size(logits, dim=None):
    return _shape(logits) if dim is None else _shape(logits)[dim]


def _gather(logits, dim, index, **others):
    hidden, targets = logits._hidden, logits._targets
    if others or dim not in (-1, hidden.dim() - 1) or index.shape != (*hidden.shape[:-1], 1):
        return NotImplemented
    flat = index.reshape(-1)
    is_wanted = torch.ones_like(flat, dtype=torch.bool)
    if targets is not None:
        counts = (targets != IGNORED).reshape(-1)
        if torch.equal(flat[counts], targets.reshape(-1)[counts]):  # it is the labels that are asked for
            is_wanted = counts
    return logits.picked(flat, is_wanted).reshape(index.shape)


def _cross_entropy(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, **others):
    """-log p of each target, reduced by torch's own kernel: the picked log-probabilities as rows of one class."""
    is_plain = weight is None and not label_smoothing and not any(others.values())
    if not is_plain or logits._hidden.dim() != 2 or target.dim() != 1:
        return NotImplemented
    counts = target != ignore_index
    picked = logits.after(lambda rows: rows.log_softmax(-1)).picked(torch.where(counts, target, 0), counts)
    only = torch.where(counts, 0, ignore_index)
    return F.nll_loss(picked.unsqueeze(-1), only, ignore_index=ignore_index, reduction=reduction)


def _argmax(logits, dim=None, *args, **kwargs):
    if args or kwargs or dim not in (-1, logits._hidden.dim() - 1):
        return NotImplemented
    hidden = logits._hidden.reshape(-1, logits._hidden.shape[-1])
    found = torch.cat(logits.in_chunks(lambda rows: logits.computed(rows).argmax(-1), hidden))
    return found.reshape(logits._hidden.shape[:-1])


def _sum(logits):
    """Of all logits of all tokens. Where only a linear head is between, it is that of the summed hidden states."""
    hidden = logits._hidden.reshape(-1, logits._hidden.shape[-1])
    if not logits._is_linear:
        return torch.stack(logits.in_chunks(lambda rows: logits.computed(rows).float().sum(), hidden)).sum()
    count = len(hidden)
    mean = hidden.float().sum(0, keepdim=True) / max(count, 1)  # a mean, since a sum can exceed what bf16 resolves
    return logits.computed(mean.to(hidden.dtype)).float().sum() * count


def _mean(logits):
    return _sum(logits) / _shape(logits).numel()


_KNOWN = {
    torch.Tensor.to: _step(torch.Tensor.to),
    torch.Tensor.float: _step(torch.Tensor.float),
    torch.Tensor.mul: _step(torch.mul),
    torch.Tensor.__mul__: _step(torch.mul),
    torch.Tensor.div: _step(torch.div),
    torch.Tensor.__truediv__: _step(torch.div),
    torch.tanh: _step(torch.tanh, is_linear=False),
    torch.Tensor.tanh: _step(torch.tanh, is_linear=False),
    torch.Tensor.log_softmax: _log_softmax,
    torch.log_softmax: _log_softmax,
    F.log_softmax: _log_softmax,
    torch.Tensor.__getitem__: _item,
    torch.Tensor.split: _split,
    torch.Tensor.view: _view,
    torch.Tensor.clone: _same(torch.clone),
    torch.Tensor.detach: _same(torch.detach),
    torch.Tensor.contiguous: _same(torch.Tensor.contiguous),
    torch.Tensor.register_hook: lambda logits, hook: logits._hidden.register_hook(hook),
    torch.Tensor.shape.__get__: _shape,
    torch.Tensor.dtype.__get__: _dtype,
    torch.Tensor.size: _size,
    torch.Tensor.dim: lambda logits: logits._hidden.dim(),
    torch.Tensor.argmax: _argmax,
    torch.argmax: _argmax,
    torch.Tensor.gather: _gather,
    torch.gather: _gather,
    F.cross_entropy: _cross_entropy,
    torch.Tensor.sum: _alone(_sum),
    torch.Tensor.nansum: _alone(_sum),
    torch.Tensor.mean: _alone(_mean),
}
