"""PyTorch's example mnist_hogwild, on synthetic pictures: processes train one model in shared memory without locks."""

import argparse

import torch
import torch.multiprocessing as mp
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import TensorDataset
from torch.utils.data.sampler import Sampler  # noqa: F401 - the example imports it


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, kernel_size=3)
        self.drop = nn.Dropout2d(0.1)
        self.fc = nn.Linear(36, 3)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.drop(self.conv1(x)), 2))
        return F.log_softmax(self.fc(x.view(-1, 36)), dim=1)


def pictures(count):
    labels = torch.arange(count) % 3
    noise = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
    return TensorDataset(noise + labels.view(-1, 1, 1, 1) * torch.linspace(0, 1, 8), labels)


def train(rank, args, model, dataset, dataloader_kwargs):
    torch.manual_seed(args.seed + rank)
    train_loader = torch.utils.data.DataLoader(dataset, **dataloader_kwargs)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.5)
    for _ in range(args.epochs):
        model.train()
        for data, target in train_loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()


def test(model, dataset, dataloader_kwargs):
    model.eval()
    correct = 0
    with torch.no_grad():
        for data, target in torch.utils.data.DataLoader(dataset, **dataloader_kwargs):
            correct += model(data).max(1)[1].eq(target).sum().item()
    return correct / len(dataset)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", default="spawn")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    mp.set_start_method(args.start, force=True)
    model = Net()
    model.share_memory()  # gradients are allocated lazily, so they are not shared here
    before = test(model, pictures(60), {"batch_size": 30})
    processes = []
    for rank in range(2):
        p = mp.Process(target=train, args=(rank, args, model, pictures(96), {"batch_size": 16, "shuffle": True}))
        p.start()
        processes.append(p)
    for p in processes:
        p.join()
    print([p.exitcode for p in processes], before, test(model, pictures(60), {"batch_size": 30}))
