"""The device that a command computes on. Importing this imports no torch."""


def choose_device(name: str) -> str:
    """Return the PyTorch name of `auto`, `cpu`, `cuda` or `cuda:N`; `auto` prefers a GPU.

    Raises ValueError for a device that does not exist.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name} is no device; use cpu, cuda, cuda:0 or auto") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name} is not supported; use cpu, cuda, cuda:0 or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}, but PyTorch finds no GPU here; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}, but there are {torch.cuda.device_count()} GPUs")
    return name


def uses_gpu(name: str) -> bool:
    """Whether `choose_device(name)` is a GPU."""
    return name != "cpu" and choose_device(name) != "cpu"
