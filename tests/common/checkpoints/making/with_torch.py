"""Make torch's files: ``python with_torch.py FOLDER`` where torch 2.13 and safetensors are."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(8, 3, bidirectional=True, batch_first=True)
        self.rnn = nn.RNN(6, 5, nonlinearity="relu", batch_first=True)
        self.bare = nn.LSTM(5, 2, bidirectional=True, bias=False, batch_first=True)
        self.projected = nn.LSTM(4, 3, proj_size=2, batch_first=True)
        self.head = nn.Linear(4, 2)


folder = Path(sys.argv[1])
torch.manual_seed(0)
model = Model()
torch.save(model.state_dict(), folder / "torch.pt")
parallel = {f"module.{name}": value for name, value in model.state_dict().items()}
training = {"model": parallel, "epoch": 3, "optimizer": torch.optim.Adam(model.parameters()).state_dict()}
torch.save(training, folder / "torch-training.pt")
torch.save(model.state_dict(), folder / "torch-before-1.6.pt", _use_new_zipfile_serialization=False)
torch.save(model.bfloat16().state_dict(), folder / "torch-bfloat16.pt")
model.float().load_state_dict(torch.load(folder / "torch.pt"))
save_file(model.state_dict(), folder / "torch.safetensors")
answers: dict = {}
for name in ("lstm", "gru", "rnn", "bare"):
    layer = getattr(model, name)
    x = torch.randn(2, 5, layer.input_size)
    answers |= {f"{name}.x": x, f"{name}.output": layer(x)[0].detach().contiguous()}
save_file(answers, folder / "torch.answers.safetensors")
