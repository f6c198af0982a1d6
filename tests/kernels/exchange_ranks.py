"""Ranks that exchange tokens with their experts, for test_expert_exchange.py; talk by gloo.

Each rank compares outputs and gradients with those of all experts in one process.
"""

import os
import sys
import tempfile

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from microturn.kernels.expert_exchange import ExpertExchange, _Way
from microturn.kernels.experts import experts_reference
from microturn.model.config import MoEConfig
from microturn.model.moe import MixtureOfExperts

N, K, E, D, F = 6, 2, 4, 8, 16
torch.set_default_dtype(torch.float64)


def tokens_of(rank: int) -> tuple[Tensor, Tensor]:
    """Draw the tokens (N, D) of a rank and the weights (N, K) of their experts."""
    g = torch.Generator().manual_seed(rank)
    x, w = torch.randn(N, D, generator=g), torch.rand(N, K, generator=g)
    return x.requires_grad_(), w.requires_grad_()


def split(stacks: list[Tensor], n: int) -> tuple[ExpertExchange, list[Tensor]]:
    """Split stacks of experts over all ranks."""
    mesh = init_device_mesh("cpu", (n,))
    parts = [distribute_tensor(s, mesh, [Shard(0)], src_data_rank=None) for s in stacks]
    return ExpertExchange(mesh.get_group()), [part.requires_grad_() for part in parts]


def check(rank: int, n: int, ids: list[Tensor]) -> None:
    """Compare with all experts here; ids (N, K) of every rank."""
    g = torch.Generator().manual_seed(9)
    stacks = [torch.randn(E, D, 2 * F, generator=g), torch.randn(E, F, D, generator=g)]
    exchange, parts = split(stacks, n)

    whole = [s.clone().requires_grad_() for s in stacks]
    inputs = [tokens_of(r) for r in range(n)]
    expected = [experts_reference(x, ids[r], w, *whole) for r, (x, w) in enumerate(inputs)]
    torch.stack([(r + 1) * y.square().sum() for r, y in enumerate(expected)]).sum().backward()

    x, w = tokens_of(rank)
    trip = exchange.send(x, ids[rank], E)
    trip.compute(*parts)
    y = trip.combine(w)
    torch.testing.assert_close(y, expected[rank])
    ((rank + 1) * y.square().sum()).backward()
    torch.testing.assert_close((x.grad, w.grad), tuple(each.grad for each in inputs[rank]))
    for stack, part in zip(whole, parts, strict=True):
        assert stack.grad is not None
        torch.testing.assert_close(part.grad.full_tensor() * n, stack.grad)


def check_overlap(n: int) -> None:
    """Shared experts are computed while rows travel: forward, and backward in the reverse order."""
    mixture = MixtureOfExperts(D, MoEConfig(n_experts=E, top_k=K, n_shared=1, d_expert=F))
    mixture.init_weights(1.0)
    assert mixture.shared is not None
    mixture.exchange, [up, down] = split([mixture.up.detach(), mixture.down.detach()], n)
    mixture.up, mixture.down = nn.Parameter(up), nn.Parameter(down)
    order: list[str] = []
    for name in ("start", "wait"):
        method = getattr(_Way, name)
        setattr(
            _Way, name, lambda *a, name=name, method=method: [order.append(name), method(*a)][1]
        )
    for name, layer in (("up", mixture.shared.up), ("down", mixture.shared.down)):
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
        layer.register_full_backward_hook(lambda *_, name=name: order.append(name))
    y = mixture(torch.randn(1, N, D, requires_grad=True))
    assert order == ["start", "up", "wait", "start", "down", "wait"]
    order.clear()
    y.sum().backward()
    assert order == ["start", "down", "wait", "start", "up", "wait"]


def main(rank: int, n: int, store: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=n)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    check(rank, n, [torch.rand(N, E, generator=g).topk(K).indices for _ in range(n)])
    check(rank, n, [torch.tensor([[0, 1]]).expand(N, K)] * n)  # the last rank gets no token
    check_overlap(n)
    dist.destroy_process_group()


if __name__ == "__main__":
    n = int(sys.argv[1])
    store = tempfile.mktemp()
    children = []
    for rank in range(n):
        pid = os.fork()
        if pid == 0:
            main(rank, n, store)
            os._exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    sys.exit(max(map(abs, codes)))
