#!/usr/bin/env python3
"""A PyTorch training that knows nothing of checkpoints: a small transformer with Adam on made-up text.

    train.py [--steps N] [--workers W] [--graph] [--amp] [--rate] [--pause-at K --pause-file F]

Prints a line for each step with the loss's bits, and at the end a checksum of every parameter and of Adam's
moments. The same seeds give the same bits on the same GPU. --graph: the step is one CUDA graph; --amp: mixed
precision with a gradient scaler; --rate: steps per second as well (then no two outputs are equal).
"""
import argparse
import hashlib
import os
import struct
import sys
import time

# before torch: cuBLAS is deterministic only with a workspace of a fixed size
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402
from torch import nn  # noqa: E402

VOCABULARY, LENGTH, WIDTH, HEADS, LAYERS, BATCH = 512, 64, 256, 4, 4, 16


class Text(torch.utils.data.Dataset):
    """Sequence i, made from i alone: whichever worker makes it, it is the same."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        start, stride = (i * 7919) % VOCABULARY, 1 + i % 5
        words = (start + stride * torch.arange(LENGTH + 1) + (torch.arange(LENGTH + 1) ** 2) % 7) % VOCABULARY
        return words[:-1], words[1:]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, x):
        return self.out(self.layers(self.words(x) + self.places, mask=self.mask, is_causal=False))


def pause(step, args):
    """Wait here, if this is the step, until F.go exists."""
    if step != args.pause_at:
        return
    torch.cuda.synchronize()
    open(args.pause_file + ".reached", "w").close()
    while not os.path.exists(args.pause_file + ".go"):
        time.sleep(0.01)


def checksum(model, optimizer):
    torch.cuda.synchronize()
    h = hashlib.sha256()
    for name, p in model.named_parameters():
        h.update(name.encode())
        h.update(p.detach().cpu().contiguous().numpy().tobytes())
        for key in ("exp_avg", "exp_avg_sq"):
            if key in optimizer.state[p]:
                h.update(optimizer.state[p][key].cpu().contiguous().numpy().tobytes())
    h.update(torch.cuda.get_rng_state().numpy().tobytes())
    return h.hexdigest()[:32]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--workers", type=int, default=0)
    ap.add_argument("--graph", action="store_true")
    ap.add_argument("--amp", action="store_true")
    ap.add_argument("--rate", action="store_true")
    ap.add_argument("--pause-at", type=int, default=0)
    ap.add_argument("--pause-file")
    args = ap.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    device = torch.device("cuda")
    model = Model().to(device)
    # capturable keeps Adam's step count on the device, which a graph needs
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, capturable=args.graph)
    scaler = torch.amp.GradScaler("cuda", enabled=args.amp)
    loader = torch.utils.data.DataLoader(Text(BATCH * args.steps), batch_size=BATCH, num_workers=args.workers,
                                         pin_memory=True)
    x = torch.zeros(BATCH, LENGTH, dtype=torch.long, device=device)
    y = torch.zeros_like(x)
    loss = torch.zeros((), device=device)

    def forward_backward():
        with torch.autocast("cuda", dtype=torch.float16, enabled=args.amp):
            out = model(x)
            part = nn.functional.cross_entropy(out.reshape(-1, VOCABULARY), y.reshape(-1))
        scaler.scale(part).backward()
        loss.copy_(part.detach())

    def plain_step():
        optimizer.zero_grad(set_to_none=not args.graph)
        forward_backward()
        scaler.step(optimizer)
        scaler.update()

    step_once = plain_step
    if args.graph:
        assert not args.amp, "the scaler looks at the host: not in a graph"
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                plain_step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            plain_step()
        step_once = graph.replay

    began = None
    for step, (a, b) in enumerate(loader, 1):
        pause(step, args)
        x.copy_(a, non_blocking=True)
        y.copy_(b, non_blocking=True)
        step_once()
        value = loss.item()
        print(f"step {step} loss {value:.6f} {struct.pack('>f', value).hex()}")
        if step == 10:
            torch.cuda.synchronize()
            began = time.monotonic()
    if args.rate and args.steps > 10:
        torch.cuda.synchronize()
        print(f"rate {(args.steps - 10) / (time.monotonic() - began):.2f}")
    print(f"checksum {checksum(model, optimizer)}")


if __name__ == "__main__":
    main()
