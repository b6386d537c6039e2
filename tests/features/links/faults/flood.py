"""A flood of requests for random slugs, as a process of its own: python -m … PORT RATE.

It asks at this rate until it gets SIGTERM, and prints how many answers it got of each status.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from secrets import token_hex

CONNECTIONS = 20


async def ask(port: int, rate: float, statuses: Counter[str]) -> None:
    """Over one connection."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = loop.time()
    while True:
        writer.write(f"GET /{token_hex(8)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(length))
        statuses[head[9:12].decode()] += 1
        due += 1 / rate
        await asyncio.sleep(due - loop.time())


async def flood(port: int, rate: float) -> Counter[str]:
    statuses: Counter[str] = Counter()
    each = rate / CONNECTIONS
    tasks = [asyncio.create_task(ask(port, each, statuses)) for _ in range(CONNECTIONS)]
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    await over.wait()
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    return statuses


if __name__ == "__main__":
    json.dump(asyncio.run(flood(int(sys.argv[1]), float(sys.argv[2]))), sys.stdout)
