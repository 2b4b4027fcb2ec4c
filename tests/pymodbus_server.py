"""A Modbus server by pymodbus (3.16 or later) for tests/meters/pymodbus.rs and the tests of serial lines.

Usage: pymodbus_server.py PORT          Modbus TCP on 127.0.0.1:PORT
       pymodbus_server.py PORT rtu      RTU frames over TCP there
       pymodbus_server.py PATH          RTU on a serial port (takes pyserial)

Serves until it is killed. Its units:

1  input registers 0x34: float, high word first; 1200.5, -300.25 and 15750000.0 W in turn, one for each read
2  holding registers 0x28 to 0x2B: two 32-bit integers, low word first, in tenths of a watt: -12345.6 and 100.0
3  input register 0: busy (exception 6) for the first three reads, then 77
4  input register 0: 88, but every third answer comes 600 ms late
5  input registers 0 and 1: 40 and 2; only one at a time (exception 2)
6  input registers 10 and 20: the floats 1000000 and -900000 W, either of which would pass for the other; every fifth
   answer comes 90 ms late. 7 and 8 the same, but 150 and 210 ms late
9  a gateway's word for a unit that it does not reach (exception 11), after 200 ms
10 registers 0x10 and up: 1500 as 32 bits, and 1 in the register behind them for a negative value; 0x20: a ratio of 80;
   0x30: -1, a power of ten; 0x40: 12345678 as decimal digits; 0x50: 1.5 as a float of 16 bits; 0x60: 1, the meter is there
"""

import asyncio
import logging
import struct
import sys

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def high_first(value):
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def low_first(value):
    return list(reversed(struct.unpack(">HH", struct.pack(">i", value))))


def device(unit, address, words, action=None):
    data = SimData(address, values=words, datatype=DataType.REGISTERS)
    return SimDevice(unit, simdata=[data], action=action)


def pair(unit, seconds):
    data = [
        SimData(address, values=high_first(value), datatype=DataType.REGISTERS)
        for address, value in ((10, 1_000_000.0), (20, -900_000.0))
    ]
    return SimDevice(unit, simdata=data, action=late(seconds, 5))


def odd(unit):
    words = {
        0x10: [0, 1500, 1],
        0x20: [80],
        0x30: [0xFFFF],
        0x40: [0x1234, 0x5678],
        0x50: list(struct.unpack(">H", struct.pack(">e", 1.5))),
        0x60: [1],
    }
    data = [SimData(address, values=values, datatype=DataType.REGISTERS) for address, values in words.items()]
    return SimDevice(unit, simdata=data)


def turning(values):
    reads = 0

    async def action(_function, start, address, count, registers, written):
        nonlocal reads
        offset = address - start
        registers[offset : offset + 2] = high_first(values[reads % len(values)])
        reads += 1

    return action


def busy(times):
    reads = 0

    async def action(_function, start, address, count, registers, written):
        nonlocal reads
        reads += 1
        return ExcCodes.DEVICE_BUSY if reads <= times else None

    return action


def late(seconds, every=3):
    reads = 0

    async def action(_function, start, address, count, registers, written):
        nonlocal reads
        reads += 1
        if reads % every == 0:
            await asyncio.sleep(seconds)

    return action


async def single(_function, start, address, count, registers, written):
    return ExcCodes.ILLEGAL_ADDRESS if count > 1 else None


async def lost(_function, start, address, count, registers, written):
    await asyncio.sleep(0.2)
    return ExcCodes.GATEWAY_NO_RESPONSE


async def main(place, rtu):
    devices = [
        device(1, 0x34, [0, 0], turning([1200.5, -300.25, 15_750_000.0])),
        device(2, 0x28, low_first(-123456) + low_first(1000)),
        device(3, 0, [77], busy(3)),
        device(4, 0, [88], late(0.6)),
        device(5, 0, [40, 2], single),
        pair(6, 0.09),
        pair(7, 0.15),
        pair(8, 0.21),
        device(9, 0, [0], lost),
        odd(10),
    ]
    if place.startswith("/"):
        server = ModbusSerialServer(devices, framer=FramerType.RTU, port=place, baudrate=19200)
    else:
        framer = FramerType.RTU if rtu else FramerType.SOCKET
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", int(place)))
    await server.serve_forever()


if __name__ == "__main__":
    # Clients that go away while an answer is late are what is tested.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    asyncio.run(main(sys.argv[1], "rtu" in sys.argv[2:]))
