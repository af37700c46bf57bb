#!/usr/bin/python3
"""client.py: what tests/serve_test.sh asks of a server. Python's own library alone.

    client.py CASE PORT [...]      exit status 0 if all is as it must be; else it says what is not
"""
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import select
import socket
import struct
import sys
import threading
import time
import zlib

TOKEN = "a-token-of-the-tests"


def ask(port, method, path, body=None, token=None, headers=None, timeout=60):
    """(status, JSON or text, headers)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    all_headers = dict(headers or {})
    if token:
        all_headers["Authorization"] = "Bearer " + token
    try:
        connection.request(method, path, body=body, headers=all_headers)
        response = connection.getresponse()
        words = response.read().decode()
        json_like = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(words) if json_like and words else words, response.headers
    finally:
        connection.close()


def raw(port, request, timeout=30, drip=0.0, at_once=0):
    """What comes back for these very bytes, until the server closes; with `drip` one after the other, but for the first ones."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        pieces = [request] if not drip else [request[:at_once]] + [request[i:i + 1] for i in range(at_once, len(request))]
        got = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                if drip and select.select([connection], [], [], drip)[0]:
                    break  # it has answered
        except OSError:
            pass  # the server has had enough
        try:
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return got
                got += piece
        except OSError:
            return got


def expect(port, status, part, method, path, **more):
    got, answer, headers = ask(port, method, path, **more)
    words = json.dumps(answer)
    assert got == status and part in words, (method, path, got, words, "instead of", status, part)
    if status >= 400:
        assert set(answer) == {"error"}, answer
    if status == 503:
        assert headers["Retry-After"]
    return answer


def metrics(port):
    words = ask(port, "GET", "/metrics")[1]
    out = {}
    for line in words.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            out[name] = float(value)
    return out


