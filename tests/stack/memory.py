"""How much memory the container of a service uses."""

from tests.stack.images import ONE, Images
from tests.stack.stack import Stack

# Go gives memory back after a collection, which may be two minutes away. This asks for some.
COLLECT = """
import urllib.request as u
for _ in range(3):
    u.urlopen("http://localhost:2019/debug/pprof/heap?gc=1").read()
"""


def memory(stack: Stack, images: Images, service: str) -> float:
    """The megabytes that the container of a service uses."""
    container = stack.container(service)
    if service == "proxy":
        command = ["python", "-c", COLLECT]
        network = [f"container:{container.id}"]
        stack.docker.run(images.name(ONE), command, networks=network, remove=True)
    [found] = stack.docker.stats([container])
    return found.memory_used / 1_000_000


def uses_less(stack: Stack, images: Images, service: str, most: float) -> bool:
    return memory(stack, images, service) < most
