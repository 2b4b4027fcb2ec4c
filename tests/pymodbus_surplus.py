"""An energy manager by pymodbus (3.16 or later) for tests/e2e: one register that says what may be drawn.

Usage: pymodbus_surplus.py HOST PORT

Serves holding register 40 of unit 7, in units of 10 W, until standard input ends. Each line there is a new value.
"""

import asyncio
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

ADDRESS = 40
value = 0


async def answer(_function, start, address, _count, registers, _written):
    registers[address - start] = value


async def listen():
    """Takes values until the other side is gone."""
    global value
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        value = int(line)


async def main(host, port):
    register = SimData(ADDRESS, values=[0], datatype=DataType.REGISTERS)
    server = ModbusTcpServer([SimDevice(7, simdata=[register], action=answer)], address=(host, port))
    serving = asyncio.create_task(server.serve_forever())
    await listen()
    serving.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