def png(side, level):
    rows = b"".join(b"\0" + bytes(level(x, y) for x in range(side) for _ in range(3)) for y in range(side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def draw(folder):
    """Two classes of stripes, for tunings."""
    for name, place in (("across", lambda x, y: y), ("down", lambda x, y: x)):
        where = pathlib.Path(folder) / "train" / name
        where.mkdir(parents=True, exist_ok=True)
        for i in range(12):
            picture = png(32, lambda x, y: 40 + 10 * i + 90 * (place(x, y) // (2 + i % 3) % 2))
            (where / f"{i}.png").write_bytes(picture)


def same(found, expected):
    """The server's classes are those of vitrine predict."""
    assert [c["class"] for c in found] == [c["class"] for c in expected], (found, expected)
    assert [c["name"] for c in found] == [c["name"] for c in expected], (found, expected)
    for a, b in zip(found, expected):
        assert abs(a["probability"] - b["probability"]) <= 1e-12, (a, b)


def answers(port, told, *pictures):
    """told: a folder with TASK.json, what vitrine predict said of these pictures."""
    tasks = {file.stem: json.loads(file.read_text())["images"] for file in pathlib.Path(told).glob("*.json")}
    jobs = [(task, i, picture) for task in tasks for i, picture in enumerate(pictures)] * 6

    def one(job):
        task, i, picture = job
        status, answer, _ = ask(port, "POST", f"/tasks/{task}/predict", body=pathlib.Path(picture).read_bytes())
        assert status == 200 and answer["task"] == task, (status, answer)
        same(answer["classes"], tasks[task][i]["classes"])
    before = metrics(port)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, jobs))
    after = metrics(port)
    assert after["vitrine_pictures_total"] - before["vitrine_pictures_total"] == len(jobs)
    # Those that waited at the same time went together.
    batches = after["vitrine_batches_total"] - before["vitrine_batches_total"]
    assert batches < len(jobs), (batches, len(jobs))
    ok = 'vitrine_requests_total{kind="predict",status="200"}'
    assert after[ok] - before.get(ok, 0) == len(jobs), after
    assert after["vitrine_predict_seconds_count"] - before["vitrine_predict_seconds_count"] == len(jobs)
    first = next(iter(tasks))
    body = pathlib.Path(pictures[0]).read_bytes()
    assert len(ask(port, "POST", f"/tasks/{first}/predict?top=1", body=body)[1]["classes"]) == 1
    expect(port, 400, "top: expected", "POST", f"/tasks/{first}/predict?top=0", body=body)
    expect(port, 400, "top: expected", "POST", f"/tasks/{first}/predict?top=x", body=body)


def changes(port, folder, task, other):
    body, foreign = pathlib.Path(task).read_bytes(), pathlib.Path(other).read_bytes()
    file = pathlib.Path(folder) / "new.safetensors"
    for wrong in (None, "a-token-of-the-testS", "a", TOKEN + "x"):
        expect(port, 401, "the server's token", "PUT", "/tasks/new", body=body, token=wrong)
        expect(port, 401, "the server's token", "DELETE", "/tasks/deep", token=wrong)
    assert not file.exists()
    expect(port, 201, '"name": "new"', "PUT", "/tasks/new", body=body, token=TOKEN)
    expect(port, 200, '"name": "new"', "PUT", "/tasks/new", body=body, token=TOKEN)
    assert file.exists()
    told = expect(port, 200, "class_names", "GET", "/tasks/new")
    assert told["method"] == "vpt-deep" and told["shares_pass"] and len(told["class_names"]) == told["classes"]
    assert "new" in [t["name"] for t in expect(port, 200, "tasks", "GET", "/tasks")["tasks"]]
    # What is no task leaves the one that is there.
    expect(port, 400, "belongs to another backbone", "PUT", "/tasks/new", body=foreign, token=TOKEN)
    expect(port, 400, "error", "PUT", "/tasks/new", body=body[:len(body) // 2], token=TOKEN)
    expect(port, 400, "error", "PUT", "/tasks/new", body=b"", token=TOKEN)
    expect(port, 200, "vpt-deep", "GET", "/tasks/new")
    expect(port, 200, "deleted", "DELETE", "/tasks/new", token=TOKEN)
    assert not file.exists()
    expect(port, 404, "no task 'new'", "DELETE", "/tasks/new", token=TOKEN)
    expect(port, 404, "no task 'new'", "GET", "/tasks/new")
    assert sorted(os.listdir(folder)) == sorted(f"{t['name']}.safetensors" for t in ask(port, "GET", "/tasks")[1]["tasks"])


def hostile(port, folder, picture, limit):
    body, limit = pathlib.Path(picture).read_bytes(), int(limit)
    predict = "/tasks/deep/predict"
    before = sorted(os.listdir(folder))
    for bad in (b"", b"no picture", body[:len(body) // 2], body[:20], b"\x89PNG\r\n\x1a\n" + body):
        expect(port, 400, "the picture", "POST", predict, body=bad)
    expect(port, 404, "no task 'nobody'", "POST", "/tasks/nobody/predict", body=body)
    expect(port, 413, "too large", "POST", predict, body=b"x" * (limit + 1))
    expect(port, 413, "too large", "POST", predict, body=b"x" * (8 * limit))
    expect(port, 413, "too large", "PUT", "/tasks/large", body=b"x" * (limit + 1), token=TOKEN)
    expect(port, 415, "Content-Encoding", "POST", predict, body=zlib.compress(body), headers={"Content-Encoding": "gzip"})
    expect(port, 415, "not a form", "POST", predict, body=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    # A form is what curl says of any bytes.
    assert ask(port, "POST", predict, body=body, headers={"Content-Type": "application/x-www-form-urlencoded"})[0] == 200
    # Names that would leave the folder, and others that are none.
    for name in ("..", ".", "%2e%2e", ".hidden", "-x", "a%00b", "a%0ab", "%ff", "a" * 65, "a%20b", "a%5cb"):
        for method, path in (("PUT", f"/tasks/{name}"), ("DELETE", f"/tasks/{name}"), ("POST", f"/tasks/{name}/predict")):
            status, answer, _ = ask(port, method, path, body=body, token=TOKEN)
            assert status in (400, 404) and set(answer) == {"error"}, (method, path, status, answer)
    for path in ("/tasks/../x", "/tasks/..%2fx", "/tasks/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/tasks/a/b", "/tasks//x", "//tasks"):
        assert ask(port, "PUT", path, body=body, token=TOKEN)[0] in (400, 404), path
        assert ask(port, "GET", path)[0] in (400, 404), path
    assert sorted(os.listdir(folder)) == before
    # Requests that are none.
    host = b"Host: x\r\n"
    for request, status in (
            (b"POST /tasks/deep/predict HTTP/1.1\r\n" + host + b"\r\n", b"411"),
            (b"POST /tasks/deep/predict HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"411"),
            (b"POST /tasks/deep/predict HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n", b"400"),
            (b"POST /tasks/deep/predict HTTP/1.1\r\n" + host + b"Content-Length: 99999999999999999999\r\n\r\n", b"400"),
            (b"POST /tasks/deep/predict HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"400"),
            (b"PATCH /tasks HTTP/1.1\r\n" + host + b"\r\n", b"405"),
            (b"garbage\r\n\r\n", b"400"),
            (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n" + host + b"\r\n", b"41"),
    ):
        got = raw(port, request)
        assert got.startswith(b"HTTP/1.1 " + status), (request[:80], got[:200])
    expecting = raw(port, b"PUT /tasks/large HTTP/1.1\r\n" + host + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
    assert expecting.startswith(b"HTTP/1.1 413"), expecting
    # Heads without end are cut off, and what stands behind a request is not taken for another one.
    raw(port, b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(2000)) + b"\r\n")
    two = raw(port, b"GET /health HTTP/1.1\r\n" + host + b"\r\nGET /health HTTP/1.1\r\n" + host + b"\r\n")
    assert two.count(b"HTTP/1.1 ") == 1, two
    raw(port, bytes(range(256)) * 40)
    raw(port, b"")
    expect(port, 200, "ok", "GET", "/health")


def slow(port, picture, seconds):
    """Clients that bring a byte now and then are let go in time, and hold nobody up."""
    body, seconds = pathlib.Path(picture).read_bytes(), float(seconds)
    head = b"POST /tasks/deep/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        drips = [pool.submit(raw, port, head + body, drip=0.1, at_once=len(head) + 5) for _ in range(4)]  # in the midst of the body
        drips += [pool.submit(raw, port, head[:-4] + b"\r\nX: " + b"y" * 500, drip=0.1) for _ in range(4)]  # of the head
        time.sleep(0.3)
        for _ in range(5):
            assert ask(port, "POST", "/tasks/deep/predict", body=body)[0] == 200
        got = [drip.result() for drip in drips]
    took = time.monotonic() - begin
    assert took < 6 * seconds + 5, took  # and not the minutes that their bytes would take
    for answer in got:
        assert answer.startswith(b"HTTP/1.1 408") and b"in whole" in answer, got


def wait_for(port, number, *ends):
    last = -1
    for _ in range(1200):
        state = expect(port, 200, "state", "GET", f"/tunings/{number}")
        assert state.get("step", 0) >= last
        last = state.get("step", 0)
        if state["state"] in ends:
            return state
        assert state["state"] in ("waiting", "running"), state
        time.sleep(0.05)
    raise AssertionError(state)


def tunings(port, root, picture):
    def wanted(**more):
        return json.dumps({"task": "learned", "data": "stripes", **more}).encode()
    quick = {"epochs": 3, "batch": 8, "prompts": 2, "flip": False, "lr": 0.01}
    for wrong in (None, "x"):
        expect(port, 401, "token", "POST", "/tunings", body=wanted(), token=wrong)
    # Only what lies below the root.
    for data in ("..", "../secret", "/etc", "stripes/../../secret", "", ".", "out", "stripes/./train", "nowhere"):
        answer = expect(port, 400, "data: ", "POST", "/tunings", body=wanted(data=data), token=TOKEN)
        assert "secret.png" not in json.dumps(answer)
    for body, part in (
            (b"no json", "no JSON"), (b"[]", "JSON object"), (b'{"task":"x","task":"y","data":"stripes"}', "appears twice"),
            (b"[" * 100000, "JSON"), (wanted(more=1), "expected task, data and options"), (b'{"task":"x"}', "expected data"),
            (wanted(task="../x"), "the name of a task"), (wanted(options={"epoch": 3}), "nearest: epochs"),
            (wanted(options={"out": "x"}), "none is called 'out'"), (wanted(options={"data": "x"}), "none is called"),
            (wanted(options={"method": "--out"}), "expected no"), (wanted(options={"method": "vpt-depp"}), "vpt-deep"),
            (wanted(options={"epochs": -1}), "expected no"), (wanted(options={"epochs": 1.5}), "--epochs"),
            (wanted(options={"method": ["a"]}), "a number or a word"), (wanted(options=3), "JSON object")):
        expect(port, 400, part, "POST", "/tunings", body=body, token=TOKEN)
    started = expect(port, 202, "learned", "POST", "/tunings", body=wanted(options=quick), token=TOKEN)
    end = wait_for(port, started["id"], "done")
    assert end["step"] == end["steps"] == 9 and end["epoch"] == 3, end
    told = expect(port, 200, "class_names", "GET", "/tasks/learned")
    assert told["class_names"] == ["across", "down"] and told["prompts"] == 2, told
    assert ask(port, "POST", "/tasks/learned/predict", body=pathlib.Path(picture).read_bytes())[0] == 200
    # One that takes too long; those that wait behind it; more than may wait.
    long = [expect(port, 202, "other", "POST", "/tunings", body=wanted(task="other", options={"epochs": 100000, "batch": 8}),
                   token=TOKEN)["id"]]
    while ask(port, "GET", f"/tunings/{long[0]}")[1]["state"] == "waiting":
        time.sleep(0.02)
    for _ in range(2):
        long.append(ask(port, "POST", "/tunings", body=wanted(task="other", options=quick), token=TOKEN)[1]["id"])
    expect(port, 503, "--max-tunings 2", "POST", "/tunings", body=wanted(task="other", options=quick), token=TOKEN)
    expect(port, 401, "token", "DELETE", f"/tunings/{long[0]}")
    expect(port, 202, "cancelled", "DELETE", f"/tunings/{long[1]}", token=TOKEN)
    expect(port, 202, "other", "DELETE", f"/tunings/{long[0]}", token=TOKEN)
    wait_for(port, long[0], "cancelled")
    wait_for(port, long[2], "done")
    expect(port, 409, "has ended", "DELETE", f"/tunings/{long[0]}", token=TOKEN)
    expect(port, 404, "no tuning 77", "GET", "/tunings/77")
    expect(port, 400, "whole number", "GET", "/tunings/x")
    expect(port, 200, "deleted", "DELETE", "/tasks/learned", token=TOKEN)
    expect(port, 200, "deleted", "DELETE", "/tasks/other", token=TOKEN)
    # One that is still running when the server stops.
    last = expect(port, 202, "other", "POST", "/tunings", body=wanted(task="other", options={"epochs": 100000, "batch": 8}), token=TOKEN)
    while ask(port, "GET", f"/tunings/{last['id']}")[1]["state"] == "waiting":
        time.sleep(0.02)


def load(port, picture, pid, threads, seconds, told):
    """Asks as fast as it can, more than the server takes; stops the server in the midst of it. Each request gets 200 or 503, or
    cannot connect any more. Writes what it counted."""
    body, counts, lost = pathlib.Path(picture).read_bytes(), collections.Counter(), []
    lock, stopping, gone = threading.Lock(), threading.Event(), threading.Event()
    tasks = ("deep", "linear", "bias")

    def client(number):
        asked = 0
        while not gone.is_set():
            task = tasks[(number + asked) % len(tasks)]
            asked += 1
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    connection.sendall(b"POST /tasks/%s/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" %
                                       (task.encode(), len(body)) + body)
                    got = b""
                    while True:
                        piece = connection.recv(65536)
                        if not piece:
                            break
                        got += piece
                status = got[9:12].decode()
                whole = got.partition(b"\r\n\r\n")[2]
                good = status in ("200", "503") and whole.endswith(b"}\n")
                with lock:
                    counts[status + (" while stopping" if stopping.is_set() else "")] += 1
                    if not good:
                        lost.append(got)
            except ConnectionRefusedError:
                with lock:
                    counts["refused"] += 1
                    if not stopping.is_set():
                        lost.append("refused")
                gone.set()
            except OSError as error:
                with lock:
                    lost.append(repr(error))
    everyone = [threading.Thread(target=client, args=(i,)) for i in range(int(threads))]
    for one in everyone:
        one.start()
    time.sleep(float(seconds))
    before = dict(counts)
    stopping.set()
    os.kill(int(pid), 15)
    for one in everyone:
        one.join()
    answered = sum(n for what, n in counts.items() if what != "refused")
    print(dict(counts), "lost:", len(lost), lost[:3])
    assert not lost
    assert before.get("200", 0) > 0 and before.get("503", 0) > 0, before
    pathlib.Path(told).write_text(json.dumps({"answered": answered, "good": counts["200"] + counts["200 while stopping"]}))


def main():
    case, *more = sys.argv[1:]
    if case == "draw":
        draw(*more)
    elif case == "png":
        sys.stdout.buffer.write(png(int(more[0]), lambda x, y: (3 * x + 5 * y) % 256))
    else:
        globals()[case](int(more[0]), *more[1:])


if __name__ == "__main__":
    main()
