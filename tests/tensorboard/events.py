#!/usr/bin/env python3
"""events.py: reads an event file and holds it against metrics.jsonl.

  events.py FOLDER [PROTOC]

FOLDER holds one events.out.tfevents.* and metrics.jsonl. The records' lengths and both check sums are recomputed bit by
bit; with PROTOC each record is decoded by it as a tensorflow.Event (event.proto beside this file). Prints how many epochs
agree, or what does not, and then exits with 1.
"""
import json
import math
import pathlib
import re
import struct
import subprocess
import sys


def crc32c(data):
    """Bit by bit, most significant first, on reflected bytes: unlike a table-driven sum in every step."""
    def reflected(value, bits):
        return int(f"{value:0{bits}b}"[::-1], 2)
    register = 0xFFFFFFFF
    for byte in data:
        register ^= reflected(byte, 8) << 24
        for _ in range(8):
            register = (register << 1) ^ (0x1EDC6F41 if register & 0x80000000 else 0)
            register &= 0xFFFFFFFF
    return reflected(register, 32) ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    while data:
        length, sum_of_length = struct.unpack_from("<QI", data)
        assert masked(crc32c(data[:8])) == sum_of_length, "check sum of a length"
        body = data[12:12 + length]
        assert len(body) == length and len(data) >= 16 + length, "the file is cut off"
        assert masked(crc32c(body)) == struct.unpack_from("<I", data, 12 + length)[0], "check sum of data"
        yield body
        data = data[16 + length:]


def decoded(protoc, body):
    here = pathlib.Path(__file__).parent
    words = subprocess.run([protoc, f"--proto_path={here}", "--decode=tensorflow.Event", "event.proto"], input=body,
                           stdout=subprocess.PIPE, check=True).stdout.decode()
    assert not re.search(r"^\s*\d+[:{ ]", words, re.M), "a field that no Event has: " + words
    def field(name):
        return re.search(rf"^{name}: (.*)$", words, re.M)
    values = {tag: float(number) for tag, number in
              re.findall(r'tag: "([^"]*)"\s*simple_value: (\S+)', words)}
    return {"wall_time": float(field("wall_time").group(1)), "step": int(field("step").group(1)) if field("step") else 0,
            "version": field("file_version") and field("file_version").group(1), "values": values}


def main():
    assert crc32c(b"123456789") == 0xE3069283  # the value that the sum's catalogue has for it
    folder = pathlib.Path(sys.argv[1])
    files = list(folder.glob("events.out.tfevents.*"))
    assert len(files) == 1, f"expected one event file, found {files}"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bodies = list(records(files[0].read_bytes()))
    assert len(bodies) == len(lines) + 1, f"{len(bodies)} records for {len(lines)} epochs"
    if len(sys.argv) < 3:
        print(f"{len(lines)} epochs, not decoded")
        return
    events = [decoded(sys.argv[2], body) for body in bodies]
    assert events[0]["version"] == '"brain.Event:2"' and not events[0]["values"], events[0]
    time = events[0]["wall_time"]
    for line, event in zip(lines, events[1:]):
        expected = {key: line[key] for key in ("loss", "accuracy", "learning_rate", "val_loss", "val_accuracy")
                    if key in line}
        assert event["step"] == line["epoch"], (event, line)
        assert event["values"].keys() == expected.keys(), (event, line)
        for key, value in expected.items():
            assert math.isclose(event["values"][key], value, rel_tol=1e-6), (key, event, line)
        time += line["seconds"]
        assert abs(event["wall_time"] - time) < 1e-5, (event, time)
    print(f"{len(lines)} epochs agree")


try:
    main()
except (AssertionError, struct.error) as problem:
    sys.exit(f"{sys.argv[1]}: {problem}")
