"""Train a 64-bit hash function with SDCLoss in a plain torch loop, and search with it."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from torch import nn

from sdc_search import SDCLoss, hamming_topk, pack_bits

torch.manual_seed(0)
data = np.load(str(files("sdc_search") / "demo_data" / "fashion.npz"))
scale = np.float32(1 / np.sqrt(np.mean(np.square(data["database"], dtype=np.float64))))
features, queries = (torch.from_numpy(np.float32(data[part]) * scale) for part in ("database", "query"))
model = nn.Sequential(nn.Linear(features.shape[1], 512), nn.GELU(), nn.Linear(512, 64), nn.BatchNorm1d(64))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
criterion = SDCLoss()

for epoch in range(20):
    for rows in torch.randperm(len(features)).split(64):
        if len(rows) < 64:
            continue
        loss = criterion(features[rows], model(features[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

model.eval()
with torch.no_grad():
    database, query = pack_bits(model(features).numpy()), pack_bits(model(queries).numpy())
_, ids = hamming_topk(database, query, 100)
hits = data["database_labels"][ids] == data["query_labels"][:, None]
print(f"precision among the 100 nearest: {hits.mean():.3f}")
