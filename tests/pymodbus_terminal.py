"""A utility's terminal by pymodbus (3.8 or later) for tests/signals/server.rs.

Usage: pymodbus_terminal.py HOST PORT

Writes a limit, reads it and the telemetry back, and tries what must be refused. Prints one JSON object.
"""

import json
import sys

from pymodbus.client import ModbusTcpClient


def main(host, port):
    client = ModbusTcpClient(host, port=port, timeout=3)
    assert client.connect(), "no connection"
    told = {}
    told["whole"] = client.write_registers(0, [0, 30_000, 1, 1, 0]).isError()
    told["high"] = client.write_register(0, 0).isError()
    told["low"] = client.write_register(1, 29_000).isError()
    told["commands"] = client.read_holding_registers(0, count=5).registers
    told["telemetry"] = client.read_input_registers(100, count=14).registers
    told["above_nameplate"] = client.write_registers(0, [0x00FF, 0]).exception_code
    told["read_only"] = client.write_register(100, 1).exception_code
    told["function"] = client.read_coils(0, count=1).exception_code
    client.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
