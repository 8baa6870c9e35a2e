"""A front end that draws nothing: a process of its own that receives every message.

The kernel's side is a comm that does what ipykernel's does: it serializes and signs each
message and sends it through ZeroMQ. The client counts messages and bytes, and checks that
none of a panel's frames is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import comm
import zmq
from comm.base_comm import BaseComm
from jupyter_client.session import Session

WAIT_SECONDS = 30.0


class Client:
    """Starts the process that receives, and makes every widget's comm send to it.

    Use as a context manager; `totals` asks what has arrived.
    """

    def __enter__(self) -> Client:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.client", str(port)])
        self._session = Session(key=b"benchmark")
        self._create = comm.create_comm
        comm.create_comm = self._comm
        return self

    def __exit__(self, *_: object) -> None:
        comm.create_comm = self._create
        self._socket.send_multipart([b"end"])
        self._process.wait(WAIT_SECONDS)
        self._socket.close()
        self._context.term()

    def totals(self) -> dict[str, int]:
        """What arrived since the last call: ``frames``, ``bytes``, and ``gaps`` in the
        numbers of a panel's messages. Not while a panel is drawn."""
        self._socket.send_multipart([b"totals"])
        if not self._socket.poll(int(WAIT_SECONDS * 1000)):
            raise TimeoutError("The client process does not answer.")
        totals: dict[str, int] = json.loads(self._socket.recv())
        return totals

    def _comm(self, **keywords: Any) -> BaseComm:
        return _Comm(self._session, self._socket, **keywords)


class _Comm(BaseComm):
    def __init__(self, session: Session, socket: zmq.Socket[bytes], **keywords: Any) -> None:
        self._session, self._socket = session, socket
        super().__init__(**keywords)

    def publish_msg(
        self,
        msg_type: str,
        data: Any = None,
        metadata: Any = None,
        buffers: Any = None,
        **keys: Any,
    ) -> None:
        if self._socket.closed:  # a widget is only now let go of
            return
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        message = self._session.msg(msg_type, content, metadata=metadata)
        parts = self._session.serialize(message, b"comm")
        self._socket.send_multipart([*parts, *(buffers or [])])


def receive(port: int) -> None:
    """Be the client: receive until told to end."""
    socket = zmq.Context().socket(zmq.PAIR)
    socket.connect(f"tcp://127.0.0.1:{port}")
    totals = {"frames": 0, "bytes": 0, "gaps": 0}
    numbers: dict[str, int] = {}
    while True:
        parts = socket.recv_multipart()
        if parts == [b"end"]:
            return
        if parts == [b"totals"]:
            socket.send(json.dumps(totals).encode())
            totals = dict.fromkeys(totals, 0)
            continue
        # ident, delimiter, signature, header, parent header, metadata, content, buffers
        body = json.loads(parts[6])
        content = body["data"].get("content") or {}
        if "seq" in content:
            expected = numbers.get(body["comm_id"], 0) + 1
            numbers[body["comm_id"]] = content["seq"]
            totals["gaps"] += content["seq"] != expected
            totals["frames"] += 1
            totals["bytes"] += sum(map(len, parts))


if __name__ == "__main__":
    receive(int(sys.argv[1]))
