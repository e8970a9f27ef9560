"""What this host offers to runs: its findings (`assay doctor`), CPU and GPU slots, and the images it keeps."""

from containers.machine.devices import CpuSlots, GpuInventory, GpuSlots, NoFreeGpu, gpu_inventory, slots_of_this_host
from containers.machine.doctor import Finding, Level, examine, report
from containers.machine.image_cache import ImageBusy, ImageCache, borrowed_image, has_image

__all__ = [
    "CpuSlots",
    "Finding",
    "GpuInventory",
    "GpuSlots",
    "ImageBusy",
    "ImageCache",
    "Level",
    "NoFreeGpu",
    "borrowed_image",
    "examine",
    "gpu_inventory",
    "has_image",
    "report",
    "slots_of_this_host",
]
