"""Row `equivalence`: the loops that are timed learn the same: val accuracy of a small network over seeds."""

from pathlib import Path
from typing import Any

import work
from measure import Figure, Options, figures


def equivalence(options: Options) -> list[Figure]:
    """Points of val accuracy, a value a seed; means within 2 points, on a network that reaches at least 60 %."""
    from terrablate.data.pack import ensure_pack

    epochs, seeds = options.size(20, 1), range(options.size(10, 1))
    found: dict[str, list[float]] = {"torchgeo": [], "terrablate": []}
    for seed in seeds:
        network = [*work.training("small_cnn", epochs, seed=seed), "model.width=8", "norm=batch"]
        config = work.compose(options, *work.eurosat(options), *network, "trainer=cpu", "force=true")
        pack = ensure_pack(config.data, Path(config.packs_dir))
        found["torchgeo"].append(_torchgeo(options, work.network(config, pack), pack.bands, epochs, seed))
        found["terrablate"].append(_ours(config))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    found["difference of the means"] = [means["terrablate"] - means["torchgeo"]]
    targets = {"terrablate": "at least 60", "difference of the means": "within 2"}
    conditions = (
        f"small_cnn, 8 channels wide, batch norm, on EuroSAT, 13 bands, {epochs} epochs, {len(seeds)} seeds, the same"
        " initial weights; the last epoch's weights"
    )
    return figures("equivalence", "points", found, {}, options, targets=targets, conditions=conditions)


def _torchgeo(options: Options, trained: Any, bands: list[str], epochs: int, seed: int) -> float:
    import lightning
    import torch

    lightning.seed_everything(seed)
    work.torchgeo_rate(options, trained, 0, epochs, bare=True, bands=bands)
    data = work.torchgeo_data(options, 0, bands)
    data.setup("fit")
    mean, std = data.mean.view(-1, 1, 1), data.std.view(-1, 1, 1)
    trained.cpu().eval()
    right = seen = 0
    with torch.inference_mode():
        for batch in data.val_dataloader():
            right += int((trained((batch["image"] - mean) / std).argmax(1) == batch["label"]).sum())
            seen += len(batch["label"])
    return 100 * right / seen


def _ours(config: Any) -> float:
    from terrablate.training.run import run

    result = run(config).result()
    assert result is not None
    return 100 * float(result["last"]["accuracy/val"])
