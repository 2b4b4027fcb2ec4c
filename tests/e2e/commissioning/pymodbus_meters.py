"""Meters by pymodbus (3.16 or later) for tests/e2e/commissioning.

Usage: pymodbus_meters.py PORT          Modbus TCP on 127.0.0.1:PORT
       pymodbus_meters.py PORT rtu      RTU frames over TCP there

Serves until it is killed. Its units:

1   an Eastron SDM630: input registers, floats, and nothing else; 9 kW of import on three phases
3   a Socomec Countis: holding registers with the maker's mark; 2.5 kW of export
9   a gateway's word for a unit that it does not reach (exception 11)
20  a SunSpec meter (model 203) at 40000: 1.5 kW of import
"""

import asyncio
import struct
import sys

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def words(code, *values):
    packed = struct.pack(">" + code * len(values), *values)
    return list(struct.unpack(">%dH" % (len(packed) // 2), packed))


def text(value, count):
    return list(struct.unpack(">%dH" % count, value.encode().ljust(2 * count, b"\0")))


def device(unit, holding, inputs):
    def blocks(registers):
        blocks = [SimData(address, values=values, datatype=DataType.REGISTERS) for address, values in registers]
        # pymodbus wants every table to have something.
        return blocks or [SimData(65000, values=[0], datatype=DataType.REGISTERS)]

    bits = [SimData(65000, values=[False], datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(bits, bits, blocks(holding), blocks(inputs)))


def eastron():
    return [
        (0x00, words("f", 230.1, 229.8, 231.2)),
        (0x0C, words("f", 3010.0, 2990.0, 3000.0)),
        (0x34, words("f", 9000.0)),
        (0x46, words("f", 50.02, 1234.5, 7.25)),
    ]


def socomec():
    return [
        (0xC350, [0x53, 0x4F, 0x43, 0x4F]),
        (0xC558, words("I", 23010, 22990, 23080, 4999)),
        (0xC568, words("i", -250)),
        (0xC570, words("i", -80, -85, -85)),
        (0xC702, words("I", 100000)),
        (0xC708, words("I", 200000)),
    ]


def sunspec():
    common = [1, 66] + text("Acme", 16) + text("EM-3", 16) + [0] * 16 + text("SN42", 16) + [1, 0]
    body = [0x8000] * 105
    for offset, value in [(8, 2300), (9, 2301), (10, 2299), (15, -1), (16, 5001), (17, -2)]:
        body[offset - 2] = value & 0xFFFF
    for offset, value in [(18, 1500), (19, 500), (20, 500), (21, 500), (22, 0)]:
        body[offset - 2] = value & 0xFFFF
    meter = [203, 105] + body
    return [(40000, text("SunS", 2) + common + meter + [0xFFFF, 0])]


async def lost(_function, start, address, count, registers, written):
    return ExcCodes.GATEWAY_NO_RESPONSE


async def main(port, rtu):
    gateway = SimDevice(9, simdata=[SimData(0, values=[0, 0], datatype=DataType.REGISTERS)], action=lost)
    devices = [device(1, [], eastron()), device(3, socomec(), []), gateway, device(20, sunspec(), [])]
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    await ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", int(port))).serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "rtu" in sys.argv[2:]))
