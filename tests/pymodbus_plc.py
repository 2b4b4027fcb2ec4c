"""A PLC by pymodbus (3.16 or later) for tests/e2e/plc.rs: says each write as a line, and obeys what it is told.

Usage: pymodbus_plc.py ADDRESS PORT     Modbus TCP

Unit 1 has coils 0 to 15, discrete inputs 0 to 15 and holding registers 100 to 115. Each write is a line on standard output:
`FUNCTION ADDRESS VALUE…`, as in `6 100 4711`. Words on standard input: `close N` and `open N` set discrete input N, `deaf` makes
every request an error (exception 4), `hear` ends that.
"""

import asyncio
import sys

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

deaf = False
inputs = [True] + [False] * 15


async def action(function, start, address, count, registers, written):
    if deaf:
        return ExcCodes.DEVICE_FAILURE
    if function == 2:
        # Bits stand in words of 16, the first in the lowest.
        registers[0] = sum(1 << at for at, closed in enumerate(inputs) if closed)
    if written is not None:
        print(function, address, *(int(value) for value in written), flush=True)
    return None


async def obey():
    global deaf
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        match line:
            case ["close", at]:
                inputs[int(at)] = True
            case ["open", at]:
                inputs[int(at)] = False
            case ["deaf"]:
                deaf = True
            case ["hear"]:
                deaf = False
        print("done", *line, flush=True)


async def main(address, port):
    coils = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    contacts = [SimData(0, values=inputs, datatype=DataType.BITS)]
    holding = [SimData(100, values=[0] * 16, datatype=DataType.REGISTERS)]
    nothing = [SimData(0, values=[0], datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(coils, contacts, holding, nothing), action=action)
    server = ModbusTcpServer([device], address=(address, int(port)))
    await asyncio.gather(server.serve_forever(), obey())


asyncio.run(main(sys.argv[1], sys.argv[2]))
