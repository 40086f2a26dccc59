"""A network for decoding on a CPU: the same weights, laid out once for the products of a search.

A matrix library copies a weight into the order its kernels read before it multiplies. A search with few rows does so in
every step, and spends up to a third of its time there; oneDNN can keep the copy.
"""

import copy
from typing import cast

from torch import Tensor, nn

from lit_transformer.components.attention import PackedInputProjection, SelfAttention
from lit_transformer.components.cpu_kernels import PackedLinear, can_pack
from lit_transformer.layers import Stack
from lit_transformer.transformer import Transformer


class PackedTransformer(Transformer):
    """A view of a network with packed linear layers; everything else is shared with it.

    Equal to the network but for rounding. For decoding only: without gradients, and only while the weights are not
    changed.
    """

    def __init__(self, network: Transformer) -> None:
        super().__init__(
            network.config,
            network.src_embedding,
            network.tgt_embedding,
            _packed_stack(network.encoder),
            _packed_stack(network.decoder),
            network.output_embedding,
        )
        self.output_projection = PackedLinear(network.output_embedding.weight, None)
        self.train(network.training)

    def logits(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.output_projection(hidden))


def pack_for_search(network: Transformer) -> Transformer:
    """Return a `PackedTransformer` where the device and type allow it, else the network itself."""
    packable = not isinstance(network, PackedTransformer) and can_pack(network.output_embedding.weight)
    return PackedTransformer(network) if packable else network


def _packed_stack(stack: Stack) -> Stack:
    """Return a copy of a stack that shares its tensors, with packed linear layers."""
    shared = {id(tensor): tensor for tensor in (*stack.parameters(), *stack.buffers())}
    packed = copy.deepcopy(stack, shared)
    for attention in [module for module in packed.modules() if isinstance(module, SelfAttention)]:
        attention.register_module("in_proj", PackedInputProjection(attention.in_proj))
    for module in list(packed.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and can_pack(child.weight):
                module.register_module(name, PackedLinear(child.weight, child.bias))
    return packed
