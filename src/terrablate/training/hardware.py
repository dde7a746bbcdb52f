"""Which device, how many processes, how many threads: resolved before a run, since they change its digits."""

import contextlib
import gc
import os
import resource
import shutil
import sys
from collections.abc import Iterator

import torch

from terrablate.config.identity import Hardware, Precision
from terrablate.config.schema import BatchNorm, NativeNorm, Norm, Trainer
from terrablate.errors import ConfigError

HALF_PRECISION = {"bf16": torch.bfloat16, "16": torch.float16}
"""Types of autocast by the precision of a run; one that is not here has none."""
_COMPILERS = {
    "cpu": ("C++", "CXX", ("clang++",) if sys.platform == "darwin" else ("g++",)),
    "cuda": ("C", "CC", ("gcc", "clang")),
}
"""What torch's compiler translates with, and where it looks for it: on a GPU, Triton does."""


def resolve(trainer: Trainer) -> Hardware:
    """What the run will use on this machine.

    Raises:
        ConfigError: if a GPU is asked for that is not there, or needed for what is asked, or a compiler is.
    """
    wanted = trainer.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise ConfigError(f"trainer={trainer.name}: there is no GPU that torch can use; trainer=cpu works everywhere")
    accelerator = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    present = torch.cuda.device_count() if accelerator == "cuda" else None
    devices = trainer.devices
    if devices == "auto":
        if present is None:
            raise ConfigError("trainer.devices=auto: there is no GPU to count; on the CPU say how many processes")
        devices = present
    if present is not None and devices > present:
        raise ConfigError(f"trainer.devices={devices}: there are {present} GPUs")
    if trainer.compile is not None:
        _check_compiler(trainer.compile, accelerator)
    if not trainer.deterministic and accelerator == "cpu":
        raise ConfigError(
            "trainer.deterministic=false: changes nothing on the CPU, and there is no GPU; leave it at true"
        )
    return Hardware(
        accelerator,
        devices,
        _precision(accelerator) if trainer.precision == "auto" else trainer.precision,
        trainer.threads or _cores() // _local(devices, accelerator),
    )


def _precision(accelerator: str) -> Precision:
    """bf16 where the device computes in it: GPUs from Ampere on; those before would convert to and fro."""
    computes = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if computes else "32"


def _check_compiler(mode: str, accelerator: str) -> None:
    if mode == "reduce-overhead" and accelerator == "cpu":
        raise ConfigError(
            "trainer.compile=reduce-overhead: needs a GPU for its CUDA graphs, and there is none; use default"
        )
    language, variable, names = _COMPILERS[accelerator]
    asked = os.environ.get(variable)
    if not any(shutil.which(name) for name in ([asked] if asked else names)):
        raise ConfigError(
            f"trainer.compile={mode}: needs a {language} compiler, and there is no {asked or ' or '.join(names)};"
            f" install one, let {variable} name one, or leave trainer.compile out"
        )


def check_sync(norm: Norm, hardware: Hardware) -> None:
    """Refuse synchronised batch normalisation where torch cannot do it.

    Raises:
        ConfigError: if it is asked for and there is one device only, or the CPU.
    """
    if not (isinstance(norm, NativeNorm | BatchNorm) and norm.sync):
        return
    if hardware.world_size < 2 or hardware.accelerator == "cpu":
        found = "the CPU" if hardware.accelerator == "cpu" else "one GPU"
        raise ConfigError(f"norm.sync=true: needs several GPUs, and the run would use {found}; leave it at false")


def _local(devices: int, accelerator: str) -> int:
    """CPU processes share the cores."""
    return devices if accelerator == "cpu" else 1


def _cores() -> int:
    """Cores that this process may use, or fewer if OMP_NUM_THREADS says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed


def prepare(hardware: Hardware, *, deterministic: bool = True) -> None:
    """Set threads, and on a GPU how kernels are chosen. On the CPU they are the same each time.

    Deterministic: cuDNN takes the algorithm that it expects to be fast instead of trying them all, and none whose sums
    depend on the order in which threads arrive; torch takes deterministic kernels where it has them and warns where it
    has none. This costs speed in the backward passes of convolutions most of all. What torch does besides, filling new
    memory with NaN, is left out: it costs a kernel for each tensor, and nothing here reads memory that was not written.

    Else cuDNN tries all algorithms at each new shape of a batch and keeps the fastest, so that two runs of one config
    differ by rounding. It pays for convolutions on many batches of one shape.

    In both cases float32 is torch's own on GPUs from Ampere on: convolutions in TF32 (10 bits of mantissa), products of
    matrices in full float32. `precision=32` does not change that; bf16 has 7 bits, and computes both faster.

    Args:
        hardware: of the run.
        deterministic: `trainer.deterministic`.
    """
    torch.set_num_threads(max(1, hardware.threads))
    if hardware.accelerator == "cpu":
        # Lightning has torch ask the driver's library for GPUs, and optimizers ask in each step; where there is no
        # library, looking for it takes half a millisecond
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else matrix products may differ from run to run
        torch.backends.cudnn.benchmark = not deterministic
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.cuda.reset_peak_memory_stats()


@contextlib.contextmanager
def imports_uncollected() -> Iterator[None]:
    """What is there already is not looked through for garbage meanwhile."""
    if gc.get_freeze_count():  # a worker keeps what it has imported so for all its runs
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def process_rank() -> int:
    """Rank of this process, as launchers tell it before any process group exists."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def peak_memory_bytes(accelerator: str) -> int:
    """Most memory that was held at once: on the GPU if there is one, else by this process."""
    if accelerator == "cuda":
        return int(torch.cuda.max_memory_allocated())
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


def device_name(accelerator: str) -> str:
    """The GPU's name, or the processor's architecture and number of cores."""
    if accelerator == "cuda":
        return str(torch.cuda.get_device_name())
    return f"{os.uname().machine} CPU, {os.cpu_count()} cores"
